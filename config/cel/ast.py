"""The syntax tree of an expression, macros resolved: what the checker and the code generator work on."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Position:
    """Where a node stands in the expression; both count from 1."""

    line: int = 1
    column: int = 1
    span: tuple[int, int] | None = None
    """Offsets of the first character and of the one after the last, of terms of `&&` and `||`."""


@dataclass(frozen=True, slots=True)
class Node:
    """Any node."""

    position: Position = field(compare=False)

    def children(self) -> Iterator[Node]:
        """Yield the nodes directly below."""
        yield from ()


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """A constant."""

    value: Any


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A variable, or a variable of a comprehension. A qualified name (`.a`) is looked up outside comprehensions."""

    name: str
    rooted: bool = False


@dataclass(frozen=True, slots=True)
class Select(Node):
    """`operand.name`, `operand.?name`, or with `test` the macro `has(operand.name)`."""

    operand: Node
    name: str
    optional: bool = False
    test: bool = False
    place: Position | None = field(default=None, compare=False)
    """Where the name itself stands."""

    def children(self) -> Iterator[Node]:
        yield self.operand


@dataclass(frozen=True, slots=True)
class Index(Node):
    """`operand[index]` or `operand[?index]`."""

    operand: Node
    index: Node
    optional: bool = False

    def children(self) -> Iterator[Node]:
        yield self.operand
        yield self.index


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A function or an operator; operators are called as in the specification, `_+_`, `!_`, `_?_:_`."""

    function: str
    arguments: tuple[Node, ...]
    is_method: bool = False
    """The first argument stood before the dot."""

    def children(self) -> Iterator[Node]:
        yield from self.arguments


@dataclass(frozen=True, slots=True)
class Element(Node):
    """One element of a list; with `optional`, `[?value]`, left out where the optional is empty."""

    value: Node
    optional: bool = False

    def children(self) -> Iterator[Node]:
        yield self.value


@dataclass(frozen=True, slots=True)
class ListLiteral(Node):
    """`[a, b]`."""

    elements: tuple[Element, ...]

    def children(self) -> Iterator[Node]:
        yield from self.elements


@dataclass(frozen=True, slots=True)
class Entry(Node):
    """One entry of a map."""

    key: Node
    value: Node
    optional: bool = False

    def children(self) -> Iterator[Node]:
        yield self.key
        yield self.value


@dataclass(frozen=True, slots=True)
class MapLiteral(Node):
    """`{k: v}`."""

    entries: tuple[Entry, ...]

    def children(self) -> Iterator[Node]:
        yield from self.entries


class Macro(StrEnum):
    """The comprehensions. Those with two variables bind index and element, or key and value."""

    ALL = "all"
    EXISTS = "exists"
    EXISTS_ONE = "exists_one"
    MAP = "map"
    FILTER = "filter"
    TRANSFORM_LIST = "transformList"
    TRANSFORM_MAP = "transformMap"
    TRANSFORM_MAP_ENTRY = "transformMapEntry"


@dataclass(frozen=True, slots=True)
class Comprehension(Node):
    """`operand.all(x, predicate)` and its like."""

    macro: Macro
    operand: Node
    variables: tuple[str, ...]
    """One or two."""
    predicate: Node | None
    """None: every element."""
    transform: Node | None = None
    """Of `map` and the transforms."""

    def children(self) -> Iterator[Node]:
        yield self.operand
        if self.predicate is not None:
            yield self.predicate
        if self.transform is not None:
            yield self.transform


@dataclass(frozen=True, slots=True)
class Bind(Node):
    """`cel.bind(name, value, body)`, and what `optMap` expands to."""

    name: str
    value: Node
    body: Node

    def children(self) -> Iterator[Node]:
        yield self.value
        yield self.body
