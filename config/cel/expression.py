"""One compiled expression: checked once, evaluated many times."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from operator import is_
from typing import TYPE_CHECKING, Any, Final

# Imported for what they register: functions, and what generates each kind of node.
import config.cel.calls
import config.cel.comprehensions
import config.cel.constructors
import config.cel.encoders
import config.cel.formatting
import config.cel.gateway
import config.cel.json_text
import config.cel.lists
import config.cel.mathematics
import config.cel.network
import config.cel.patterns
import config.cel.selections
import config.cel.standard
import config.cel.strings  # noqa: F401
from config.cel.analysis import conjuncts, contradiction, disjuncts, is_constant, reads
from config.cel.codegen import RUNTIME, Generator, article
from config.cel.cost import STEPS
from config.cel.errors import EvaluationError, ExpressionError
from config.cel.parser import parse
from config.cel.request import LENIENT, STRICT
from config.cel.values import MAX_VISITED, BoolKey, Optional, UInt

if TYPE_CHECKING:
    from collections.abc import Callable

    from config.attributes import RequestAttributes
    from config.cel import ast
    from config.cel.environment import Environment

MAX_SOURCE_CHARACTERS = 400_000
"""Of the generated Python."""

_BUILTINS: Final = {function.__name__: function for function in (abs, dict, len, list, type)}
"""All of Python's own functions that generated code can name."""

_SLIPPED: Final = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What Python raises where the generated code has no check of its own: still an error of the expression."""


@dataclass(frozen=True)
class Expression:
    """A checked expression."""

    text: str
    reads: frozenset[str]
    """Attributes that it names: `request.path`, or the bare variable where the field is not a plain name."""
    function: Callable[[Any], Any] = field(repr=False, compare=False)
    """The generated function: attributes to a CEL value, or `EvaluationError`."""
    kind: str = field(compare=False)
    """Kind of its value where that is known, else `dyn`."""
    tree: ast.Node = field(repr=False, compare=False)
    environment: Environment = field(repr=False, compare=False)

    @property
    def reads_body(self) -> bool:
        """Whether it names the request's body, which is read for it then."""
        return not self.reads.isdisjoint({"request.body", "request.bodyPrefix"})

    @property
    def reads_response(self) -> bool:
        """Whether it names anything of the answer."""
        return any(name == "response" or name.startswith("response.") for name in self.reads)

    @property
    def reads_response_body(self) -> bool:
        """Whether it names the answer's body, which is read for it then."""
        return not self.reads.isdisjoint({"response.body", "response.bodyPrefix"})

    def part(self, tree: ast.Node) -> Callable[[Any], Any]:
        """Return the function of a part of the expression; of the whole, the one that is there already."""
        terms, own = conjuncts(tree), conjuncts(self.tree)
        if len(terms) == len(own) and all(map(is_, terms, own)):
            return self.function
        return compile_tree(tree, self.environment)[0]

    @property
    def doubt(self) -> str:
        """Why it can never be true, if that is plain to see; for the operator."""
        if self.kind not in {"bool", "dyn"}:
            return f"it gives {article(self.kind)}, never true"
        if attribute := contradiction(self.tree):
            return f"it can never be true: {attribute} cannot have two values"
        for term in conjuncts(self.tree):
            if not is_constant(term):
                continue
            try:
                value = self.part(term)(None)
            except EvaluationError as error:
                return f"it always fails: {error}"
            except _SLIPPED as error:
                return f"it always fails: {type(error).__name__}"
            if value is not True:
                return "it is never true"
        return ""

    @cached_property
    def terms(self) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
        """The top-level terms, of `&&` or else of `||`, with their text; empty where there is only one."""
        found = conjuncts(self.tree) if len(conjuncts(self.tree)) > 1 else disjuncts(self.tree)
        if len(found) == 1:
            return ()
        spans = [term.position.span or (0, len(self.text)) for term in found]
        texts = [self.text[start:end].strip() for start, end in spans]
        return tuple((text, self.part(term)) for text, term in zip(texts, found, strict=True))

    def evaluate(self, attributes: RequestAttributes) -> Any:
        """Return the value as plain Python data.

        Raises:
            EvaluationError: the expression failed: a missing key, a field of null, a wrong type, overflow.

        """
        try:
            value = self.function(attributes)
            return value if type(value) is str else plain(value)
        except _SLIPPED as error:
            raise EvaluationError(f"the expression failed: {type(error).__name__}") from None

    def value(self, attributes: RequestAttributes) -> Any:
        """Return the value as CEL has it, for another expression to read or to be written as JSON.

        Raises:
            EvaluationError: as `evaluate`.

        """
        try:
            return self.function(attributes)
        except _SLIPPED as error:
            raise EvaluationError(f"the expression failed: {type(error).__name__}") from None


def compile_expression(text: str, *, strict_headers: bool = False) -> Expression:
    """Parse, check and compile an expression.

    Args:
        text: the CEL source.
        strict_headers: reading a header that occurs several times is an error (authorization rules).

    Raises:
        ExpressionError: a syntax error, an unknown variable, field or function, a type that cannot be, or an
            expression that is too large.

    """
    tree = parse(text)
    environment = STRICT if strict_headers else LENIENT
    function, kind = compile_tree(tree, environment)
    return Expression(text, frozenset(reads(tree)), function, kind, tree, environment)


def compile_tree(tree: ast.Node, environment: Environment) -> tuple[Callable[[Any], Any], str]:
    """Generate and compile the function of a tree; return it with the kind of its value.

    Raises:
        ExpressionError: a check failed, or the generated code is too large.

    """
    return compile_with(Generator(environment), tree)


def compile_with(generator: Generator, tree: ast.Node) -> tuple[Callable[[Any], Any], str]:
    """Do what `compile_tree` does, with a generator of one's own."""
    try:
        code = generator.value(tree)
        body = "\n".join(f"{'    ' * depth}{line}" for depth, line in generator.lines)
        budget = f"    steps = {STEPS}\n" if generator.spends_steps else ""
        source = f"def expression(r):\n{budget}{body}\n    return {code.text}\n"
        if len(source) > MAX_SOURCE_CHARACTERS:
            raise ExpressionError("the expression is too large")
        compiled = compile(source, "<cel>", "exec")
    except (RecursionError, MemoryError, SyntaxError):
        # CPython bounds nesting on its own; what goes beyond is refused here, at load.
        raise ExpressionError("nested too deeply") from None
    namespace: dict[str, Any] = {"__builtins__": _BUILTINS}
    namespace |= {**RUNTIME, **generator.environment.runtime, **generator.constants}
    exec(compiled, namespace)  # noqa: S102  generated above, from the checked tree only
    function: Callable[[Any], Any] = namespace["expression"]
    return function, code.kind


def plain(value: Any) -> Any:
    """Return a CEL value as plain Python data: uint as int, an optional as its value or None.

    Raises:
        EvaluationError: it holds too many values.

    """
    return _plain(value, [MAX_VISITED])


def _plain(value: Any, left: list[int]) -> Any:
    left[0] -= 1
    if left[0] < 0:
        raise EvaluationError("result too large")
    kind = type(value)
    if kind is list:
        return [_plain(item, left) for item in value]
    if kind is dict:
        return {_plain(key, left): _plain(item, left) for key, item in value.items()}
    if kind is UInt:
        return int(value)
    if kind is BoolKey:
        return value.value
    if kind is Optional:
        return _plain(value.content, left) if value.present else None
    return value
