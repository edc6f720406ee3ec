"""Values of CEL in Python: native types where their meaning is the same, small classes where it is not.

bool, int, float (double), str, bytes, None, list and dict are native. Python takes `True` for 1, so a bool key of a map
is a `BoolKey`; int and uint are told apart by `UInt`, which is an int. Comparison across types goes through `equal`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

from config.cel.errors import EvaluationError, NoSuchKeyError

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1
UINT_MAX: Final = 2**64 - 1
TIMESTAMP_MIN: Final = -62_135_596_800 * 10**9
"""0001-01-01T00:00:00Z in nanoseconds since the epoch."""
TIMESTAMP_MAX: Final = 253_402_300_799 * 10**9 + 999_999_999
DURATION_MAX: Final = INT_MAX
"""Nanoseconds, about 292 years, as in cel-go."""


class UInt(int):
    """An unsigned 64-bit integer."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """A point in time."""

    nanoseconds: int
    """Since 1970-01-01T00:00:00Z."""

    def __post_init__(self) -> None:
        if not TIMESTAMP_MIN <= self.nanoseconds <= TIMESTAMP_MAX:
            raise EvaluationError("a timestamp out of range")


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A span of time."""

    nanoseconds: int

    def __post_init__(self) -> None:
        if not -DURATION_MAX - 1 <= self.nanoseconds <= DURATION_MAX:
            raise EvaluationError("a duration out of range")


@dataclass(frozen=True, slots=True)
class CelType:
    """A type as a value, as `type(x)` gives it."""

    name: str


@dataclass(frozen=True, slots=True)
class Optional:
    """An optional value."""

    present: bool
    content: Any = None


@dataclass(frozen=True, slots=True)
class BoolKey:
    """A bool as the key of a map."""

    value: bool


NONE: Final = Optional(present=False)
TRUE_KEY: Final = BoolKey(value=True)
FALSE_KEY: Final = BoolKey(value=False)

IPAddress = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Cidr:
    """An address range as it was written: the bits behind the prefix are kept."""

    address: IPAddress
    prefix_length: int


TYPE_NAMES: Final[dict[type, str]] = {
    bool: "bool",
    int: "int",
    UInt: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    type(None): "null_type",
    list: "list",
    tuple: "list",
    dict: "map",
    Timestamp: "google.protobuf.Timestamp",
    Duration: "google.protobuf.Duration",
    CelType: "type",
    Optional: "optional_type",
    IPv4Address: "net.IP",
    IPv6Address: "net.IP",
    Cidr: "net.CIDR",
}
_NUMBERS: Final = frozenset({int, UInt, float})


def type_name(value: Any) -> str:
    """Return the name of a value's CEL type."""
    return TYPE_NAMES[type(value)]


MAX_VISITED: Final = 100_000
"""Values that one comparison or conversion looks at. Lists that share parts can be larger than any memory."""


def equal(left: Any, right: Any) -> bool:  # noqa: C901  one branch for each kind of value
    """Tell whether two values are equal: numbers by value whatever their type, other types only among themselves.

    Raises:
        EvaluationError: they hold too many values to compare.

    """
    pending = [(left, right)]
    visited = 0
    while pending:
        one, other = pending.pop()
        visited += 1
        if visited > MAX_VISITED:
            raise EvaluationError("values too large to compare")
        kind, other_kind = type(one), type(other)
        if kind is not other_kind:
            if not (kind in _NUMBERS and other_kind in _NUMBERS and one == other):
                return False
        elif kind is list:
            if len(one) != len(other):
                return False
            pending += zip(one, other, strict=True)
        elif kind is dict:
            if one.keys() != other.keys():
                return False
            pending += [(value, other[key]) for key, value in one.items()]
        elif kind is Optional:
            if one.present is not other.present:
                return False
            pending.append((one.content, other.content))
        elif one != other:
            return False
    return True


