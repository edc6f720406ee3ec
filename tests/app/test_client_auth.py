from __future__ import annotations

import asyncio
import base64
import threading
from typing import TYPE_CHECKING, Any

import bcrypt
import pytest

from app.client_auth import MAX_PASSWORDS, MAX_TOKENS, MAX_WAITING_PASSWORDS, ClientCredentials
from app.jwks import KeySets
from config.policy.client_auth import BasicAuthentication, CredentialRefusedError, Mode
from config.policy.jwks import VerificationKey, parse_jwks
from config.policy.jwt import JwtAuthentication, JwtProvider
from config.policy.passwords import PasswordHash, parse_hash
from config.secret_values import SecretValue
from middleware.errors import PasswordChecksBusyError
from tests.support.loops import in_loop
from tests.support.tokens import ISSUER, NOW, claims, key_set, token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from config.policy.upstream import Upstream

POLICY = JwtAuthentication(Mode.STRICT, (JwtProvider(ISSUER, frozenset({"egress"}), parse_jwks(key_set().encode())),))
HASH = parse_hash(bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode())
BASIC = BasicAuthentication(Mode.STRICT, {"alice": HASH})
TOKEN = SecretValue(token().encode())


def no_transport(_: Upstream) -> Any:
    raise AssertionError("nothing is fetched here")


@pytest.fixture
def credentials() -> Iterator[ClientCredentials]:
    found = ClientCredentials(KeySets(no_transport))
    yield found
    found.close()


def pair(text: str) -> SecretValue:
    return SecretValue(base64.b64encode(text.encode()))


class Count:
    """Counts the calls of a method."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        self.calls = 0
        method = getattr(owner, name)

        def counted(*args: Any) -> Any:
            self.calls += 1
            return method(*args)

        monkeypatch.setattr(owner, name, counted)


@in_loop
async def test_a_signature_is_verified_once(credentials: ClientCredentials, monkeypatch: pytest.MonkeyPatch) -> None:
    count = Count(monkeypatch, VerificationKey, "verify")

    for _ in range(3):
        assert await credentials.claims(POLICY, TOKEN, NOW) == claims()
    assert count.calls == 1


@in_loop
async def test_what_is_remembered_ends_with_the_token(credentials: ClientCredentials) -> None:
    await credentials.claims(POLICY, TOKEN, NOW)

    with pytest.raises(CredentialRefusedError, match=r"^expired$"):
        await credentials.claims(POLICY, TOKEN, NOW + 360)


@in_loop
async def test_what_one_policy_has_verified_says_nothing_under_another(credentials: ClientCredentials) -> None:
    other = JwtAuthentication(Mode.STRICT, (JwtProvider(ISSUER, frozenset({"x"}), POLICY.providers[0].keys),))
    await credentials.claims(POLICY, TOKEN, NOW)

    with pytest.raises(CredentialRefusedError, match=r"^wrong audience$"):
        await credentials.claims(other, TOKEN, NOW)


@in_loop
async def test_tokens_that_are_remembered_are_bounded(
    credentials: ClientCredentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.client_auth.MAX_TOKENS", 2)
    for name in "abc":
        await credentials.claims(POLICY, SecretValue(token(claims(sub=name)).encode()), NOW)
    await credentials.claims(POLICY, SecretValue(token(claims(pad="x" * 4096)).encode()), NOW)

    assert MAX_TOKENS == 4096
    assert [known.claims["sub"] for known in credentials._tokens.values()] == ["b", "c"]


@in_loop
async def test_a_password_is_compared_once(credentials: ClientCredentials, monkeypatch: pytest.MonkeyPatch) -> None:
    count = Count(monkeypatch, PasswordHash, "verify")

    for _ in range(3):
        assert await credentials.user(BASIC, pair("alice:secret")) == {"username": "alice"}
    assert count.calls == 1
    assert all(b"secret" not in remembered for remembered in credentials._passwords)


@pytest.mark.parametrize("text", ["alice:wrong", "mallory:secret", "mallory:wrong"])
@in_loop
async def test_a_wrong_password_and_an_unknown_user_are_refused_alike_after_the_same_work(
    text: str, credentials: ClientCredentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    await credentials.user(BASIC, pair("alice:secret"))
    count = Count(monkeypatch, PasswordHash, "verify")

    for _ in range(2):
        with pytest.raises(CredentialRefusedError, match=r"^wrong user or password$"):
            await credentials.user(BASIC, pair(text))
    assert count.calls == 2


@in_loop
async def test_a_changed_password_is_asked_for_at_once(credentials: ClientCredentials) -> None:
    changed = parse_hash(bcrypt.hashpw(b"other", bcrypt.gensalt(4)).decode())
    await credentials.user(BASIC, pair("alice:secret"))

    with pytest.raises(CredentialRefusedError):
        await credentials.user(BasicAuthentication(Mode.STRICT, {"alice": changed}), pair("alice:secret"))


@in_loop
async def test_passwords_that_are_remembered_are_bounded(
    credentials: ClientCredentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.client_auth.MAX_PASSWORDS", 1)
    other = parse_hash(bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode())
    for stored in (HASH, other):
        await credentials.user(BasicAuthentication(Mode.STRICT, {"alice": stored}), pair("alice:secret"))

    assert MAX_PASSWORDS == 1024
    assert len(credentials._passwords) == 1


@in_loop
async def test_passwords_are_compared_beside_the_event_loop_and_only_so_many_wait(
    credentials: ClientCredentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    def slow(_: PasswordHash, __: bytes) -> bool:
        assert threading.current_thread() is not threading.main_thread()
        return release.wait(30)

    monkeypatch.setattr(PasswordHash, "verify", slow)
    tasks = [
        asyncio.create_task(credentials.user(BASIC, pair(f"alice:{number}"))) for number in range(MAX_WAITING_PASSWORDS)
    ]
    await asyncio.sleep(0)
    try:
        with pytest.raises(PasswordChecksBusyError):
            await credentials.user(BASIC, pair("alice:another"))
    finally:
        release.set()
    assert await asyncio.gather(*tasks) == [{"username": "alice"}] * MAX_WAITING_PASSWORDS
    assert await credentials.user(BASIC, pair("alice:another"))
