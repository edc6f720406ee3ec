from __future__ import annotations

import base64

import bcrypt
import pytest

from config.policy.client_auth import (
    ApiKeyAuthentication,
    BasicAuthentication,
    CredentialRefusedError,
    Mode,
    parse_basic,
)
from config.policy.extraction import BASIC, BEARER, CookieExtraction, Extraction, HeaderExtraction
from config.policy.passwords import parse_hash
from config.secret_values import SecretValue

ALICE = parse_hash(bcrypt.hashpw(b"a", bcrypt.gensalt(4)).decode())
BOB = parse_hash(bcrypt.hashpw(b"b", bcrypt.gensalt(4)).decode())
KEY = SecretValue(b"k-example-a")


def test_a_known_user_has_its_own_hash() -> None:
    policy = BasicAuthentication(Mode.STRICT, {"alice": ALICE, "bob": BOB})

    assert policy.find("alice") == (ALICE, True)
    assert policy.find("bob") == (BOB, True)


def test_an_unknown_user_costs_what_a_wrong_password_costs_always_the_same() -> None:
    policy = BasicAuthentication(Mode.STRICT, {"alice": ALICE, "bob": BOB})
    found = [policy.find("mallory") for _ in range(5)]

    assert set(found) <= {(ALICE, False), (BOB, False)}
    assert len(set(found)) == 1


def test_without_users_nobody_is_let_in() -> None:
    with pytest.raises(CredentialRefusedError):
        BasicAuthentication(Mode.STRICT, {}).find("alice")


def test_a_key_is_found_by_its_digest_and_no_other_is() -> None:
    policy = ApiKeyAuthentication(Mode.STRICT, {KEY.digest: {"team": "a"}})

    assert policy.find(KEY) == {"team": "a"}
    for other in (b"", b"k-example-b", KEY.digest.encode()):
        with pytest.raises(CredentialRefusedError):
            policy.find(SecretValue(other))


def test_challenges_name_the_scheme() -> None:
    assert BasicAuthentication(Mode.STRICT, {}, "egress").challenge == b'Basic realm="egress"'
    assert BasicAuthentication(Mode.STRICT, {}).rejection == b'Basic realm="Restricted"'
    locations: list[Extraction] = [
        BEARER,
        BASIC,
        HeaderExtraction(b"x-api-key"),
        CookieExtraction(b"key"),
        HeaderExtraction(b"authorization"),
    ]
    challenges = [ApiKeyAuthentication(Mode.STRICT, {}, location).challenge for location in locations]
    assert challenges == [b"Bearer", b"Basic", b"ApiKey", b"ApiKey", b"ApiKey"]


@pytest.mark.parametrize(("text", "expected"), [
    (b"alice:secret", ("alice", b"secret")),
    (b"alice:se:cret", ("alice", b"se:cret")),
    (b":", ("", b"")),
    ("ällice:ß".encode(), ("ällice", "ß".encode())),
])  # fmt: skip
def test_basic_credentials_are_name_colon_password(text: bytes, expected: tuple[str, bytes]) -> None:
    assert parse_basic(base64.b64encode(text)) == expected


@pytest.mark.parametrize(
    "credential",
    [
        b"",
        b"!",
        b"YWxpY2U",
        b"YWxpY2U=",
        b"YWxpY2U6\n",
        base64.b64encode(b"\xff:x"),
        base64.b64encode(b"a\n:x"),
        b"\xff",
    ],
)
def test_malformed_basic_credentials_are_refused(credential: bytes) -> None:
    with pytest.raises(CredentialRefusedError, match=r"^malformed credentials$"):
        parse_basic(credential)


def test_nothing_secret_is_shown() -> None:
    shown = repr(BasicAuthentication(Mode.STRICT, {"alice": ALICE})) + repr(
        ApiKeyAuthentication(Mode.STRICT, {KEY.digest: {}})
    )

    assert "$2b$" not in shown
    assert KEY.digest not in shown