def contains(item: Any, items: Any) -> bool:
    """Apply the operator `in`: an element of a list, or a key of a map.

    Raises:
        EvaluationError: the right side is neither.

    """
    kind = type(items)
    if kind is dict:
        return find_key(items, item) is not _MISSING
    if kind is list:
        if type(item) is str or type(item) is bytes:
            return item in items  # Python compares these as CEL does, and faster
        return any(equal(item, element) for element in items)
    raise EvaluationError("'in' wants a list or a map on its right")


class _Missing:
    """What `find_key` gives where there is no such key."""


_MISSING: Final = _Missing()


def find_key(items: dict[Any, Any], key: Any) -> Any:
    """Return the value under a key, numbers compared across types, or `MISSING`."""
    kind = type(key)
    if kind is str or kind is int or kind is UInt:
        return items.get(key, _MISSING)
    if kind is bool:
        return items.get(TRUE_KEY if key else FALSE_KEY, _MISSING)
    if kind is float:
        return items.get(int(key), _MISSING) if math.isfinite(key) and key.is_integer() else _MISSING
    raise EvaluationError("a key of this type is not supported")


MISSING: Final = _MISSING


def map_key(key: Any) -> Any:
    """Return a key as a dict keeps it.

    Raises:
        EvaluationError: a type that cannot be a key.

    """
    kind = type(key)
    if kind is str or kind is int or kind is UInt:
        return key
    if kind is bool:
        return TRUE_KEY if key else FALSE_KEY
    raise EvaluationError("a map key is a bool, int, uint or string")


def plain_key(key: Any) -> Any:
    """Return a key as an expression sees it."""
    return key.value if type(key) is BoolKey else key


def index(items: Any, key: Any) -> Any:
    """Apply the operator `[]`.

    Raises:
        EvaluationError: no such key, an index out of range, or nothing that can be indexed.

    """
    found = lookup(items, key)
    if found is _MISSING:
        raise NoSuchKeyError("no such key or index")
    return found


def lookup(items: Any, key: Any) -> Any:
    """Return the element under a key or index, or `MISSING`."""
    kind = type(items)
    if kind is dict:
        return find_key(items, key)
    if kind is list:
        if type(key) is float and key.is_integer():
            key = int(key)
        if type(key) is not int and type(key) is not UInt:
            raise EvaluationError("a list is indexed by an int")
        return items[key] if 0 <= key < len(items) else _MISSING
    if kind is Optional:
        return lookup(items.content, key) if items.present else _MISSING
    raise EvaluationError("only lists and maps can be indexed")


def select(value: Any, name: str) -> Any:
    """Apply the operator `.`: a field by name.

    Raises:
        EvaluationError: no such field, or a value without fields.

    """
    if type(value) is dict:
        found = value.get(name, _MISSING)
        if found is not _MISSING:
            return found
        raise NoSuchKeyError("no such key")
    if type(value) is Optional:
        return optional_select(value, name)
    if value is None:
        raise NoSuchKeyError("a field of null")
    raise EvaluationError("only maps have fields")


def optional_select(value: Any, name: Any) -> Optional:
    """Apply the operators `.?` and `[?]`: the element if there is one."""
    if type(value) is Optional:
        if not value.present:
            return NONE
        value = value.content
    found = lookup(value, name)
    return NONE if found is _MISSING else Optional(present=True, content=found)


def has(value: Any, name: str) -> bool:
    """Apply the macro `has`."""
    if type(value) is Optional:
        return value.present and has(value.content, name)
    if type(value) is dict:
        return name in value
    raise EvaluationError("only maps have fields")


def elements(value: Any) -> Any:
    """Return what a comprehension with one variable goes over: elements of a list, keys of a map."""
    if type(value) is list:
        return value
    if type(value) is dict:
        return [plain_key(key) for key in value]
    raise EvaluationError("only lists and maps can be gone over")


def pairs(value: Any) -> Any:
    """Return what a comprehension with two variables goes over: index and element, or key and value."""
    if type(value) is list:
        return enumerate(value)
    if type(value) is dict:
        return [(plain_key(key), item) for key, item in value.items()]
    raise EvaluationError("only lists and maps can be gone over")
