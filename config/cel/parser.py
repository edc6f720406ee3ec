"""CEL source to a syntax tree: what the grammar's parser gives, converted and checked."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import lark

from config.cel.ast import (
    Call,
    Element,
    Entry,
    Index,
    ListLiteral,
    Literal,
    MapLiteral,
    Name,
    Node,
    Position,
    Select,
)
from config.cel.cost import check_limits
from config.cel.errors import ExpressionError
from config.cel.grammar import parser
from config.cel.literals import parse_literal
from config.cel.macros import expand_macro

MAX_EXPRESSION_CHARACTERS = 16_384
RESERVED = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
        "in",
    ]
)
"""May name a field, never a variable (CEL specification, lexis)."""

_MISTAKEN = {"and": "'and' is written &&", "or": "'or' is written ||", "not": "'not' is written !"}


def _hint(text: str, line: int, column: int) -> str:
    """Guess what was meant at the place of a syntax error."""
    rest = text.split("\n")[line - 1][column - 1 :]
    if word := re.match(r"[a-z]+", rest):
        return _MISTAKEN.get(word[0], "")
    if rest.startswith(("'", '"')):
        return "is this string closed?"
    return "equality is written ==" if rest.startswith("=") else ""


def parse(text: str) -> Node:
    """Parse an expression.

    Raises:
        ExpressionError: a syntax error, a reserved word as a variable, or an expression beyond the limits.

    """
    if len(text) > MAX_EXPRESSION_CHARACTERS:
        raise ExpressionError(f"longer than {MAX_EXPRESSION_CHARACTERS} characters")
    try:
        tree = parser().parse(text)
    except lark.exceptions.UnexpectedInput as error:
        raise _syntax_error(text, error) from None
    try:
        node = _Converter().convert(tree)
    except RecursionError:
        raise ExpressionError("nested too deeply") from None
    check_limits(node)
    return node


def _syntax_error(text: str, error: lark.exceptions.UnexpectedInput) -> ExpressionError:
    line, column = error.line, error.column
    if line < 1 or (isinstance(error, lark.exceptions.UnexpectedToken) and error.token.type == "$END"):
        lines = text.split("\n")  # lark gives the end the place of the last token
        return ExpressionError("the expression ends too early", line=len(lines), column=len(lines[-1]) + 1)
    hint = _hint(text, line, column)
    return ExpressionError("not a CEL expression from here on", line=line, column=column, hint=hint)


_OPERATORS = {
    "relation_lt": "_<_",
    "relation_le": "_<=_",
    "relation_gt": "_>_",
    "relation_ge": "_>=_",
    "relation_eq": "_==_",
    "relation_ne": "_!=_",
    "relation_in": "_in_",
    "addition_add": "_+_",
    "addition_sub": "_-_",
    "multiplication_mul": "_*_",
    "multiplication_div": "_/_",
    "multiplication_mod": "_%_",
    "unary_not": "!_",
    "unary_neg": "-_",
}
_LOGICAL = {"conditionalor": "_||_", "conditionaland": "_&&_"}

Tree = lark.Tree[lark.Token]


class _Converter:
    """Turns lark's tree into ours. Chains of `&&` and `||` become one call, macros become comprehensions."""

    def convert(self, tree: Tree) -> Node:  # noqa: C901, PLR0911  one for each rule of the grammar
        children: list[Any] = tree.children
        if tree.data in {"expr", *_LOGICAL, "relation", "addition", "multiplication", "unary"}:
            return self._operator(tree, children)
        match tree.data:
            case "member" | "primary" | "paren_expr" | "listelem":
                return self.convert(children[0])
            case "literal":
                return self._literal(children[0])
            case "ident" | "dot_ident":
                return self._name(children[0], rooted=tree.data == "dot_ident")
            case "member_dot" | "member_optdot":
                operand = self.convert(children[0])
                optional, place = tree.data == "member_optdot", _place(children[1])
                return Select(operand.position, operand, _field(children[1]), optional, place=place)
            case "member_index" | "member_optindex":
                operand = self.convert(children[0])
                return Index(operand.position, operand, self.convert(children[1]), tree.data == "member_optindex")
            case "ident_arg" | "dot_ident_arg":
                return self._call(children[0], None, self._arguments(children[1:]))
            case "member_dot_arg":
                return self._call(children[1], self.convert(children[0]), self._arguments(children[2:]))
            case "list_lit":
                elements = [Element(_position(c), self.convert(c.children[0]), c.data == "optelem") for c in children]
                return ListLiteral(_position(tree), tuple(elements))
            case "map_lit":
                entries = [
                    Entry(_position(c), self.convert(c.children[0]), self.convert(c.children[1]), c.data == "optinit")
                    for c in children
                ]
                return MapLiteral(_position(tree), tuple(entries))
            case _:
                raise _error("message values are not supported", _position(tree))

    def _operator(self, tree: Tree, children: list[Any]) -> Node:
        if len(children) == 1:
            return self.convert(children[0])
        if tree.data == "expr":
            condition, *branches = map(self.convert, children)
            return Call(condition.position, "_?_:_", (condition, *branches))
        if function := _LOGICAL.get(tree.data):
            return self._chain(tree, function)
        head, last = children
        function = _OPERATORS[head.data]
        if tree.data == "unary":
            return Call(_position(tree), function, (self.convert(last),))
        left = self.convert(head.children[0])
        return Call(left.position, function, (left, self.convert(last)))

    def _chain(self, tree: Tree, function: str) -> Node:
        """Flatten `a && b && c`, so that a long list of terms is not a deep tree."""
        terms: list[Node] = []
        node: Any = tree
        while node.data == tree.data and len(node.children) == 2:  # noqa: PLR2004  the chain so far, and a term
            terms.append(self._term(node.children[1]))
            node = node.children[0]
        first = self._term(node)
        return Call(first.position, function, (first, *reversed(terms)))

    def _term(self, tree: Tree) -> Node:
        """Convert a term of a chain, noting where its text stands."""
        node = self.convert(tree)
        meta = tree.meta
        return replace(node, position=replace(node.position, span=(meta.start_pos, meta.end_pos)))

    def _arguments(self, children: list[Any]) -> tuple[Node, ...]:
        return tuple(self.convert(child) for child in children[0].children) if children else ()

    def _literal(self, token: lark.Token) -> Node:
        position = _place(token)
        try:
            return Literal(position, parse_literal(token.type, str(token)))
        except ValueError as error:
            raise _error(str(error), position) from None

    def _name(self, token: lark.Token, *, rooted: bool) -> Node:
        position = _place(token)
        if token in RESERVED:
            raise _error(f"{str(token)!r} is a reserved word", position)
        return Name(position, str(token), rooted)

    def _call(self, token: lark.Token, target: Node | None, arguments: tuple[Node, ...]) -> Node:
        position = _place(token)
        if macro := expand_macro(str(token), position, target, arguments):
            return macro
        if target is None:
            return Call(position, str(token), arguments)
        return Call(position, str(token), (target, *arguments), is_method=True)


def _field(token: lark.Token) -> str:
    return str(token).strip("`")


def _place(token: lark.Token) -> Position:
    return Position(token.line or 1, token.column or 1)


def _position(tree: Tree) -> Position:
    return Position(tree.meta.line, tree.meta.column) if not tree.meta.empty else Position()


def _error(message: str, position: Position) -> ExpressionError:
    return ExpressionError(message, line=position.line, column=position.column)
