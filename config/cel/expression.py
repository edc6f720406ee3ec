"""One compiled expression: checked once, evaluated many times."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import celpy
import lark
from celpy import celtypes
from celpy.celparser import CELParseError
from celpy.evaluation import CELEvalError, Evaluator

from config.cel.activation import RepeatedHeaderError, activation
from config.cel.environment import FIELDS, FUNCTIONS, IDENTITY_FIELDS, TYPE_NAMES, VARIABLES
from config.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from config.attributes import RequestAttributes

MAX_EXPRESSION_CHARACTERS = 16_384
MAX_TREE_DEPTH = 250
"""Levels of the syntax tree. The grammar spends about ten on each pair of parentheses."""

_BINDING_MACROS = frozenset({"all", "exists", "exists_one", "map", "filter"})


class ExpressionError(ValueError):
    """An expression that cannot be used. Line and column count from 1 inside the expression."""

    def __init__(self, message: str, *, line: int = 1, column: int = 1, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column
        self.hint = hint

    def excerpt(self, text: str) -> str:
        """Return the faulty line of the expression with a caret under the place."""
        lines = text.splitlines() or [""]
        line = lines[min(self.line, len(lines)) - 1]
        return f"{line}\n{' ' * (self.column - 1)}^"


class EvaluationError(Exception):
    """An expression failed for one request. Its message holds nothing of the request, which may be secret."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression."""

    text: str
    reads: frozenset[str]
    """Attributes that it names: `request.path`, or the bare variable where the field is not a plain name."""
    strict_headers: bool
    program: celpy.Runner = field(repr=False)

    def evaluate(self, attributes: RequestAttributes) -> Any:
        """Return the value as plain Python data.

        Raises:
            EvaluationError: the expression failed: a missing key, a field of null, a wrong type, overflow.

        """
        try:
            value = self.program.evaluate(activation(attributes, strict_headers=self.strict_headers))
        except CELEvalError:
            raise EvaluationError("the expression failed on this request") from None
        except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError, AttributeError) as error:
            # What the interpreter lets slip: still an error of the expression, and it must fail closed as one.
            raise EvaluationError(f"the expression failed on this request: {type(error).__name__}") from None
        return _plain(value)


class _Evaluator(Evaluator):
    def macro_has_eval(self, exprlist: lark.Tree[lark.Token]) -> Any:
        """Keep the error of a repeated header: to cel-python it means absent, and a Deny would be slipped."""
        (value,) = self.visit_children(exprlist)
        return (
            value if isinstance(value, RepeatedHeaderError) else celtypes.BoolType(not isinstance(value, CELEvalError))
        )


class _Runner(celpy.InterpretedRunner):
    def evaluate(self, context: Any) -> Any:
        return _Evaluator(ast=self.ast, activation=self.new_activation()).evaluate(context)


def compile_expression(text: str, *, strict_headers: bool = False) -> Expression:
    """Parse and check an expression.

    Args:
        text: the CEL source.
        strict_headers: reading a header that occurs several times is an error (authorization rules).

    Raises:
        ExpressionError: a syntax error, an unknown variable, field or function, or an expression that is too large.

    """
    if len(text) > MAX_EXPRESSION_CHARACTERS:
        raise ExpressionError(f"longer than {MAX_EXPRESSION_CHARACTERS} characters")
    environment = celpy.Environment(runner_class=_Runner)
    try:
        tree = environment.compile(text)
        _check_depth(tree)
        reads = frozenset(_reads(tree))
        program = environment.program(tree)
    except CELParseError as error:
        line, column = max(error.line or 1, 1), max(error.column or 1, 1)
        raise ExpressionError("not a CEL expression", line=line, column=column) from None
    except RecursionError:
        raise ExpressionError("nested too deeply") from None
    return Expression(text, reads, strict_headers, program)


def _check_depth(tree: lark.Tree[lark.Token]) -> None:
    level, depth = [tree], 0
    while level:
        depth += 1
        if depth > MAX_TREE_DEPTH:
            raise ExpressionError("nested too deeply")
        level = [child for node in level for child in node.children if isinstance(child, lark.Tree)]


def _reads(tree: lark.Tree[lark.Token]) -> Iterator[str]:
    """Check every name of a tree and yield the attributes it reads."""
    bound = TYPE_NAMES | set(_bound_names(tree))
    for node in _outermost_names(tree):
        names = _selection(node)
        variable = names[0]
        if variable in bound:
            continue
        _check_known("variable", variable, VARIABLES)
        if len(names) == 1:
            yield str(variable)
            continue
        yield f"{variable}.{names[1]}"
        if variable in FIELDS:
            _check_known(f"field of {variable}", names[1], FIELDS[variable])
        if names[:2] == ["source", "identity"] and len(names) > 2:  # noqa: PLR2004  variable, field, its field
            _check_known("field of source.identity", names[2], IDENTITY_FIELDS)


def _outermost_names(tree: lark.Tree[lark.Token]) -> Iterator[lark.Tree[lark.Token]]:
    """Yield every variable with the selections around it (`source.identity.namespace` once), checking functions."""
    if tree.data in {"ident_arg", "dot_ident_arg", "member_dot_arg"}:
        name = next(child for child in tree.children if isinstance(child, lark.Token))
        _check_known("function", name, FUNCTIONS)
    if _selection(tree):
        yield tree
        return
    for child in tree.children:
        if isinstance(child, lark.Tree):
            yield from _outermost_names(child)


def _selection(tree: lark.Tree[lark.Token]) -> list[lark.Token]:
    """Return the names of a plain selection, `[source, identity, namespace]`; empty for anything else."""
    match tree.data, tree.children:
        case "ident" | "dot_ident", [lark.Token() as name]:
            return [name]
        case "member_dot", [lark.Tree() as operand, lark.Token() as name]:
            names = _selection(operand)
            return [*names, name] if names else []
        case _, [lark.Tree() as only]:
            return _selection(only)
        case _:
            return []


def _bound_names(tree: lark.Tree[lark.Token]) -> Iterator[str]:
    """Yield the variables that macros bind: the first argument of `xs.all(x, ...)` and its like."""
    for node in tree.find_data("member_dot_arg"):
        match node.children:
            case [_, lark.Token() as macro, lark.Tree() as arguments] if macro in _BINDING_MACROS:
                yield from _selection(arguments.children[0])[:1]


def _check_known(what: str, name: lark.Token, known: frozenset[str]) -> None:
    if name not in known:
        raise ExpressionError(
            f"unknown {what} {str(name)!r}", line=name.line or 1, column=name.column or 1, hint=nearest(name, known)
        )


def _plain(value: Any) -> Any:
    """Turn a CEL value into plain Python data."""
    if isinstance(value, CELEvalError):
        raise EvaluationError("the expression failed on this request")
    if isinstance(value, celtypes.MapType):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, celtypes.ListType):
        return [_plain(item) for item in value]
    for cel_type, plain_type in _PLAIN_TYPES:
        if isinstance(value, cel_type):
            return plain_type(value)
    return value


_PLAIN_TYPES: tuple[tuple[type, type], ...] = (
    (celtypes.BoolType, bool),
    (celtypes.StringType, str),
    (celtypes.BytesType, bytes),
    (celtypes.IntType, int),
    (celtypes.UintType, int),
    (celtypes.DoubleType, float),
)
