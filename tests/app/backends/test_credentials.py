"""What is sent to a backend, and the tokens that are kept for it, with a real token endpoint."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from app.backends.credentials import DROP_SECONDS, FAILURE_SECONDS, CredentialBroker
from app.backends.errors import OriginConnectError
from config.policy.credentials import ClientCredentials, Credential, Credentials, Passthrough
from config.policy.locations import HeaderLocation
from config.secret_values import SecretValue
from middleware.errors import BackendAuthenticationError
from tests.app.backends.tokens import HOST, SECRET, answer, token, token_endpoint
from tests.config.examples import request
from tests.support.loops import in_each_loop, in_loop, until

if TYPE_CHECKING:
    from app.backends.transport import OriginTransport
    from config.policy.upstream import Upstream
    from tests.app.backends.tokens import TokenEndpoint
    from tests.support.origins import Downstream

REQUEST = request()
STATIC = Credentials((Credential(SecretValue(b"hunter2")),))


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def nowhere(_: Upstream) -> OriginTransport:
    raise AssertionError("no token endpoint is to be asked")


def broker_for(endpoint: TokenEndpoint, clock: Clock) -> CredentialBroker:
    def transport(upstream: Upstream) -> OriginTransport:
        assert upstream == endpoint.client.endpoint
        return endpoint.transport

    return CredentialBroker(transport, clock)


def of(client: ClientCredentials) -> Credentials:
    return Credentials((Credential(client),))


async def sent(broker: CredentialBroker, client: ClientCredentials) -> str:
    written = await broker.resolve(of(client), REQUEST)
    [(name, value)] = written.apply([(b"authorization", b"theirs")], "/")[0]
    assert name == b"authorization"
    return value.decode()


async def numbered(downstream: Downstream, number: int) -> None:
    await downstream.send(answer(token(f"token-{number}", expires_in=600)))


async def failing_later(downstream: Downstream, number: int) -> None:
    good = answer(token(f"token-{number}", expires_in=600))
    await downstream.send(good if number == 1 else answer(b"", "500 Oh"))


@in_loop
async def test_what_is_known_at_load_needs_nobody() -> None:
    assert await CredentialBroker(nowhere).resolve(STATIC, REQUEST) is STATIC.ready


@in_loop
async def test_credentials_that_are_unusable_are_an_error() -> None:
    broken = replace(STATIC, unusable="infra/origin: a credential cannot be had")

    with pytest.raises(BackendAuthenticationError, match="a credential cannot be had") as caught:
        await CredentialBroker(nowhere).resolve(broken, REQUEST)
    assert (caught.value.status, caught.value.body) == (500, "backend authentication failed")


@in_loop
async def test_the_callers_credential_is_passed_on_only_if_a_policy_verified_it() -> None:
    broker = CredentialBroker(nowhere)
    credentials = Credentials((Credential(Passthrough()), Credential(SecretValue(b"key"), HeaderLocation(b"x-key"))))

    written = await broker.resolve(credentials, request(credential=SecretValue(b"hunter2")))
    assert written.apply([(b"authorization", b"x")], "/")[0] == [
        (b"authorization", b"Bearer hunter2"),
        (b"x-key", b"key"),
    ]
    for attributes in (REQUEST, request(credential=SecretValue(b"hunter2\n")), request(credential=SecretValue(b""))):
        with pytest.raises(BackendAuthenticationError) as caught:
            await broker.resolve(credentials, attributes)
        assert "hunter2" not in str(caught.value)


@in_each_loop
async def test_a_token_is_kept_until_shortly_before_its_end() -> None:
    clock = Clock()
    async with token_endpoint(numbered) as endpoint:
        broker = broker_for(endpoint, clock)
        assert await sent(broker, endpoint.client) == "Bearer token-1"
        clock.now += 539
        assert await sent(broker, replace(endpoint.client)) == "Bearer token-1"
        assert endpoint.asked == 1

        clock.now += 600
        assert await sent(broker, endpoint.client) == "Bearer token-2"
        await broker.aclose()


@in_each_loop
async def test_a_token_is_renewed_ahead_of_its_end_while_requests_go_on() -> None:
    clock, go = Clock(), asyncio.Event()

    async def reply(downstream: Downstream, number: int) -> None:
        if number > 1:
            await go.wait()
        await numbered(downstream, number)

    async with token_endpoint(reply) as endpoint:
        broker = broker_for(endpoint, clock)
        assert await sent(broker, endpoint.client) == "Bearer token-1"
        clock.now += 541
        for _ in range(3):
            assert await sent(broker, endpoint.client) == "Bearer token-1"  # though the endpoint has not answered
        await until(lambda: endpoint.asked == 2)
        assert await sent(broker, endpoint.client) == "Bearer token-1"

        go.set()
        while await sent(broker, endpoint.client) == "Bearer token-1":  # noqa: ASYNC110  nothing tells when
            await asyncio.sleep(0)
        assert endpoint.asked == 2
        await broker.aclose()


@in_loop
async def test_a_renewal_that_fails_keeps_the_token_while_it_is_good(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    async with token_endpoint(failing_later) as endpoint:
        broker = broker_for(endpoint, clock)
        await sent(broker, endpoint.client)
        clock.now += 541
        assert await sent(broker, endpoint.client) == "Bearer token-1"
        await until(lambda: caplog.records)
        assert caplog.messages == [
            f"a token could not be renewed: token endpoint {HOST}:{endpoint.origin.port}: status 500"
        ]
        assert await sent(broker, endpoint.client) == "Bearer token-1"
        assert endpoint.asked == 2  # not asked again at once

        clock.now += FAILURE_SECONDS
        assert await sent(broker, endpoint.client) == "Bearer token-1"
        await until(lambda: endpoint.asked == 3)
        clock.now += 60
        with pytest.raises(BackendAuthenticationError):
            await sent(broker, endpoint.client)
        await broker.aclose()


@in_each_loop
async def test_however_many_wait_one_asks() -> None:
    go = asyncio.Event()

    async def reply(downstream: Downstream, number: int) -> None:
        await go.wait()
        await numbered(downstream, number)

    async with token_endpoint(reply) as endpoint:
        broker = broker_for(endpoint, Clock())
        waiting = [asyncio.create_task(sent(broker, replace(endpoint.client))) for _ in range(50)]
        await until(lambda: endpoint.asked)
        waiting[0].cancel()  # the caller that came first leaves: the others still get theirs
        go.set()

        assert await asyncio.gather(*waiting[1:]) == ["Bearer token-1"] * 49
        assert waiting[0].cancelled()
        assert endpoint.asked == 1
        await broker.aclose()


@in_loop
async def test_a_failure_is_answered_from_memory_for_a_short_time() -> None:
    clock = Clock()

    async def reply(downstream: Downstream, number: int) -> None:
        bad = answer({"error": "invalid_client"}, "401 Unauthorized")
        await downstream.send(bad if number == 1 else answer(token("abc")))

    async with token_endpoint(reply) as endpoint:
        broker = broker_for(endpoint, clock)
        for _ in range(3):
            with pytest.raises(BackendAuthenticationError) as caught:
                await sent(broker, endpoint.client)
            assert str(caught.value) == f"token endpoint {HOST}:{endpoint.origin.port}: status 401"
        assert endpoint.asked == 1

        clock.now += FAILURE_SECONDS
        assert await sent(broker, endpoint.client) == "Bearer abc"
        await broker.aclose()


@in_loop
async def test_a_token_without_life_serves_whoever_waited_for_it_and_no_one_else() -> None:
    async def reply(downstream: Downstream, number: int) -> None:
        await downstream.send(answer(token(f"token-{number}", expires_in=0)))

    async with token_endpoint(reply) as endpoint:
        broker = broker_for(endpoint, Clock())
        assert [await sent(broker, endpoint.client) for _ in range(2)] == ["Bearer token-1", "Bearer token-2"]
        await broker.aclose()


@in_loop
async def test_unequal_clients_never_share_a_token() -> None:
    async with token_endpoint(numbered) as endpoint:
        broker = broker_for(endpoint, Clock())
        clients = [
            endpoint.client,
            replace(endpoint.client, scopes=("write",)),
            replace(endpoint.client, client_id="b"),
        ]

        first = [await sent(broker, client) for client in clients]

        assert first == ["Bearer token-1", "Bearer token-2", "Bearer token-3"]
        assert [await sent(broker, client) for client in clients] == first
        await broker.aclose()


@in_loop
async def test_a_token_that_the_origin_refuses_is_dropped_but_not_one_for_every_request() -> None:
    clock = Clock()
    async with token_endpoint(numbered) as endpoint:
        broker, credentials = broker_for(endpoint, clock), of(endpoint.client)
        written = await broker.resolve(credentials, REQUEST)
        broker.reject(credentials, written)
        assert await sent(broker, endpoint.client) == "Bearer token-2"

        broker.reject(credentials, written)  # of a request that was under way: it is not the kept one
        assert await sent(broker, endpoint.client) == "Bearer token-2"
        again = await broker.resolve(credentials, REQUEST)
        broker.reject(credentials, again)  # at once: an origin that refuses every token
        assert await sent(broker, endpoint.client) == "Bearer token-2"
        clock.now += DROP_SECONDS
        broker.reject(credentials, again)
        assert await sent(broker, endpoint.client) == "Bearer token-3"
        await broker.aclose()

    assert STATIC.ready is not None
    CredentialBroker(nowhere).reject(STATIC, STATIC.ready)  # there is nothing to drop


@in_loop
async def test_a_reload_keeps_the_tokens_of_clients_that_stay() -> None:
    async with token_endpoint(numbered) as endpoint:
        broker = broker_for(endpoint, Clock())
        other = replace(endpoint.client, client_id="other")
        await sent(broker, endpoint.client)
        await sent(broker, other)

        broker.retain([STATIC, of(replace(endpoint.client))])

        assert await sent(broker, endpoint.client) == "Bearer token-1"
        assert await sent(broker, other) == "Bearer token-3"
        await broker.aclose()


@in_loop
async def test_the_end_of_the_gateway_ends_what_is_under_way() -> None:
    async def reply(downstream: Downstream, _: int) -> None:
        await downstream.until_closed()

    async with token_endpoint(reply) as endpoint:
        broker = broker_for(endpoint, Clock())
        waiting = asyncio.create_task(sent(broker, endpoint.client))
        await until(lambda: endpoint.asked)

        await broker.aclose()

        with pytest.raises(BackendAuthenticationError, match="the gateway ends"):
            await waiting
        assert asyncio.all_tasks() - {asyncio.current_task()} <= _of_the_server()
        await until(lambda: endpoint.origin.ended == 1)


def _of_the_server() -> set[asyncio.Task[object]]:
    return {task for task in asyncio.all_tasks() if "serve" in repr(task.get_coro())}


@in_loop
async def test_a_defect_is_an_error_that_shows_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: Upstream) -> OriginTransport:
        raise KeyError(SECRET)

    async with token_endpoint(numbered) as endpoint:
        with pytest.raises(BackendAuthenticationError, match="unexpected KeyError"):
            await sent(CredentialBroker(broken), endpoint.client)

    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert SECRET not in str([vars(record) for record in caplog.records])


@in_loop
async def test_an_endpoint_whose_transport_cannot_be_made_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    def without_roots(_: Upstream) -> OriginTransport:
        raise OriginConnectError("no trust roots can be loaded")

    async with token_endpoint(numbered) as endpoint:
        with pytest.raises(BackendAuthenticationError) as caught:
            await sent(CredentialBroker(without_roots), endpoint.client)

    assert str(caught.value).endswith(": no trust roots can be loaded")
    assert caplog.records == []


@in_loop
async def test_no_log_error_or_repr_shows_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    clock = Clock()
    async with token_endpoint(failing_later) as endpoint:
        broker = broker_for(endpoint, clock)
        written = await broker.resolve(of(endpoint.client), REQUEST)
        shown = [repr(written), repr(of(endpoint.client)), repr(broker)]
        clock.now += 541
        await sent(broker, endpoint.client)
        await until(lambda: endpoint.asked == 2 and caplog.records)
        clock.now += 600
        with pytest.raises(BackendAuthenticationError) as caught:
            await sent(broker, endpoint.client)
        shown += [repr(caught.value), repr(caught.value.__cause__), repr(caught.value.__context__), caplog.text]
        await broker.aclose()

    assert not [text for text in shown for secret in ("token-1", SECRET, "s3cr", "Basic") if secret in text]
