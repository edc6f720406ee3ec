from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.policy.credentials import (
    ClientCredentials,
    Credential,
    Credentials,
    InvalidCredentialError,
    Passthrough,
    check_value,
    without_line_end,
)
from config.policy.locations import BASIC, BEARER, CookieLocation, HeaderLocation, ParameterLocation
from config.policy.upstream import Upstream, UpstreamTls
from config.secret_values import SecretValue

if TYPE_CHECKING:
    from config.attributes import RawHeaders
    from config.policy.locations import CredentialLocation

ENDPOINT = Upstream("login.test", 443, UpstreamTls("login.test"))
CLIENT = ClientCredentials(ENDPOINT, b"login.test", "/token", "me", SecretValue(b"hunter2"))


def sent(location: CredentialLocation, value: bytes, headers: RawHeaders, target: str = "/") -> tuple[RawHeaders, str]:
    credentials = Credentials((Credential(SecretValue(value), location),))
    assert credentials.ready is not None
    return credentials.ready.apply(headers, target)


def test_the_default_place_is_a_bearer_token() -> None:
    headers, target = sent(BEARER, b"abc", [(b"accept", b"*/*"), (b"authorization", b"Basic theirs")], "/a?b")

    assert headers == [(b"accept", b"*/*"), (b"authorization", b"Bearer abc")]
    assert target == "/a?b"


@pytest.mark.parametrize("name", [b"x-partner-key", b"x_partner_key", b"x-partner_key"])
def test_a_header_replaces_every_copy_of_the_caller_in_whichever_spelling(name: bytes) -> None:
    given_headers = [(name, b"theirs"), (b"x-partner-key-2", b"1"), (name, b"again")]

    headers, _ = sent(HeaderLocation(b"x-partner-key"), b"own", given_headers)

    assert headers == [(b"x-partner-key-2", b"1"), (b"x-partner-key", b"own")]
    assert len(given_headers) == 3  # a retry begins with them again


def test_a_value_in_the_query_is_percent_encoded() -> None:
    _, target = sent(ParameterLocation(b"api_key"), b"a&b=c d%\xc3\xa9", [], "/get?api_key=theirs&a=1")

    assert target == "/get?a=1&api_key=a%26b%3Dc%20d%25%C3%A9"


def test_several_credentials_go_to_their_own_places() -> None:
    credentials = Credentials(
        (
            Credential(SecretValue(b"1"), BASIC),
            Credential(SecretValue(b"2"), CookieLocation(b"a")),
            Credential(SecretValue(b"3"), CookieLocation(b"b")),
            Credential(SecretValue(b"4"), ParameterLocation(b"a")),
            Credential(SecretValue(b"5"), ParameterLocation(b"b")),
        )
    )
    assert credentials.ready is not None

    headers, target = credentials.ready.apply([(b"cookie", b"b=0; c=0")], "/?b=0&c=0")

    assert headers == [(b"cookie", b"c=0; a=2; b=3"), (b"authorization", b"Basic 1")]
    assert target == "/?c=0&a=4&b=5"


@pytest.mark.parametrize("value", [b"", b" ", b" a", b"a ", b"a\t", b"a\r\nb: c", b"a\n", b"a\0", b"\x7f", b"a\x1fb"])
@pytest.mark.parametrize("location", [BEARER, ParameterLocation(b"a"), CookieLocation(b"a")])
def test_what_is_no_header_value_makes_all_of_them_unusable(value: bytes, location: CredentialLocation) -> None:
    credentials = Credentials((Credential(SecretValue(b"good")), Credential(SecretValue(value), location)))

    assert credentials.unusable
    assert credentials.ready is None


@pytest.mark.parametrize("value", [b"a b", b'"a"', b"a,b", b"a;b", b"a\\b", b"\xc3\xa9"])
def test_a_cookie_takes_less_than_a_header(value: bytes) -> None:
    check_value(value)
    with pytest.raises(InvalidCredentialError):
        check_value(value, CookieLocation(b"a"))


@given(st.binary(max_size=20))
def test_a_value_that_is_taken_can_neither_be_empty_nor_end_its_field(value: bytes) -> None:
    is_bad = not value or value.strip(b" \t") != value or bool(set(value) & {*range(9), *range(10, 32), 127})

    if is_bad:
        with pytest.raises(InvalidCredentialError):
            check_value(value)
    else:
        check_value(value)


@pytest.mark.parametrize(
    ("value", "cut"),
    [
        (b"a\n", b"a"),
        (b"a\r\n", b"a"),
        (b"a\n\n", b"a\n"),
        (b"a\r", b"a\r"),
        (b"\na", b"\na"),
        (b"\n", b""),
        (b"", b""),
    ],
)
def test_one_final_line_end_is_cut(value: bytes, cut: bytes) -> None:
    assert without_line_end(value) == cut


def test_what_is_not_known_at_load_is_not_ready() -> None:
    for source in (Passthrough(), CLIENT):
        credentials = Credentials((Credential(SecretValue(b"a"), HeaderLocation(b"x")), Credential(source)))
        assert (credentials.ready, credentials.unusable) == (None, "")
        assert credentials.clients == ((CLIENT,) if source is CLIENT else ())
    with pytest.raises(InvalidCredentialError):
        Credentials((Credential(Passthrough()),)).write([SecretValue(b"a\nb")])


def test_no_repr_shows_a_credential() -> None:
    locations: tuple[CredentialLocation, ...] = (BEARER, ParameterLocation(b"a"), CookieLocation(b"b"))
    credentials = Credentials(tuple(Credential(SecretValue(b"hunter2"), location) for location in locations))

    assert "hunter2" not in repr((credentials, credentials.ready, CLIENT))
    assert CLIENT.client_secret.digest not in repr(CLIENT)


def test_clients_share_a_token_only_if_they_are_equal() -> None:
    assert replace(CLIENT, client_secret=SecretValue(b"hunter2")).key == CLIENT.key
    others = [
        replace(CLIENT, endpoint=Upstream("login.test", 444, UpstreamTls("login.test"))),
        replace(CLIENT, path="/other"),
        replace(CLIENT, client_id="you"),
        replace(CLIENT, client_secret=SecretValue(b"hunter3")),
        replace(CLIENT, secret_in_body=True),
        replace(CLIENT, scopes=("a",)),
        replace(CLIENT, audiences=("a",)),
        replace(CLIENT, resources=("a",)),
    ]
    assert len({CLIENT.key, *(other.key for other in others)}) == len(others) + 1
