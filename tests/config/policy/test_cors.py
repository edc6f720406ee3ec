from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.policy.cors import VARY, Cors, InvalidOriginError, Origin, origin_of

APP = Origin.parse("https://app.example")
VALUE = b"https://app.example"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://app.example", "HTTPS://App.Example"),
        ("https://app.example", "https://app.example:443"),
        ("http://app.example", "http://app.example:80"),
        ("https://[2001:db8::1]", "https://[2001:DB8::1]:443"),
    ],
)
def test_spellings_of_one_origin_are_equal(one: str, other: str) -> None:
    assert Origin.parse(one) == Origin.parse(other)


@pytest.mark.parametrize(
    "text",
    [
        *("", "null", "*", "app.example", "//app.example", "ftp://app.example", "https://", "https://:443"),
        *("https://app.example/", "https://app.example?x", "https://app.example#x", "https://u@app.example"),
        *("https://app.example:", "https://app.example:0", "https://app.example:65536", "https://app.example:1:2"),
        *("https://a b", "https://app..example", "https://app.example.", "https://a*.example", "https://*.*.example"),
        *("https://*example", "https://*.", "https://\u00e4.example", "https://\u212a.example", "https://a\n"),
        *("https://a https://b", "https://a,https://b", "https://" + "a" * 254, "https://app.example\u0661:1"),
    ],
)
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(InvalidOriginError):
        Origin.parse(text)


@pytest.mark.parametrize(
    ("pattern", "origin", "covered"),
    [
        ("https://app.example", "https://app.example", True),
        ("https://app.example", "http://app.example", False),
        ("https://app.example", "https://app.example:8443", False),
        ("https://app.example", "https://app.example.evil.test", False),
        ("https://app.example", "https://evilapp.example", False),
        ("https://*.example", "https://app.example", True),
        ("https://*.example", "https://a.b.example", True),
        ("https://*.example", "https://example", False),
        ("https://*.example", "https://evil-example", False),
        ("https://*.example", "http://app.example", False),
        ("https://*.example:8443", "https://app.example:8443", True),
        ("https://*.example:8443", "https://app.example", False),
        ("https://*", "https://anything.test", True),
        ("https://*", "http://anything.test", False),
    ],
)
def test_a_pattern_covers_one_scheme_and_port_and_the_names_below_it(
    pattern: str, origin: str, *, covered: bool
) -> None:
    assert Origin.parse(pattern).covers(Origin.parse(origin)) is covered


def test_the_origin_of_a_request_is_one_field_or_none() -> None:
    assert origin_of([(b"accept", b"*/*")]) is None
    assert origin_of([(b"origin", VALUE)]) == APP
    for values in ([VALUE, VALUE], [b"null"], [b""], [b"https://*.example"]):
        with pytest.raises(InvalidOriginError):
            origin_of([(b"origin", value) for value in values])


def test_an_answer_names_the_page_and_what_it_may_read() -> None:
    cors = Cors(origins=(APP,), credentials=True, expose=("x-one", "x-two"), methods=("GET",), max_age=600)

    assert cors.answer(APP, VALUE) == [
        (b"access-control-allow-origin", VALUE),
        VARY,
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", b"x-one, x-two"),
    ]


def test_a_preflight_is_told_the_lists_and_how_long_they_hold() -> None:
    cors = Cors(origins=(APP,), methods=("GET", "POST"), headers=("content-type", "x-a"), max_age=600)

    assert cors.preflight(APP, VALUE, b"DELETE", b"x-other") == [
        (b"access-control-allow-origin", VALUE),
        VARY,
        (b"access-control-allow-methods", b"GET, POST"),
        (b"access-control-allow-headers", b"content-type, x-a"),
        (b"access-control-max-age", b"600"),
    ]


def test_a_wildcard_is_answered_with_what_is_asked_for() -> None:
    cors = Cors(any_origin=True, credentials=True, methods=("*",), headers=("*",))

    fields = dict(cors.preflight(APP, VALUE, b"PUT", b" x-a ,,x b,x-c"))

    assert fields[b"access-control-allow-origin"] == VALUE
    assert fields[b"access-control-allow-methods"] == b"PUT"
    assert fields[b"access-control-allow-headers"] == b"x-a, x-c"


@pytest.mark.parametrize(("credentials", "told"), [(False, b"*"), (True, None)])
def test_a_wildcard_is_only_told_where_no_credentials_are_allowed(*, credentials: bool, told: bytes | None) -> None:
    cors = Cors(any_origin=True, credentials=credentials, methods=("*",), headers=("*",))

    assert dict(cors.preflight(APP, VALUE, b"GET", b"")).get(b"access-control-allow-headers") == told


@pytest.mark.parametrize("cors", [Cors(), Cors(origins=(Origin.parse("https://other.example"),), methods=("*",))])
def test_an_origin_that_is_not_allowed_is_told_nothing(cors: Cors) -> None:
    assert cors.answer(APP, VALUE) == [VARY]
    assert cors.preflight(APP, VALUE, b"GET", b"x-a") == [VARY]
    assert Cors(any_origin=True).answer(None, b"null") == [VARY]


PIECES = [
    "https://",
    "http://",
    "app",
    "evil",
    ".",
    "-",
    "example",
    ".example",
    ":443",
    ":8443",
    "@",
    "/",
    "*",
    "\n",
    "null",
]


@given(st.lists(st.sampled_from(PIECES), max_size=6).map("".join))
def test_no_origin_that_is_not_listed_is_ever_allowed(text: str) -> None:
    cors = Cors(origins=(APP, Origin.parse("https://*.example")))
    value = text.encode()
    try:
        origin = origin_of([(b"origin", value)])
    except InvalidOriginError:
        origin = None

    allowed = b"access-control-allow-origin" in dict(cors.answer(origin, value))

    assert allowed == bool(re.fullmatch(r"https://([a-z-]+\.)+example(:443)?", text))
