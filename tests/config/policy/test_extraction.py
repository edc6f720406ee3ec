from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.cel import compile_expression
from config.policy.extraction import (
    BEARER,
    CookieExtraction,
    ExpressionExtraction,
    HeaderExtraction,
    QueryExtraction,
    SeveralCredentialsError,
)
from tests.config.examples import request

API_KEY = HeaderExtraction(b"x-api-key")
QUERY = QueryExtraction(b"key")
COOKIE = CookieExtraction(b"key")


@pytest.mark.parametrize(("value", "found"), [
    (b"Bearer abc", b"abc"),
    (b"bEARER abc", b"abc"),
    (b"Bearer   abc", b"abc"),
    (b"Bearer", None),
    (b"Bearerabc", None),
    (b"Basic abc", None),
    (b"", None),
    (b"Bearer a, Bearer b", b"a, Bearer b"),
])  # fmt: skip
def test_a_header_holds_the_credential_after_its_prefix(value: bytes, found: bytes | None) -> None:
    assert BEARER.read(request(headers=[(b"authorization", value), (b"accept", b"Bearer no")])) == found


@pytest.mark.parametrize("names", [
    (b"x-api-key", b"x-api-key"), (b"x-api-key", b"x_api_key"), (b"x_api_key",), (b"x-api_key", b"x-api-key"),
])  # fmt: skip
def test_two_headers_or_another_spelling_of_one_are_no_credential(names: tuple[bytes, ...]) -> None:
    with pytest.raises(SeveralCredentialsError):
        API_KEY.read(request(headers=[(name, b"k") for name in names]))


def test_every_spelling_is_taken_off_and_nothing_else() -> None:
    headers = [
        (b"x-api-key", b"1"),
        (b"x_api_key", b"2"),
        (b"x-api_key", b"3"),
        (b"x-api-keys", b"4"),
        (b"accept", b"5"),
    ]

    assert API_KEY.without(headers) == headers[3:]
    assert API_KEY.without_query("x-api-key=1") == "x-api-key=1"


@pytest.mark.parametrize(("query", "found"), [
    (None, None), ("", None), ("key", b""), ("key=", b""), ("a=1&key=k%2B1+2&b", b"k+1 2"), ("%6bey=k", b"k"),
    ("keys=k&KEY=k&a=key", None), ("a;key=k;b", b"k"), ("key=a=b", b"a=b"),
])  # fmt: skip
def test_a_parameter_is_read_as_a_forms(query: str | None, found: bytes | None) -> None:
    assert QUERY.read(request(query=query)) == found


@pytest.mark.parametrize("query", ["key=a&key=b", "key=a&%6Bey=b", "key=a;key=b", "key&key", "key=a&b&key=a"])
def test_two_parameters_are_no_credential(query: str) -> None:
    with pytest.raises(SeveralCredentialsError):
        QUERY.read(request(query=query))


@pytest.mark.parametrize(("query", "rest"), [
    (None, None), ("", ""), ("a=1&key=k", "a=1"), ("key=k&a=%31&b", "a=%31&b"), ("a&key=k&b", "a&b"), ("key=k", None),
    ("a;key=k&b;c", "a&b;c"), ("key=1&%6bey=2&a", "a"), ("a&&b", "a&&b"), ("&key=k", None), ("key=k&", None),
])  # fmt: skip
def test_a_parameter_is_taken_off_and_the_rest_stays_byte_for_byte(query: str | None, rest: str | None) -> None:
    assert QUERY.without_query(query) == rest


PIECES = st.sampled_from(["key=1", "%6bey=2", "%6B%65y", "key", "a=1", "keys=1", "b%26key=x", "", "=key", "k%65y=%00"])


@given(st.lists(PIECES), st.sampled_from(["&", ";"]))
def test_whatever_the_query_no_copy_survives_and_every_other_parameter_does(pieces: list[str], separator: str) -> None:
    query = separator.join(pieces)
    rest = QUERY.without_query(query) or ""

    before = parse_qsl(query, keep_blank_values=True, separator=separator)
    assert parse_qsl(rest, keep_blank_values=True, separator=separator) == [pair for pair in before if pair[0] != "key"]
    assert QUERY.read(request(query=rest)) is None
    assert len([1 for name, _ in before if name == "key"]) > 1 or QUERY.read(request(query=query)) in {
        *(value.encode() for name, value in before if name == "key"),
        None,
    }


@pytest.mark.parametrize(("values", "found"), [
    ([], None), ([b"a=1"], None), ([b"key=k"], b"k"), ([b'a=1;key="k" ; b=2'], b"k"), ([b"a=1", b"key=k=1"], b"k=1"),
    ([b"%6bey=k"], b"k"), ([b"key"], b""), ([b'key="'], b'"'), ([b"KEY=k"], None),
])  # fmt: skip
def test_a_cookie_is_read_by_its_name(values: list[bytes], found: bytes | None) -> None:
    assert COOKIE.read(request(headers=[(b"cookie", value) for value in values])) == found


@pytest.mark.parametrize("values", [[b"key=1; key=2"], [b"key=1", b"key=2"], [b"key=1; %6bey=2"], [b"key; key=1"]])
def test_two_cookies_are_no_credential(values: list[bytes]) -> None:
    with pytest.raises(SeveralCredentialsError):
        COOKIE.read(request(headers=[(b"cookie", value) for value in values]))


def test_a_cookie_is_taken_off_and_the_others_stay() -> None:
    headers = [(b"cookie", b"a=1; key=k; b=2"), (b"cookie", b"key=k"), (b"cookie", b"c = 3;;d"), (b"accept", b"key=k")]

    assert COOKIE.without(headers) == [(b"cookie", b"a=1; b=2"), (b"cookie", b"c = 3;;d"), (b"accept", b"key=k")]


COOKIES = st.lists(st.sampled_from([b"key=1", b" key = 2", b"%6Bey=3", b"a=1", b" b", b"", b"=key", b"keys=key"]))


@given(st.lists(COOKIES.map(b";".join), max_size=3))
def test_whatever_the_cookies_no_copy_survives(values: list[bytes]) -> None:
    rest = COOKIE.without([(b"cookie", value) for value in values])

    assert COOKIE.read(request(headers=rest)) is None
    kept = [part.strip() for _, value in rest for part in value.split(b";") if part.strip()]
    others = {b"a=1", b"b", b"=key", b"keys=key"}
    assert kept == [part.strip() for value in values for part in value.split(b";") if part.strip() in others]


def test_an_expression_gives_the_credential_and_nothing_is_taken_off() -> None:
    location = ExpressionExtraction(compile_expression('request.headers["x-token"].stripPrefix("t=")'))
    headers = [(b"x-token", b"t=abc")]

    assert location.read(request(headers=headers)) == b"abc"
    assert location.without(headers) == headers
    assert location.without_query("a=1") == "a=1"


@pytest.mark.parametrize("text", ['request.headers["missing"]', "null", "7", '["a"]', "1 / 0", "b'abc'"])
def test_an_expression_that_fails_or_gives_no_string_finds_nothing(text: str) -> None:
    assert ExpressionExtraction(compile_expression(text)).read(request()) is None
