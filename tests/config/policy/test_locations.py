from __future__ import annotations

from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.policy.locations import with_cookies, with_parameters, without_cookies, without_parameters

API_KEY = frozenset({b"api_key"})
SESSION = frozenset({b"session"})
OWN = "api_key=own"


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("/get", "/get?api_key=own"),
        ("/get?", "/get?api_key=own"),
        ("/get?a=1", "/get?a=1&api_key=own"),
        ("/get?api_key=theirs", "/get?api_key=own"),
        ("/get?api_key", "/get?api_key=own"),
        ("/get?api_key=1&api_key=2", "/get?api_key=own"),
        ("/get?a=1&api_key=theirs&b=2", "/get?a=1&b=2&api_key=own"),
        ("/get?api_key=theirs&b=2", "/get?b=2&api_key=own"),
        ("/get?a=1;api_key=theirs&b=2", "/get?a=1&b=2&api_key=own"),
        ("/get?api%5Fkey=1&%61pi_key=2&a=%7e", "/get?a=%7e&api_key=own"),
        ("/get?b&&a=%zz+%20?&my_api_key=1&api_key2=2", "/get?b&&a=%zz+%20?&my_api_key=1&api_key2=2&api_key=own"),
        ("/api_key=1?a=api_key=2", "/api_key=1?a=api_key=2&api_key=own"),
    ],
)
def test_a_parameter_replaces_every_copy_and_leaves_the_rest_as_it_was(target: str, sent: str) -> None:
    assert with_parameters(target, API_KEY, [OWN]) == sent


PIECES = st.sampled_from(
    [
        "api_key=evil",
        "api%5fkey=evil",
        "%61%70i_key=evil",
        "api_key",
        "a=1",
        "",
        "=",
        "a=%2f+%zz",
        "b?c=api_key=x",
        "API",
    ]
)


@given(st.lists(st.tuples(st.sampled_from("&;"), PIECES), min_size=1))
def test_no_parameter_of_the_caller_survives_and_every_other_one_does(pairs: list[tuple[str, str]]) -> None:
    query = "".join(separator + piece for separator, piece in pairs)[1:]

    path, _, sent = with_parameters(f"/p?{query}", API_KEY, [OWN]).partition("?")

    assert path == "/p"
    assert [value for name, value in parse_qsl(sent, keep_blank_values=True) if name == "api_key"] == ["own"]
    assert [value for name, value in parse_qsl(sent, True, separator=";") if name == "api_key"] in ([], ["own"])  # noqa: FBT003
    theirs = [piece for _, piece in pairs if unquote(piece.partition("=")[0]) != "api_key"]
    assert [piece for piece in sent.replace(";", "&").removesuffix(OWN).split("&") if piece] == list(
        filter(None, theirs)
    )


@given(st.text(alphabet="ab_&;=%5fapikey"))
def test_a_query_without_such_a_parameter_stays_byte_for_byte(query: str) -> None:
    if "api_key" not in unquote(query):
        assert without_parameters(query, API_KEY) == query


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ([], [b"session=own"]),
        ([b"a=1"], [b"a=1; session=own"]),
        ([b"a=1; "], [b"a=1; session=own"]),
        ([b"session=theirs"], [b"session=own"]),
        ([b"session"], [b"session=own"]),
        ([b" session =theirs;"], [b"session=own"]),
        ([b'session=1; a=1;b="2"; session=2'], [b'a=1;b="2"; session=own']),
        ([b"a=1", b"session=1", b"b=2; %73ession=2"], [b"a=1", b"b=2; session=own"]),
        ([b"my_session=1; Session=2"], [b"my_session=1; Session=2; session=own"]),
    ],
)
def test_a_cookie_replaces_every_copy_and_leaves_the_rest_as_it_was(fields: list[bytes], sent: list[bytes]) -> None:
    headers = [(b"accept", b"*/*"), *((b"cookie", value) for value in fields)]

    written = with_cookies(headers, SESSION, [b"session=own"])

    assert written == [(b"accept", b"*/*"), *((b"cookie", value) for value in sent)]


PARTS = st.sampled_from(
    [b"session=evil", b" session = evil", b"%73ession=evil", b"a=1", b' b="x y"', b"", b"=", b"s=session"]
)


@given(st.lists(st.lists(PARTS, min_size=1).map(b";".join)))
def test_no_cookie_of_the_caller_survives_and_every_other_one_does(fields: list[bytes]) -> None:
    headers = with_cookies([(b"cookie", value) for value in fields], SESSION, [b"session=own"])

    cookies = [part.strip() for _, value in headers for part in value.split(b";")]
    theirs = [
        part.strip() for value in fields for part in value.split(b";") if b"ession" not in part.partition(b"=")[0]
    ]
    assert b"evil" not in b"".join(cookies)
    assert cookies.count(b"session=own") == 1
    assert list(filter(None, cookies)) == [*filter(None, theirs), b"session=own"]


def test_a_field_without_such_a_cookie_stays_byte_for_byte() -> None:
    assert without_cookies(b" a=1;; b ", SESSION) == b" a=1;; b "
