import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.cel.errors import EvaluationError
from config.cel.lists import sort_by
from config.cel.overloads import LIBRARY
from config.cel.values import NONE, TRUE_KEY, CelType, Duration, Optional, Timestamp, UInt, equal

NAN = math.nan
VALUES = st.recursive(
    st.sampled_from(
        [0, 1, UInt(1), 1.0, NAN, True, False, "1", b"1", None, Duration(1), Timestamp(1), CelType("int"), NONE]
    ),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from([1, "1", TRUE_KEY]), inner, max_size=2)
        | inner.map(lambda value: Optional(present=True, content=value))
    ),
    max_leaves=4,
)


def method(name: str, *arguments: Any) -> Any:
    return LIBRARY.dispatcher(name, is_method=True)(*arguments)


def call(name: str, *arguments: Any) -> Any:
    return LIBRARY.dispatcher(name, is_method=False)(*arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("distinct", ([1, 2, 2, 3, 1],), [1, 2, 3]),
        ("distinct", (["b", "b", "c", "a", "c"],), ["b", "c", "a"]),
        ("distinct", ([1, 1.0, UInt(1), True, "1"],), [1, True, "1"]),
        ("distinct", ([[1], [1.0], {"a": [1]}, {"a": [UInt(1)]}],), [[1], {"a": [1]}]),
        ("flatten", ([1, [2, 3], [4, [5]], []],), [1, 2, 3, 4, [5]]),
        ("flatten", ([1, [2, [3, [4]]]], 2), [1, 2, 3, [4]]),
        ("flatten", ([1, [2]], 0), [1, [2]]),
        ("reverse", ([5, 3, 1],), [1, 3, 5]),
        ("slice", ([1, 2, 3, 4], 1, 3), [2, 3]),
        ("slice", ([1, 2], 2, 2), []),
        ("sort", ([3, 2, 1],), [1, 2, 3]),
        ("sort", (["b", "é", "a", "😀", "\uffff"],), ["a", "b", "é", "\uffff", "😀"]),
        ("sort", ([True, False],), [False, True]),
        ("sort", ([Duration(2), Duration(-1)],), [Duration(-1), Duration(2)]),
        ("sort", ([],), []),
        ("first", ([1, 2],), Optional(present=True, content=1)),
        ("last", ([1, 2],), Optional(present=True, content=2)),
        ("first", ([],), NONE),
        ("last", ([],), NONE),
    ],
)
def test_lists_are_handled_as_cel_go_does(name: str, arguments: tuple[Any, ...], expected: object) -> None:
    result = method(name, *arguments)

    assert equal(result, expected)
    assert repr(result) == repr(expected)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("flatten", ([1], -1)),
        ("slice", ([1, 2], 1, 3)),
        ("slice", ([1, 2], 2, 1)),
        ("slice", ([1, 2], -1, 1)),
        ("sort", ([1, "b"],)),
        ("sort", ([1, UInt(1)],)),
        ("sort", ([[1]],)),
        ("sort", ([None],)),
        ("sort", ([1.0, NAN],)),
        ("@sortByAssociatedKeys", ([1, 2], [1])),
    ],
)
def test_a_range_or_an_order_that_is_none_is_an_error(name: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(EvaluationError):
        method(name, *arguments)


def test_the_argument_stays_as_it_was() -> None:
    items = [3, 1, 2]

    method("sort", items)
    method("reverse", items)

    assert items == [3, 1, 2]


def test_a_range_begins_at_zero_and_has_a_limit() -> None:
    assert call("lists.range", 3) == [0, 1, 2]
    assert call("lists.range", -5) == []
    assert len(call("lists.range", 10_000)) == 10_000
    with pytest.raises(EvaluationError, match="result too large"):
        call("lists.range", 10_001)


def test_flattening_stops_at_the_limit() -> None:
    items: list[Any] = [1]
    for _ in range(30):
        items = [items, items]

    with pytest.raises(EvaluationError, match="result too large"):
        method("flatten", items, 40)


def test_equal_keys_keep_the_order_of_their_elements() -> None:
    assert sort_by(["foo", "bar", "baz", "qux"], [3, 1, 2, 1]) == ["bar", "qux", "baz", "foo"]


@pytest.mark.parametrize(
    ("name", "left", "right", "expected"),
    [
        ("contains", [], [], True),
        ("contains", [], [1], False),
        ("contains", [1, 2.0, UInt(3)], [1.0, UInt(2), 3], True),
        ("contains", [True], [1], False),
        ("contains", [NAN], [NAN], False),
        ("equivalent", [1], [1, 1], True),
        ("equivalent", [1, 2, 3], [UInt(3), 2.0, 1], True),
        ("equivalent", [], [1], False),
        ("intersects", [1], [], False),
        ("intersects", [[1], [2, 3]], [[1, 2], [2, 3.0]], True),
        ("intersects", ["1", None], [1, False], False),
    ],
)
def test_lists_are_compared_as_sets(name: str, left: list[Any], right: list[Any], *, expected: bool) -> None:
    assert call(f"sets.{name}", left, right) is expected


@given(st.lists(VALUES, max_size=5), st.lists(VALUES, max_size=5))
def test_sets_agree_with_the_operator(left: list[Any], right: list[Any]) -> None:
    found = [any(equal(wanted, item) for item in left) for wanted in right]

    assert call("sets.contains", left, right) is all(found)
    assert call("sets.intersects", left, right) is any(found)


@given(st.lists(VALUES, max_size=6))
def test_distinct_elements_are_the_first_of_their_equals(items: list[Any]) -> None:
    expected: list[Any] = []
    for item in items:
        if not any(equal(item, kept) for kept in expected):
            expected.append(item)

    assert repr(method("distinct", items)) == repr(expected)


@given(st.lists(st.integers()), st.integers(-1, 8), st.integers(-1, 8))
def test_a_slice_is_pythons_where_it_is_in_range(items: list[int], start: int, end: int) -> None:
    if 0 <= start <= end <= len(items):
        assert method("slice", items, start, end) == items[start:end]
    else:
        with pytest.raises(EvaluationError):
            method("slice", items, start, end)


@pytest.mark.parametrize("leaf", [[], [1], {}, Optional(present=True, content=[])])
def test_values_that_share_their_parts_are_not_gone_through_without_end(leaf: Any) -> None:
    items: list[Any] = [leaf]
    for _ in range(40):
        items = [items, items]

    for name in ("distinct", "flatten"):
        arguments = (items, 64) if name == "flatten" else (items,)
        with pytest.raises(EvaluationError):
            method(name, *arguments)
    for name in ("sets.contains", "sets.equivalent", "sets.intersects"):
        for left, right in ((items, []), ([], items)):
            with pytest.raises(EvaluationError):
                call(name, left, right)
