from __future__ import annotations

import asyncio
import ipaddress
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from app import jwks
from app.backends.dial import Dialer
from app.backends.transport import OriginTransport
from app.cli.certificates import Leaf
from app.client_auth import ClientCredentials
from app.jwks import EARLY_SECONDS, MAX_STALE_SECONDS, KeySets
from config.policy.client_auth import CredentialRefusedError, Mode
from config.policy.jwt import JwtAuthentication, JwtProvider, RemoteKeys
from config.policy.upstream import Upstream, UpstreamTls
from config.secret_values import SecretValue
from tests.support.loops import in_each_loop, in_loop, until
from tests.support.origins import serving
from tests.support.tls import MESH, authority, server_context
from tests.support.tokens import ISSUER, NOW, claims, key_set, public, token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.origins import Downstream, Origin

    Script = Callable[[Downstream], Awaitable[None]]

HOST = "issuer.example"


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def client_context(trusted: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority(trusted).pem()[0].decode())
    return context


@asynccontextmanager
async def fetching(
    script: Script, clock: Clock | None = None, trusted: str = MESH, *, cache_seconds: float = 300.0
) -> AsyncIterator[tuple[Origin, KeySets, RemoteKeys]]:
    """Serve a key set over TLS and fetch it."""
    async with serving(script, server_context(Leaf("origin", names=(HOST,)))) as origin:
        dialer = Dialer({(HOST, 443): ("127.0.0.1", origin.port)}, (ipaddress.ip_network("127.0.0.0/8"),))
        remote = RemoteKeys(Upstream(HOST, 443, UpstreamTls(HOST)), "/keys", HOST.encode(), cache_seconds)
        transport = OriginTransport(remote.upstream, dialer, client_context(trusted))
        key_sets = KeySets(lambda _: transport, clock or Clock())
        key_sets.reconcile([remote])
        try:
            yield origin, key_sets, remote
        finally:
            await key_sets.aclose()
            await transport.aclose()


def answering(*documents: str | bytes) -> Script:
    """Answer with one document after the other, the last one again and again; bytes are a whole answer."""
    left = list(documents)

    async def script(origin: Downstream) -> None:
        while True:
            await origin.head()
            document = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(document, str):
                document = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(document), document.encode())
            await origin.send(document)

    return script


def policy(remote: RemoteKeys) -> JwtAuthentication:
    return JwtAuthentication(Mode.STRICT, (JwtProvider(ISSUER, frozenset({"egress"}), remote),))


def signed(name: str) -> SecretValue:
    return SecretValue(token(name=name).encode())


@in_each_loop
async def test_a_token_is_verified_with_keys_that_are_fetched_over_tls() -> None:
    async with fetching(answering(key_set())) as (origin, key_sets, remote):
        credentials = ClientCredentials(key_sets)

        # Nothing is there yet: the first token waits for the fetch that goes on.
        assert await credentials.claims(policy(remote), signed("k1"), NOW) == claims()
        [head] = origin.heads
        assert head.startswith(b"GET /keys HTTP/1.1\r\nhost: issuer.example\r\n")


@in_loop
async def test_a_new_key_is_fetched_early_but_only_so_often_and_once_for_all_who_wait() -> None:
    clock = Clock()
    rotated = answering(key_set(), key_set(public("P-256", "k2")), key_set(public("P-256", "k3")))
    async with fetching(rotated, clock) as (origin, key_sets, remote):
        credentials = ClientCredentials(key_sets)
        await credentials.claims(policy(remote), signed("k1"), NOW)

        together = [credentials.claims(policy(remote), signed("k2"), NOW) for _ in range(5)]
        assert await asyncio.gather(*together) == [claims()] * 5
        assert len(origin.heads) == 2
        for name in ("k1", "k3"):  # what a withdrawn key had verified is forgotten
            with pytest.raises(CredentialRefusedError, match=r"^unknown key$"):
                await credentials.claims(policy(remote), signed(name), NOW)
        assert len(origin.heads) == 2
        clock.now += EARLY_SECONDS
        assert await credentials.claims(policy(remote), signed("k3"), NOW) == claims()


