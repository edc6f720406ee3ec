import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.cel import compile_expression
from config.cel.errors import EvaluationError, RepeatedHeaderError
from config.cel.gateway import add_query, query, set_query, unvalidated_jwt_payload
from config.cel.overloads import LIBRARY
from config.cel.values import UInt
from tests.config.examples import request

TARGET = "/api/test?foo=bar&foo=baz&zap=zip"
NAMES = st.text(alphabet="ab&=+%? #é~", max_size=4)


def call(name: str, *arguments: Any) -> Any:
    return LIBRARY.dispatcher(name, is_method=False)(*arguments)


def method(name: str, *arguments: Any) -> Any:
    return LIBRARY.dispatcher(name, is_method=True)(*arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("stripPrefix", ("hello", "he"), "llo"),
        ("stripPrefix", ("hello", "hi"), "hello"),
        ("stripPrefix", ("heheh", "he"), "heh"),
        ("stripSuffix", ("hello", "lo"), "hel"),
        ("stripSuffix", ("hello", ""), "hello"),
        ("merge", ({"a": 2, "k": "v"}, {"a": 3}), {"a": 3, "k": "v"}),
        ("merge", ({1: "a"}, {UInt(1): "b"}), {1: "b"}),
    ],
)
def test_both_forms_of_a_call_are_the_same(name: str, arguments: tuple[Any, ...], expected: object) -> None:
    assert call(name, *arguments) == method(name, *arguments) == expected


def test_merging_leaves_the_maps_alone() -> None:
    left, right = {"a": 1}, {"a": 2}

    method("merge", left, right)

    assert (left, right) == ({"a": 1}, {"a": 2})


@pytest.mark.parametrize("arguments", [(), ("the secret",)])
def test_fail_always_fails_and_its_text_stays_inside(arguments: tuple[str, ...]) -> None:
    with pytest.raises(EvaluationError) as caught:
        call("fail", *arguments)

    assert "secret" not in str(caught.value)


def test_every_uuid_is_new_and_random() -> None:
    first, second = uuid.UUID(call("uuid")), uuid.UUID(call("uuid"))

    assert first != second
    assert first.version == second.version == 4


def test_chance_lies_between_zero_and_one() -> None:
    drawn = {call("random") for _ in range(100)}

    assert len(drawn) == 100
    assert all(0 <= value < 1 for value in drawn)


@pytest.mark.parametrize(
    ("target", "name", "values"),
    [
        (TARGET, "foo", ["bar", "baz"]),
        (f"https://example.com{TARGET}#?foo=no", "zap", ["zip"]),
        ("/?a+b=c+d%26", "a b", ["c d&"]),
        ("/?a", "a", [""]),
        ("/?a=b=c?d", "a", ["b=c?d"]),
        ("/?f%6Fo=1", "foo", ["1"]),
    ],
)
def test_a_query_parameter_has_all_its_values(target: str, name: str, values: list[str]) -> None:
    assert method("query", target, name) == values


@pytest.mark.parametrize(("target", "name"), [(TARGET, "other"), ("/path", "a"), ("/?a=%FF", "a"), ("/#?a=1", "a")])
def test_a_parameter_that_is_missing_or_not_utf8_is_an_error(target: str, name: str) -> None:
    with pytest.raises(EvaluationError):
        method("query", target, name)


@pytest.mark.parametrize(
    ("name", "target", "expected"),
    [
        ("addQuery", TARGET, f"{TARGET}&foo=q+x"),
        ("setQuery", TARGET, "/api/test?zap=zip&foo=q+x"),
        ("addQuery", "/api", "/api?foo=q+x"),
        ("setQuery", "https://h/a?foo=1", "https://h/a?foo=q+x"),
    ],
)
def test_a_query_is_extended_or_replaced(name: str, target: str, expected: str) -> None:
    assert method(name, target, "foo", "q x") == expected


@given(NAMES, NAMES)
def test_what_was_put_into_a_query_is_found_there(name: str, value: str) -> None:
    assert query(add_query(TARGET, name, value), name)[-1] == value
    assert query(set_query(TARGET, name, value), name) == [value]
    assert set_query(TARGET, name, value).count("?") == 1


COOKIES = {"cookie": ["session=abc; theme=light", 'other=def;; q="a=b"']}


@pytest.mark.parametrize(
    ("headers", "name", "value"),
    [
        (COOKIES, "session", "abc"),
        (COOKIES, "theme", "light"),
        (COOKIES, "q", '"a=b"'),
        ({"cookie": "a=; b = 1 "}, "b", "1"),
        ({"cookie": "a=; b = 1 "}, "a", ""),
    ],
)
def test_a_cookie_is_found_by_its_name(headers: dict[str, Any], name: str, value: str) -> None:
    assert method("cookie", headers, name) == value


@pytest.mark.parametrize("header", [None, "b=1", "", "a", "=a; a=1", "x; a=1", "a=1; a", 7, ["b=1", 7]])
def test_a_cookie_that_is_missing_or_beside_a_malformed_one_is_an_error(header: object) -> None:
    with pytest.raises(EvaluationError):
        method("cookie", {} if header is None else {"cookie": header}, "a")


@pytest.mark.parametrize("header", ["s=1; s=2", "s=1; s=1", ["s=1", "a=1; s=2"], "a=1;s=;s =2"])
def test_a_cookie_that_occurs_twice_is_a_repeated_header(header: object) -> None:
    with pytest.raises(RepeatedHeaderError):
        method("cookie", {"cookie": header}, "s")


def test_nothing_stands_in_for_a_repeated_cookie() -> None:
    attributes = request(headers=[(b"cookie", b"s=good; s=bad")])

    for text in ('default(request.headers.cookie("s"), "")', 'coalesce(request.headers.cookie("s"), "")'):
        with pytest.raises(RepeatedHeaderError):
            compile_expression(text, strict_headers=True).evaluate(attributes)


@pytest.mark.parametrize(("path", "found"), [("/", False), ("/?q=good", False), ("/?q=good&q=bad", True)])
def test_a_rule_sees_every_value_of_a_parameter(path: str, *, found: bool) -> None:
    expression = compile_expression("'bad' in default(request.pathAndQuery.query('q'), [])", strict_headers=True)

    assert expression.evaluate(request(path)) is found


def test_a_query_has_a_greatest_number_of_fields() -> None:
    assert len(query("/?" + "&".join(["a=1"] * 1_000), "a")) == 1_000
    with pytest.raises(EvaluationError, match="result too large"):
        query("/?b" + "&a=1" * 1_000, "b")


@pytest.mark.parametrize(
    ("token", "claims"),
    [
        ("eyJhbGciOiJub25lIn0.eyJzdWIiOiIxMjMiLCJhZG1pbiI6dHJ1ZX0.", {"sub": "123", "admin": True}),
        ("eyJhbGciOiJub25lIn0.eyJkYXRhIjoifn5-In0.", {"data": "~~~"}),
        ("eyJhbGciOiJub25lIn0.eyJkYXRhIjoifn5-In0=.", {"data": "~~~"}),
    ],
)
def test_the_claims_of_a_token_are_read(token: str, claims: dict[str, Any]) -> None:
    assert unvalidated_jwt_payload(token) == claims


@pytest.mark.parametrize("token", ["not-a-jwt", "a.b.c", "a.eyJkYXRhIjoifn5+In0.c", "a..c", "a.\ud800.c", "a.e30.b.c"])
def test_what_is_no_token_is_an_error(token: str) -> None:
    with pytest.raises(EvaluationError):
        unvalidated_jwt_payload(token)
