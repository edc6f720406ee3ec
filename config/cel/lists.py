"""The lists and sets extensions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from config.cel.errors import EvaluationError
from config.cel.limits import Visits, check_count
from config.cel.overloads import LIBRARY
from config.cel.values import FALSE_KEY, NONE, TRUE_KEY, Duration, Optional, Timestamp, UInt

if TYPE_CHECKING:
    from collections.abc import Iterator

function = LIBRARY.function

_ORDERED: Final = frozenset({bool, int, UInt, float, str, bytes, Duration, Timestamp})


def _frozen(value: Any, visits: Visits) -> Any:
    """Return something hashable that is equal to another's exactly where `values.equal` holds.

    NaN equals nothing, itself included; a bool is no number; numbers are equal across their types.
    """
    visits.count()
    kind = type(value)
    if kind is bool:
        return TRUE_KEY if value else FALSE_KEY
    if kind is list:
        return (list, *(_frozen(item, visits) for item in value))
    if kind is dict:
        return (dict, frozenset((key, _frozen(item, visits)) for key, item in value.items()))
    if kind is Optional:
        return (Optional, value.present, _frozen(value.content, visits) if value.present else None)
    return object() if kind is float and value != value else value  # noqa: PLR0124  only NaN differs from itself


@function("distinct", "list", "list", method=True)
def distinct(items: list[Any]) -> list[Any]:
    """Keep the first of equal elements."""
    visits = Visits()
    seen = set()
    kept = []
    for item in items:
        key = _frozen(item, visits)
        if key not in seen:
            seen.add(key)
            kept.append(item)
    return kept


@function("flatten", "list", "list", method=True)
def flatten(items: list[Any]) -> list[Any]:
    return _flattened(items, 1)


@function("flatten", "list int", "list", method=True)
def flatten_to(items: list[Any], depth: int) -> list[Any]:
    return _flattened(items, depth)


def _flattened(items: list[Any], depth: int) -> list[Any]:
    if depth < 0:
        raise EvaluationError("a negative depth")
    flat: list[Any] = []
    for item in _leaves(items, depth, Visits()):
        check_count(len(flat) + 1)
        flat.append(item)
    return flat


def _leaves(items: list[Any], depth: int, visits: Visits) -> Iterator[Any]:
    for item in items:
        visits.count()
        if depth and type(item) is list:
            yield from _leaves(item, depth - 1, visits)
        else:
            yield item


@function("lists.range", "int", "list")
def integers_below(count: int) -> list[int]:
    check_count(count)
    return list(range(count))


@function("reverse", "list", "list", method=True, inline="{0}[::-1]", total=True)
def reverse(items: list[Any]) -> list[Any]:
    return items[::-1]


@function("slice", "list int int", "list", method=True)
def part(items: list[Any], start: int, end: int) -> list[Any]:
    if not 0 <= start <= end <= len(items):
        raise EvaluationError("a slice out of range")
    return items[start:end]


@function("first", "list", "optional", method=True, total=True)
def first(items: list[Any]) -> Optional:
    return Optional(present=True, content=items[0]) if items else NONE


@function("last", "list", "optional", method=True, total=True)
def last(items: list[Any]) -> Optional:
    return Optional(present=True, content=items[-1]) if items else NONE


@function("sort", "list", "list", method=True)
def sort(items: list[Any]) -> list[Any]:
    _check_order(items)
    return sorted(items)


@function("@sortByAssociatedKeys", "list list", "list", method=True)
def sort_by(items: list[Any], keys: list[Any]) -> list[Any]:
    """Sort by keys that stand in a list of their own: what the macro `sortBy` expands to, as in cel-go."""
    if len(items) != len(keys):
        raise EvaluationError("as many keys as elements are needed")
    _check_order(keys)
    return [items[position] for position in sorted(range(len(items)), key=keys.__getitem__)]


def _check_order(keys: list[Any]) -> None:
    kinds = set(map(type, keys))
    if len(kinds) > 1 or not kinds <= _ORDERED:
        raise EvaluationError("only elements of one ordered type can be sorted")
    if float in kinds and any(key != key for key in keys):  # noqa: PLR0124  only NaN differs from itself
        raise EvaluationError("NaN has no order")


def _as_sets(left: list[Any], right: list[Any]) -> tuple[set[Any], set[Any]]:
    visits = Visits()
    return {_frozen(item, visits) for item in left}, {_frozen(item, visits) for item in right}


@function("sets.contains", "list list", "bool")
def holds(items: list[Any], wanted: list[Any]) -> bool:
    """Tell whether every element of the second list is in the first."""
    held, needed = _as_sets(items, wanted)
    return needed <= held


@function("sets.equivalent", "list list", "bool")
def equivalent(left: list[Any], right: list[Any]) -> bool:
    one, other = _as_sets(left, right)
    return one == other


@function("sets.intersects", "list list", "bool")
def intersects(left: list[Any], right: list[Any]) -> bool:
    one, other = _as_sets(left, right)
    return not one.isdisjoint(other)