FAULTS = {
    b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n": "the server answered 503",
    b"HTTP/1.1 302 Found\r\nlocation: https://other.example/\r\ncontent-length: 0\r\n\r\n": "the server answered 302",
    b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>": "not JSON",
    b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx": "compressed",
    b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n" + b" " * 300000: "longer than 262144 bytes",
    b"garbage\r\n\r\n": "",
}


@pytest.mark.parametrize("answer", FAULTS, ids=lambda answer: answer[9:40].decode(errors="replace"))
@in_loop
async def test_what_is_no_key_set_lets_nobody_in_and_is_logged_once(
    answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    async with fetching(answering(answer), clock) as (_, key_sets, remote):
        for _ in range(3):
            with pytest.raises(CredentialRefusedError, match=r"^unknown key$"):
                await ClientCredentials(key_sets).claims(policy(remote), signed("k1"), NOW)
            clock.now += EARLY_SECONDS

    [record] = caplog.records
    assert record.getMessage() == "key set cannot be fetched"
    assert FAULTS[answer] in record.__dict__["reason"]
    assert record.__dict__["url"] == "https://issuer.example/keys"


@in_loop
async def test_a_server_that_cannot_be_verified_gives_no_keys(caplog: pytest.LogCaptureFixture) -> None:
    async with fetching(answering(key_set()), trusted="another authority") as (_, key_sets, remote):
        await key_sets.refetch(remote)

        assert not key_sets.current(remote).keys
    assert "key set cannot be fetched" in caplog.messages


@in_loop
async def test_a_server_that_does_not_answer_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def silent(origin: Downstream) -> None:
        await origin.until_closed()

    monkeypatch.setattr(jwks, "FETCH_SECONDS", 0.05)
    async with fetching(silent) as (origin, key_sets, remote):
        await key_sets.refetch(remote)
        await until(lambda: origin.ended or not origin.accepted)
    assert any("no answer within" in record.__dict__["reason"] for record in caplog.records)


@in_loop
async def test_the_last_good_set_is_kept_for_so_long_and_no_longer() -> None:
    clock = Clock()
    failing = answering(key_set(), b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n")
    async with fetching(failing, clock) as (origin, key_sets, remote):
        await key_sets.refetch(remote)
        clock.now = EARLY_SECONDS
        await key_sets.refetch(remote)
        assert len(origin.heads) == 2

        clock.now = 300 + MAX_STALE_SECONDS
        assert list(key_sets.current(remote).keys) == ["k1"]
        clock.now += 1
        assert not key_sets.current(remote).keys


@in_loop
async def test_a_set_is_fetched_again_when_its_time_is_over_and_stays_the_same_object_if_it_is_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jwks, "MIN_CACHE_SECONDS", 0.01)
    async with fetching(answering(key_set()), cache_seconds=0.01) as (origin, key_sets, remote):
        await key_sets.refetch(remote)
        first = key_sets.current(remote)
        await until(lambda: len(origin.heads) > 2)

        assert key_sets.current(remote) is first


@in_loop
async def test_a_failure_is_tried_again_and_the_recovery_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "egress")
    monkeypatch.setattr(jwks, "MIN_CACHE_SECONDS", 0.01)
    script = answering(b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n", '{"keys":[]}')
    async with fetching(script, cache_seconds=0.01) as (_, key_sets, remote):
        await until(lambda: key_sets.current(remote).version)

    assert caplog.messages == [
        "key set cannot be fetched",
        "key set is fetched again",
        "key set without a usable key: no token of its issuer is valid",
    ]


@in_loop
async def test_what_no_configuration_names_any_more_is_not_fetched_and_gives_no_keys() -> None:
    async with fetching(answering(key_set())) as (_, key_sets, remote):
        await key_sets.refetch(remote)
        known = key_sets.current(remote)
        key_sets.reconcile([remote])
        assert key_sets.current(remote) is known

        key_sets.reconcile([])
        assert not key_sets.current(remote).keys
        await key_sets.refetch(remote)


@in_loop
async def test_a_caller_that_leaves_does_not_end_the_fetch_of_the_others() -> None:
    async with fetching(answering(key_set())) as (_, key_sets, remote):
        leaving = asyncio.create_task(key_sets.refetch(remote))
        staying = asyncio.create_task(key_sets.refetch(remote))
        await asyncio.sleep(0)
        leaving.cancel()
        await staying

        assert list(key_sets.current(remote).keys) == ["k1"]
