import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.cel.errors import EvaluationError
from config.cel.json_text import MAX_DEPTH, parse_json, to_json
from config.cel.network import parse_address, parse_range
from config.cel.overloads import LIBRARY
from config.cel.values import NONE, TRUE_KEY, CelType, Duration, Timestamp, UInt

TEXTS = st.text(alphabet=st.characters(codec="utf-8"), max_size=5)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)


def call(name: str, *arguments: Any) -> Any:
    return LIBRARY.dispatcher(name, is_method=False)(*arguments)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("9223372036854775808", 2.0**63),
        ("1" * 400 + "e-390", float("1" * 400 + "e-390")),
        ("1.0", 1.0),
        ("1e2", 100.0),
        ("null", None),
        ("true", True),
        ('"\\ud83d\\ude00"', "😀"),
        (' {"a": [1, {}]} ', {"a": [1, {}]}),
        ("[" * MAX_DEPTH + "]" * MAX_DEPTH, None),
    ],
)
def test_whole_numbers_that_fit_are_ints(text: str, expected: object) -> None:
    value = parse_json(text)

    if expected is not None or text == "null":
        assert value == expected
        assert type(value) is type(expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1,]",
        "NaN",
        "-Infinity",
        "1e400",
        "9" * 400,
        "01",
        "'a'",
        '"\t"',
        '"\\ud800"',
        '{"\\udc00": 1}',
        '{"a": 1, "a": 1}',
        '[{"b": {"a": 1, "\\u0061": 2}}]',
        "\ufeff{}",
        "1 2",
        "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
        '{"a":' * 100_000,
        "[" * 100_000,
        "9" * 10_000,
    ],
)
def test_what_parsers_read_differently_is_an_error(text: str) -> None:
    with pytest.raises(EvaluationError):
        parse_json(text)


def test_json_is_read_from_text_and_bytes() -> None:
    assert call("json", '{"hi": 1}') == call("json", b'{"hi": 1}') == {"hi": 1}
    assert call("jsonField", '{"hi": 1}', "hi") == call("jsonField", b'{"hi": 1}', "hi") == 1
    for arguments in (('{"hi": 1}', "other"), ("[1]", "hi")):
        with pytest.raises(EvaluationError):
            call("jsonField", *arguments)
    with pytest.raises(EvaluationError):
        call("json", b'"\xff"')


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": [1, UInt(2), 1.0, None, True], "a": 'é\n"'}, '{"b":[1,2,1.0,null,true],"a":"é\\n\\""}'),
        ({1: "int", TRUE_KEY: "bool"}, '{"1":"int","true":"bool"}'),
        ([], "[]"),
        ({}, "{}"),
        (b"\xff\x00", '"/wA="'),
        (Timestamp(0), '"1970-01-01T00:00:00Z"'),
        (Duration(1_500_000_000), '"1.5s"'),
        (parse_address("::1"), '"::1"'),
        (parse_range("10.1.0.0/8"), '"10.1.0.0/8"'),
    ],
)
def test_json_is_compact_and_keeps_the_order(value: object, text: str) -> None:
    assert call("toJson", value) == call("to_json", value) == text


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), NONE, CelType("int"), {1: 1, "1": 1}, "\ud800", [{"a": NONE}]]
)
def test_what_has_no_json_is_an_error(value: object) -> None:
    with pytest.raises(EvaluationError):
        to_json(value)


def test_shared_parts_do_not_grow_without_bound() -> None:
    value: list[Any] = ["x" * 100]
    for _ in range(30):
        value = [value, value]

    with pytest.raises(EvaluationError, match="result too large"):
        to_json(value)


@given(VALUES)
def test_json_round_trips(value: Any) -> None:
    text = to_json(value)

    assert parse_json(text) == value
    assert text == json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@given(st.text(alphabet='{}[]",:01.-eE\\u aAdD8tn', max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        value = parse_json(text)
    except EvaluationError:
        return

    assert parse_json(to_json(value)) == value


@pytest.mark.parametrize("count", [1_000, 1_001])
def test_an_array_or_object_has_a_thousand_elements_at_most(count: int) -> None:
    for value in (list(range(count)), dict.fromkeys(map(str, range(count)), 1), [{"a": [0] * count}]):
        text = json.dumps(value)
        if count == 1_000:
            assert parse_json(text) == value
        else:
            with pytest.raises(EvaluationError, match="result too large"):
                parse_json(text)


def test_values_that_share_their_parts_are_not_written_without_end() -> None:
    value: list[Any] = []
    for _ in range(40):
        value = [value, value]

    with pytest.raises(EvaluationError):
        to_json(value)
