"""A checked syntax tree to Python source: one function of the request, without interpretation.

Kinds are checked on the way: what is known to be impossible is an `ExpressionError` at its place, what is unknown until
run time is dispatched then. Names of the operator never reach the source, and constants only as escaped literals or as
objects of the function's namespace.

`&&`, `||`, `all` and `exists` absorb errors: `error || true` is true. An operand that cannot fail is evaluated first,
which gives the same value, as these operators commute; only the others need a `try`, which costs nothing until it
catches.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from config.cel import ast, values
from config.cel.errors import EvaluationError, ExpressionError, NoSuchKeyError, RepeatedHeaderError
from config.cel.operators import int64
from config.cel.overloads import DYN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from config.cel.environment import Environment, Field, Record

SCALARS: Final = frozenset(
    {"bool", "int", "uint", "double", "string", "bytes", "timestamp", "duration", "null", "type"}
)


N = TypeVar("N", bound=ast.Node)


def _fail(message: str) -> Any:
    raise EvaluationError(message)


def _as_bool(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise EvaluationError("a bool was expected")


def _graver(earlier: EvaluationError | None, caught: EvaluationError) -> EvaluationError:
    """Return the error that stays of two: `default` and `coalesce` must not hide a repeated header behind another."""
    return earlier if isinstance(earlier, RepeatedHeaderError) else caught


RUNTIME: Final[dict[str, Any]] = {
    "EvaluationError": EvaluationError,
    "NoSuchKeyError": NoSuchKeyError,
    "Optional": values.Optional,
    "RepeatedHeaderError": RepeatedHeaderError,
    "as_bool": _as_bool,
    "contains": values.contains,
    "elements": values.elements,
    "equal": values.equal,
    "fail": _fail,
    "graver": _graver,
    "has": values.has,
    "index": values.index,
    "int64": int64,
    "map_key": values.map_key,
    "optional_select": values.optional_select,
    "pairs": values.pairs,
    "select": values.select,
}
"""What generated code calls, beside its constants."""


@dataclass(frozen=True, slots=True)
class Code:
    """A Python expression, and what is known about it."""

    text: str
    kind: str = DYN
    total: bool = True
    """It never fails."""
    element: str = DYN
    """Kind of a list's elements."""
    record: Record | None = None
    """Set while a variable with known fields has not become a map."""
    constant: ast.Literal | None = None


NODES: Final[dict[type[ast.Node], Callable[[Generator, Any], Code]]] = {}
"""What generates each kind of node. Filled by the modules beside this one; read-only once they are imported."""


def generates(kind: type[ast.Node]) -> Callable[[Callable[[Generator, N], Code]], Callable[[Generator, N], Code]]:
    """Register the decorated function as what generates a kind of node."""

    def register(function: Callable[[Generator, N], Code]) -> Callable[[Generator, N], Code]:
        NODES[kind] = function
        return function

    return register


@dataclass(slots=True)
class Generator:
    """Generates one function. `lines` are the statements so far, each with its depth of indentation."""

    environment: Environment
    constants: dict[str, Any] = field(default_factory=dict)
    lines: list[tuple[int, str]] = field(default_factory=list)
    depth: int = 1
    counter: int = 0
    spends_steps: bool = False
    """A comprehension takes steps from the budget."""
    scope: Mapping[str, Code] = field(default_factory=dict)

    # statements

    def emit(self, line: str) -> None:
        """Add a statement."""
        self.lines.append((self.depth, line))

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Add a compound statement; what is added inside is its body."""
        self.emit(head)
        self.depth += 1
        yield
        self.depth -= 1

    def spend(self, steps: int) -> None:
        """Take steps from the evaluation's budget; without enough it fails."""
        self.spends_steps = True
        self.emit(f"steps -= {steps}")
        self.emit("if steps < 0: fail('the expression takes too many steps')")

    def fresh(self, prefix: str = "t") -> str:
        """Return a name that is used nowhere else."""
        self.counter += 1
        return f"{prefix}{self.counter}"

    def constant(self, value: Any) -> str:
        """Put an object into the function's namespace and return its name."""
        name = self.fresh("k")
        self.constants[name] = value
        return name

    @contextmanager
    def bound(self, names: Mapping[str, Code]) -> Iterator[None]:
        """Let names stand for code inside."""
        outer = self.scope
        self.scope = {**outer, **names}
        yield
        self.scope = outer

    @contextmanager
    def aside(self) -> Iterator[list[tuple[int, str]]]:
        """Collect the statements that are added inside instead of adding them."""
        outer, self.lines = self.lines, []
        depth, self.depth = self.depth, 0
        yield self.lines
        self.lines, self.depth = outer, depth

    def add(self, lines: list[tuple[int, str]]) -> None:
        """Add statements that were collected aside."""
        self.lines += [(self.depth + depth, line) for depth, line in lines]

    # expressions

    def value(self, node: ast.Node) -> Code:
        """Generate a node as a CEL value."""
        code = self.node(node)
        return self.whole(code) if code.record is not None or code.kind == "headers" else code

    def truth(self, node: ast.Node) -> Code:
        """Generate a node where only a bool may stand."""
        code = self.value(node)
        if code.kind == "bool":
            return code
        if code.kind != DYN:
            raise fault(node, f"a bool is needed here, not {article(code.kind)}")
        return Code(f"as_bool({code.text})", "bool", total=False)

    def node(self, node: ast.Node) -> Code:
        """Generate any node; a variable with known fields comes as its record."""
        return NODES[type(node)](self, node)

    def read(self, variable: Field, parent: str) -> Code:
        """Generate the reading of a variable or field."""
        text = variable.code.format(parent)
        return Code(text, variable.kind, total=variable.total, element=variable.element, record=variable.record)

    def whole(self, code: Code) -> Code:
        """Generate the map of all fields of a record."""
        if code.kind == "headers":
            return Code(f"headers_map({code.text})", "map", total=False)
        if code.record is None:
            return code
        parent = code.text
        if code.record.nullable:
            parent = self.fresh()
            self.emit(f"{parent} = {code.text}")
        fields = []
        for name, variable in code.record.fields.items():
            if not variable.in_map:
                continue
            inner = self.whole(self.read(variable, parent))
            fields.append(f"{name!r}: {inner.text}")
        text = "{" + ", ".join(fields) + "}"
        if code.record.nullable:
            return Code(f"(None if {parent} is None else {text})", DYN, total=False)
        return Code(text, "map", total=False)


def article(kind: str) -> str:
    """Return a kind with its article, for messages."""
    return f"{'an' if kind[0] in 'aeio' else 'a'} {kind}"


def fault(node: ast.Node, message: str, hint: str = "", *, place: ast.Position | None = None) -> ExpressionError:
    """Return an error at a node's place, or at a more telling one."""
    place = place or node.position
    return ExpressionError(message, line=place.line, column=place.column, hint=hint)
