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
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from config.cel import ast, values
from config.cel.errors import EvaluationError, ExpressionError, NoSuchKeyError, RepeatedHeaderError
from config.cel.operators import int64
from config.cel.overloads import DYN, KINDS, NUMBERS
from config.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from config.cel.environment import Environment, Field, Record

_TYPES: Final = {name: values.CelType(name) for name in values.TYPE_NAMES.values()}
SCALARS: Final = frozenset(
    {"bool", "int", "uint", "double", "string", "bytes", "timestamp", "duration", "null", "type"}
)


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


@dataclass(slots=True)
class Generator:
    """Generates one function. `lines` are the statements so far, each with its depth of indentation."""

    environment: Environment
    constants: dict[str, Any] = field(default_factory=dict)
    lines: list[tuple[int, str]] = field(default_factory=list)
    depth: int = 1
    counter: int = 0
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

    def node(self, node: ast.Node) -> Code:  # noqa: PLR0911  one for each kind of node
        """Generate any node; a variable with known fields comes as its record."""
        match node:
            case ast.Literal():
                return self.literal(node)
            case ast.Name():
                return self.name(node)
            case ast.Select():
                return self.select(node)
            case ast.Index():
                return self.indexed(node)
            case ast.Call():
                return self.call(node)
            case ast.ListLiteral():
                return self.list_literal(node)
            case ast.MapLiteral():
                return self.map_literal(node)
            case ast.Bind():
                return self.bind(node)
            case ast.Comprehension():
                from config.cel.comprehensions import comprehension  # noqa: PLC0415  the two generate each other

                return comprehension(self, node)
            case _:
                raise TypeError(type(node).__name__)

    def literal(self, node: ast.Literal) -> Code:
        kind = KINDS[type(node.value)]
        plain = kind in {"int", "string", "bool", "null", "bytes"}
        return Code(repr(node.value) if plain else self.constant(node.value), kind, constant=node)

    def name(self, node: ast.Name) -> Code:
        if not node.rooted and (found := self.scope.get(node.name)):
            return found
        if variable := self.environment.variables.get(node.name):
            return self.read(variable, "r")
        if found_type := _TYPES.get(node.name):
            return Code(self.constant(found_type), "type")
        raise fault(node, f"unknown variable {node.name!r}", nearest(node.name, self.environment.variables))

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
            inner = self.whole(self.read(variable, parent))
            fields.append(f"{name!r}: {inner.text}")
        text = "{" + ", ".join(fields) + "}"
        if code.record.nullable:
            return Code(f"(None if {parent} is None else {text})", DYN, total=False)
        return Code(text, "map", total=False)

    def select(self, node: ast.Select) -> Code:
        qualified = self.qualified(node)
        if qualified is not None:
            return qualified
        operand = self.node(node.operand)
        if operand.kind == "headers":
            return self.header(operand, Code(repr(node.name), "string"), optional=node.optional, test=node.test)
        if operand.record is not None and not node.optional:
            return self.field(node, operand, operand.record)
        operand = self.whole(operand)
        if operand.kind in SCALARS or operand.kind == "list":
            raise fault(node, f"{article(operand.kind)} has no field {node.name!r}", place=node.place)
        if node.test:
            return Code(f"has({operand.text}, {node.name!r})", "bool", total=False)
        if node.optional:
            return Code(f"optional_select({operand.text}, {node.name!r})", "optional", total=False)
        kind = "optional" if operand.kind == "optional" else DYN
        return Code(f"select({operand.text}, {node.name!r})", kind, total=False)

    def qualified(self, node: ast.Select) -> Code | None:
        """Generate a variable or type whose name holds dots; none for a plain selection."""
        names: list[str] = [node.name]
        inner = node.operand
        while isinstance(inner, ast.Select) and not (inner.optional or inner.test):
            names.append(inner.name)
            inner = inner.operand
        if node.optional or node.test or not isinstance(inner, ast.Name):
            return None
        if inner.name in self.scope and not inner.rooted:
            return None
        name = ".".join([inner.name, *reversed(names)])
        if variable := self.environment.variables.get(name):
            return self.read(variable, "r")
        return Code(self.constant(_TYPES[name]), "type") if name in _TYPES else None

    def field(self, node: ast.Select, operand: Code, record: Record) -> Code:
        variable = record.fields.get(node.name)
        if variable is None:
            hint = nearest(node.name, record.fields)
            raise fault(node, f"unknown field of {record.name} {node.name!r}", hint, place=node.place)
        parent = operand.text
        if record.nullable:
            parent = self.fresh()
            self.emit(f"{parent} = {operand.text}")
            self.emit(f"if {parent} is None: raise NoSuchKeyError('{record.name} is null')")
            if node.test:
                return Code("True", "bool", total=False)
            return replace(self.read(variable, parent), total=False)
        return Code("True", "bool") if node.test else self.read(variable, parent)

    def header(self, headers: Code, name: Code, *, optional: bool = False, test: bool = False) -> Code:
        """Generate the look-up of one header, which does not make the map of all."""
        text = f"({headers.text}, {name.text})"
        if test:
            return Code(f"has_header{text}", "bool", total=False)
        if optional:
            return Code(f"optional_header{text}", "optional", total=False)
        return Code(f"header{text}", DYN, total=False)

    def indexed(self, node: ast.Index) -> Code:
        operand = self.node(node.operand)
        if operand.kind == "headers":
            return self.header(operand, self.value(node.index), optional=node.optional)
        if operand.record is not None and not node.optional and isinstance(node.index, ast.Literal):
            name = node.index.value
            if isinstance(name, str):
                return self.field(ast.Select(node.index.position, node.operand, name), operand, operand.record)
        operand, key = self.whole(operand), self.value(node.index)
        if operand.kind in SCALARS:
            raise fault(node, f"{article(operand.kind)} cannot be indexed")
        if operand.kind == "list" and key.kind in SCALARS - NUMBERS:
            raise fault(node.index, f"a list is indexed by an int, not by {article(key.kind)}")
        if node.optional:
            return Code(f"optional_select({operand.text}, {key.text})", "optional", total=False)
        if operand.kind == "optional":
            return Code(f"optional_select({operand.text}, {key.text})", "optional", total=False)
        return Code(f"index({operand.text}, {key.text})", operand.element, total=False)

    def list_literal(self, node: ast.ListLiteral) -> Code:
        codes = [self.value(element.value) for element in node.elements]
        kinds = {code.kind for code in codes}
        element = kinds.pop() if len(kinds) == 1 else DYN
        total = all(code.total for code in codes)
        if not any(element.optional for element in node.elements):
            return Code("[" + ", ".join(code.text for code in codes) + "]", "list", total, element)
        result = self.fresh()
        self.emit(f"{result} = []")
        for code, item in zip(codes, node.elements, strict=True):
            if not item.optional:
                self.emit(f"{result}.append({code.text})")
                continue
            name = self.optional(item.value, code)
            total = total and code.kind == "optional"
            self.emit(f"if {name}.present: {result}.append({name}.content)")
        return Code(result, "list", total)

    def optional(self, node: ast.Node, code: Code) -> str:
        """Generate the check that a value is an optional, and return its name."""
        if code.kind not in {DYN, "optional"}:
            raise fault(node, f"an optional is needed after '?', not {article(code.kind)}")
        name = self.fresh()
        self.emit(f"{name} = {code.text}")
        if code.kind == DYN:
            self.emit(f"if type({name}) is not Optional: fail('an optional was expected')")
        return name

    def map_literal(self, node: ast.MapLiteral) -> Code:
        result, total = self.fresh(), True
        self.emit(f"{result} = {{}}")
        seen: set[tuple[type, Any]] = set()
        for entry in node.entries:
            key, item = self.value(entry.key), self.value(entry.value)
            if key.kind not in {DYN, "bool", "int", "uint", "string"}:
                raise fault(entry.key, f"a map key is a bool, int, uint or string, not {article(key.kind)}")
            if key.constant is not None:
                identity = (bool if key.kind == "bool" else object, key.constant.value)
                if identity in seen:
                    raise fault(entry.key, "the key stands twice in one map")
                seen.add(identity)
            total = total and key.total and item.total and key.constant is not None
            name = self.fresh()
            self.emit(f"{name} = map_key({key.text})")
            if key.constant is None or len(seen) < len(node.entries):
                self.emit(f"if {name} in {result}: fail('a key stands twice in one map')")
                total = False
            if entry.optional:
                optional = self.optional(entry.value, item)
                total = total and item.kind == "optional"
                self.emit(f"if {optional}.present: {result}[{name}] = {optional}.content")
            else:
                self.emit(f"{result}[{name}] = {item.text}")
        return Code(result, "map", total)

    def bind(self, node: ast.Bind) -> Code:
        code = self.value(node.value)
        name = self.fresh("v")
        self.emit(f"{name} = {code.text}")
        with self.bound({node.name: replace(code, text=name, total=True, constant=None)}):
            body = self.value(node.body)
        return replace(body, total=body.total and code.total)

    def call(self, node: ast.Call) -> Code:
        from config.cel.calls import SPECIAL_FORMS, call  # noqa: PLC0415  the two generate each other

        special = SPECIAL_FORMS.get(node.function)
        return special(self, node) if special is not None else call(self, node)


def article(kind: str) -> str:
    """Return a kind with its article, for messages."""
    return f"{'an' if kind[0] in 'aeio' else 'a'} {kind}"


def fault(node: ast.Node, message: str, hint: str = "", *, place: ast.Position | None = None) -> ExpressionError:
    """Return an error at a node's place, or at a more telling one."""
    place = place or node.position
    return ExpressionError(message, line=place.line, column=place.column, hint=hint)
