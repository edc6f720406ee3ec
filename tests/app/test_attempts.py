"""Attempts over real sockets: what is sent again, what never is, which deadline answers, and who is chosen."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from app.cli.certificates import Leaf
from config.cel import compile_expression
from config.policy.balancing import DynamicForwardProxy, Endpoint
from config.policy.credentials import Credential, Credentials
from config.policy.health import Eviction, Health
from config.policy.locations import ParameterLocation
from config.policy.resilience import Retry
from config.policy.upstream import Upstream, UpstreamTls
from config.secret_values import SecretValue
from config.snapshot import Backend, WeightedBackend
from tests.support.forwarding import Clock, forwarding, route, snapshot_of, upstream
from tests.support.loops import in_each_loop, in_loop, until
from tests.support.origins import serving
from tests.support.tls import MESH, authority, server_context

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.support.origins import Downstream, Origin

A = ("a.test", 80)
B = ("b.test", 80)
CHUNKED = (b"transfer-encoding", b"chunked")
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy"
ONCE = Retry(1, codes=frozenset({503}))
"""Another attempt after a 503."""


async def received(origin: Downstream) -> bytes:
    """Read a request and return its body."""
    head = (await origin.head()).lower()
    if b"transfer-encoding: chunked" in head:
        body = b""
        while size := int(await origin.reader.readline(), 16):
            body += (await origin.reader.readexactly(size + 2))[:-2]
        await origin.reader.readline()
        return body
    _, found, rest = head.partition(b"content-length: ")
    return await origin.reader.readexactly(int(rest.split(b"\r\n")[0])) if found else b""


def answering(*answers: bytes, bodies: list[bytes] | None = None) -> Callable[[Downstream], Awaitable[None]]:
    """Give one answer after another, whichever connections the requests come on; nothing ends a connection at once."""
    left = list(answers)

    async def script(origin: Downstream) -> None:
        while True:
            body = await received(origin)
            if bodies is not None:
                bodies.append(body)
            if not left or not (answer := left.pop(0)):
                return
            await origin.send(answer)

    return script


def silent(origin: Downstream) -> Awaitable[None]:
    """Take everything, and answer nothing."""
    return origin.until_closed()


def retry_numbers(origin: Origin) -> list[bytes | None]:
    """Return `x-retry-attempt` of every request that came."""
    fields = [dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2]) for head in origin.heads]
    return [found.get(b"x-retry-attempt") for found in fields]


# what is sent again


@in_each_loop
async def test_an_answer_with_a_listed_status_is_asked_for_again() -> None:
    async with (
        serving(answering(BUSY, OK)) as origin,
        forwarding(route(Backend("a", upstream("a")), retry=ONCE), {A: origin}) as way,
    ):
        call = way.call()
        await call.run()

        assert (call.status, call.content) == (200, b"ok")
        assert retry_numbers(origin) == [None, b"1"]
        assert origin.accepted == 1, "the answer that was not passed on was short: its connection is used again"
    assert way.records[0].attempts == 1


@in_each_loop
async def test_after_the_last_attempt_the_answer_is_the_callers() -> None:
    retry = Retry(2, backoff=0.001, codes=frozenset({503}))
    async with (
        serving(answering(*[BUSY] * 3)) as origin,
        forwarding(route(Backend("a", upstream("a")), retry=retry), {A: origin}) as way,
    ):
        call = way.call()
        await call.run()

        assert (call.status, call.content) == (503, b"busy")
        assert retry_numbers(origin) == [None, b"1", b"2"]
    assert way.records[0].attempts == 2


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n"])
@in_each_loop
async def test_an_attempt_without_an_answer_is_followed_by_another(answer: bytes) -> None:
    async with (
        serving(answering(answer, OK)) as origin,
        forwarding(route(Backend("a", upstream("a")), retry=Retry()), {A: origin}) as way,
    ):
        assert await way.status() == 200


@in_each_loop
async def test_a_connection_that_cannot_be_had_leads_to_the_other_endpoint() -> None:
    async with serving(answering()) as dead:
        pass
    backend = Backend("a", endpoints=(Endpoint(upstream("a")), Endpoint(upstream("b"))))
    async with serving(answering(OK)) as origin, forwarding(route(backend, retry=Retry()), {A: dead, B: origin}) as way:
        assert await way.status() == 200
    assert way.records[0].endpoint == f"127.0.0.1:{origin.port}"


@in_each_loop
async def test_an_attempt_beyond_its_own_deadline_is_followed_by_another() -> None:
    async def script(origin: Downstream) -> None:
        await origin.head()
        await (origin.until_closed() if origin.number == 1 else origin.send(OK))

    backend = Backend("a", upstream("a"), request_timeout=0.1)
    async with serving(script) as origin, forwarding(route(backend, retry=Retry()), {A: origin}) as way:
        assert await way.status() == 200
        assert retry_numbers(origin) == [None, b"1"]


@pytest.mark.parametrize(("chunked", "parts"), [(False, [b"x" * 65536]), (True, [b"abc", b"", b"def"]), (True, [b""])])
@in_each_loop
async def test_a_small_body_is_sent_again_as_it_was(*, chunked: bool, parts: list[bytes]) -> None:
    bodies: list[bytes] = []
    async with (
        serving(answering(BUSY, OK, bodies=bodies)) as origin,
        forwarding(route(Backend("a", upstream("a")), retry=ONCE), {A: origin}) as way,
    ):
        call = way.call("POST", [CHUNKED if chunked else (b"content-length", b"65536")])
        for index, part in enumerate(parts, start=1):
            call.body(part, more=index < len(parts))
        await call.run()

        assert call.status == 200
        assert bodies == [b"".join(parts)] * 2
    assert way.records[0].bytes_in == len(b"".join(parts))


@pytest.mark.parametrize("chunked", [False, True])
@in_each_loop
async def test_a_larger_body_is_sent_once_and_as_it_comes(*, chunked: bool) -> None:
    bodies: list[bytes] = []
    parts = [b"x" * 65536, b"y"]
    async with (
        serving(answering(BUSY, OK, bodies=bodies)) as origin,
        forwarding(route(Backend("a", upstream("a")), retry=ONCE), {A: origin}) as way,
    ):
        call = way.call("POST", [CHUNKED if chunked else (b"content-length", b"65537")])
        task = call.start()
        call.body(parts[0], more=True)
        if not chunked:
            await until(lambda: origin.heads)
        call.body(parts[1])
        await task

        assert call.status == 503
        assert bodies == [b"".join(parts)]
    assert way.records[0].attempts == 0


@in_each_loop
async def test_an_answer_that_breaks_within_its_body_is_an_abort_not_a_retry() -> None:
    async def script(origin: Downstream) -> None:
        await origin.head()
        await origin.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")

    async with (
        serving(script) as origin,
        forwarding(route(Backend("a", upstream("a")), retry=Retry(3)), {A: origin}) as way,
    ):
        call = way.call()
        await call.run()

        assert (call.content, call.aborted, len(origin.heads)) == (b"half", 1, 1)


@pytest.mark.parametrize(
    ("precondition", "statuses"),
    [("request.method == 'GET'", [200, 503]), ("request.headers['x-none'] == 'a'", [503, 503]), ("'yes'", [503, 503])],
)
@in_loop
async def test_nothing_is_retried_unless_the_precondition_is_true(precondition: str, statuses: list[int]) -> None:
    retry = Retry(1, codes=frozenset({503}), precondition=compile_expression(precondition))
    for method, expected in zip(("GET", "DELETE"), statuses, strict=True):
        async with (
            serving(answering(BUSY, OK)) as origin,
            forwarding(route(Backend("a", upstream("a")), retry=retry), {A: origin}) as way,
        ):
            assert await way.status(method) == expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [("response.headers['x-failed'] == 'yes'", b"ok"), ("response.headers['none'] == ''", b"")],
)
@in_loop
async def test_a_condition_may_ask_again_for_an_answer_of_any_status(condition: str, expected: bytes) -> None:
    failed = b"HTTP/1.1 200 OK\r\nx-failed: yes\r\ncontent-length: 0\r\n\r\n"
    retry = Retry(1, condition=compile_expression(condition))
    async with (
        serving(answering(failed, OK)) as origin,
        forwarding(route(Backend("a", upstream("a")), retry=retry), {A: origin}) as way,
    ):
        call = way.call()
        await call.run()

        assert (call.status, call.content) == (200, expected)


@in_loop
async def test_without_codes_only_what_has_no_answer_is_tried_again() -> None:
    async with (
        serving(answering(BUSY, OK)) as origin,
        forwarding(route(Backend("a", upstream("a")), retry=Retry()), {A: origin}) as way,
    ):
        assert await way.status() == 503


@pytest.mark.parametrize("name", [b"x-retry-attempt", b"x_retry_attempt", b"x-retry_attempt"])
@in_loop
async def test_the_callers_own_number_of_attempts_is_dropped(name: bytes) -> None:
    async with (
        serving(answering(OK)) as origin,
        forwarding(route(Backend("a", upstream("a")), retry=ONCE), {A: origin}) as way,
    ):
        call = way.call(headers=[(name, b"7"), (b"x-kept", b"1")])
        await call.run()

        assert b"attempt" not in origin.heads[0]
        assert b"x-kept: 1" in origin.heads[0]


@in_each_loop
async def test_the_connection_of_a_long_answer_that_is_not_passed_on_is_closed() -> None:
    long = b"HTTP/1.1 503 Busy\r\ncontent-length: 1000000\r\n\r\n" + b"x" * 1000

    async def script(origin: Downstream) -> None:
        await origin.head()
        await origin.send(long if origin.number == 1 else OK)
        await origin.until_closed()

    async with (
        serving(script) as origin,
        forwarding(route(Backend("a", upstream("a")), retry=ONCE), {A: origin}) as way,
    ):
        assert await way.status() == 200
        assert origin.accepted == 2
        await until(lambda: origin.ended == 1)


@in_each_loop
async def test_a_caller_that_leaves_in_the_pause_ends_the_request_at_once() -> None:
    retry = Retry(1, backoff=3600.0, codes=frozenset({503}))
    async with (
        serving(answering(BUSY, OK)) as origin,
        forwarding(route(Backend("a", upstream("a")), retry=retry), {A: origin}) as way,
    ):
        call = way.call()
        task = call.start()
        await until(lambda: origin.heads)
        await asyncio.sleep(0.02)
        call.leave()
        await task

        assert (call.sent, len(origin.heads)) == ([], 1)
    assert way.records[0].error == "the caller left before its answer was complete"


@in_loop
async def test_attempts_go_over_tls_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "roots.pem").write_bytes(authority(MESH).pem()[0])
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "roots.pem"))
    context = server_context(Leaf("origin", names=("a.test",)))
    backend = Backend("a", Upstream("a.test", 443, UpstreamTls("a.test")))
    async with (
        serving(answering(BUSY, OK), context) as origin,
        forwarding(route(backend, retry=ONCE), {("a.test", 443): origin}) as way,
    ):
        assert await way.status() == 200


# deadlines


@in_each_loop
async def test_the_whole_time_for_an_answer_is_504_request_timeout() -> None:
    async with (
        serving(silent) as origin,
        forwarding(route(Backend("a", upstream("a")), timeout=0.1), {A: origin}) as way,
    ):
        call = way.call()
        await call.run()

        assert (call.status, call.content) == (504, b"request timeout")
        await until(lambda: origin.ended == 1)
    assert (way.records[0].reason, way.records[0].upstream_seconds) == ("request_timeout", None)


@in_each_loop
async def test_the_time_of_one_attempt_is_504_upstream_call_timeout() -> None:
    backend = Backend("a", upstream("a"), request_timeout=0.1)
    async with serving(silent) as origin, forwarding(route(backend), {A: origin}) as way:
        call = way.call()
        await call.run()

        assert (call.status, call.content) == (504, b"upstream call timeout")
        await until(lambda: origin.ended == 1)
    assert way.records[0].reason == "upstream_timeout"


@pytest.mark.parametrize("others", [{"retry": Retry(1, backoff=3600.0, codes=frozenset({503}))}, {"retry": Retry(99)}])
@in_each_loop
async def test_pauses_and_attempts_count_towards_the_whole_time(others: dict[str, Any]) -> None:
    script = answering(BUSY) if others["retry"].codes else silent
    backend = Backend("a", upstream("a"), request_timeout=0.1)
    async with serving(script) as origin, forwarding(route(backend, timeout=0.25, **others), {A: origin}) as way:
        call = way.call()
        await call.run()

        assert (call.status, call.content) == (504, b"request timeout")
        assert origin.heads or script is silent


@in_loop
async def test_a_request_whose_time_is_over_before_it_gets_here_is_not_sent() -> None:
    async with (
        serving(silent) as origin,
        forwarding(route(Backend("a", upstream("a")), timeout=1e-9), {A: origin}) as way,
    ):
        assert await way.status() == 504
        assert origin.accepted == 0


@in_each_loop
async def test_deadlines_end_with_the_head_of_the_answer() -> None:
    async def script(origin: Downstream) -> None:
        await origin.head()
        await origin.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no")
        await asyncio.sleep(0.6)
        await origin.send(b"k")

    backend = Backend("a", upstream("a"), request_timeout=0.3)
    async with serving(script) as origin, forwarding(route(backend, timeout=0.3), {A: origin}) as way:
        call = way.call()
        await call.run()

        assert call.content == b"ok"


# choice


@in_each_loop
async def test_backends_are_chosen_by_weight() -> None:
    numbers = iter([0.0, 0.7, 0.75, 0.99])
    found = route(
        WeightedBackend(Backend("a", upstream("a")), 3),
        WeightedBackend(Backend("b", upstream("b")), 1),
        WeightedBackend(Backend("c", upstream("c")), 0),
    )
    async with AsyncExitStack() as stack:
        origins = {name: await stack.enter_async_context(serving(answering(*[OK] * 4))) for name in (A, B)}
        way = await stack.enter_async_context(forwarding(found, origins, random=lambda: next(numbers)))
        for _ in range(4):
            assert await way.status() == 200

        assert [len(origin.heads) for origin in origins.values()] == [2, 2]
    assert Counter(record.choice[0].name for record in way.records if record.choice) == {"a": 2, "b": 2}
    assert [record.attributes.backend for record in way.records if record.attributes] == ["a", "a", "b", "b"]


@pytest.mark.parametrize("weights", [(), (0,), (0, 0)])
@in_loop
async def test_a_route_without_any_weight_is_500(weights: tuple[int, ...]) -> None:
    async with forwarding(
        route(*(WeightedBackend(Backend("a", upstream("a")), weight) for weight in weights)), {}
    ) as way:
        call = way.call()
        await call.run()

        assert (call.status, call.content) == (500, b"no valid backends")


@pytest.mark.parametrize(
    ("fault", "body"),
    [("no_valid_backends", b"no valid backends"), ("backend_authentication_failed", b"backend authentication failed")],
)
@in_loop
async def test_a_backend_with_a_fault_answers_its_share_with_500(fault: Any, body: bytes) -> None:
    numbers = iter([0.0, 0.9])
    found = route(Backend("a", fault=fault), Backend("b", upstream("b")), retry=Retry())
    async with serving(answering(OK)) as origin, forwarding(found, {B: origin}, random=lambda: next(numbers)) as way:
        call = way.call()
        await call.run()

        assert (call.status, call.content, origin.accepted) == (500, body, 0)
        assert await way.status() == 200


# credentials


SECRET = Credentials((Credential(SecretValue(b"secret")), Credential(SecretValue(b"1"), ParameterLocation(b"key"))))


@in_loop
async def test_a_credential_is_put_into_every_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "roots.pem").write_bytes(authority(MESH).pem()[0])
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "roots.pem"))
    context = server_context(Leaf("origin", names=("a.test",)))
    backend = Backend("a", Upstream("a.test", 443, UpstreamTls("a.test")), credentials=SECRET)
    async with (
        serving(answering(BUSY, OK), context) as origin,
        forwarding(route(backend, retry=ONCE), {("a.test", 443): origin}) as way,
    ):
        call = way.call(headers=[(b"authorization", b"Bearer own")])
        await call.run()

        assert call.status == 200
        assert [head.count(b"authorization: Bearer secret\r\n") for head in origin.heads] == [1, 1]
        assert all(head.startswith(b"GET /?key=1 ") and b"own" not in head for head in origin.heads)


@pytest.mark.parametrize("tls", [None, UpstreamTls("a.test")])
@pytest.mark.parametrize("credentials", [SECRET, Credentials(unusable="there is none")])
@in_loop
async def test_nothing_is_sent_without_the_credential_or_in_plain_text(
    credentials: Credentials, tls: UpstreamTls | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "roots.pem").write_bytes(authority(MESH).pem()[0])
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "roots.pem"))
    if tls is not None:
        credentials = Credentials(unusable="there is none")
    backend = Backend("a", Upstream("a.test", 80, tls), credentials=credentials)
    async with serving(answering(OK)) as origin, forwarding(route(backend, retry=Retry()), {A: origin}) as way:
        call = way.call()
        await call.run()

        assert (call.status, call.content) == (500, b"backend authentication failed")
        assert origin.heads == []


# dynamic forward proxy


def plain_proxy(host: str, port: int) -> Upstream:
    return Upstream(host, port)


@pytest.mark.parametrize(
    ("sent", "dialled", "authority"),
    [
        (b"Any.Example.ORG.", ("any.example.org", 80), b"any.example.org"),
        (b"b.test:8080", ("b.test", 8080), b"b.test:8080"),
        (b"b.test:80", ("b.test", 80), b"b.test"),
    ],
)
@in_each_loop
async def test_the_destination_is_the_requests_own_host(
    sent: bytes, dialled: tuple[str, int], authority: bytes
) -> None:
    backend = Backend("any", dynamic=DynamicForwardProxy(plain_proxy, 80, 80))
    async with serving(answering(OK)) as origin, forwarding(route(backend), {dialled: origin}) as way:
        call = way.call(headers=[(b"host", sent)])
        await call.run()

        assert call.status == 200
        assert b"\r\nhost: %b\r\n" % authority in origin.heads[0]


@in_loop
async def test_under_tls_the_certificate_must_carry_the_requests_own_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "roots.pem").write_bytes(authority(MESH).pem()[0])
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "roots.pem"))
    context = server_context(Leaf("origin", names=("good.test",)))
    proxy = DynamicForwardProxy(lambda host, port: Upstream(host, port, UpstreamTls(host)), 443, 443)
    async with (
        serving(answering(OK), context) as origin,
        forwarding(
            route(Backend("any", dynamic=proxy)), {("good.test", 443): origin, ("bad.test", 443): origin}
        ) as way,
    ):
        statuses = []
        for host in (b"good.test", b"bad.test"):
            call = way.call(headers=[(b"host", host)])
            await call.run()
            statuses.append(call.status)

        assert statuses == [200, 503]


@pytest.mark.parametrize("host", [b"127.0.0.1", b"[::1]", b"169.254.169.254", b"[::ffff:10.0.0.1]"])
@in_loop
async def test_an_address_as_host_is_judged_by_the_dial_guard(host: bytes) -> None:
    backend = Backend("any", dynamic=DynamicForwardProxy(plain_proxy, 80, 80))
    async with forwarding(route(backend), {}, allowed=()) as way:
        call = way.call(headers=[(b"host", host)])
        await call.run()

        assert (call.status, call.content) == (503, b"upstream call failed")
    assert "no address that may be dialled" in way.records[0].error


# health


EVICTING = Health(Eviction(duration=10.0, consecutive_failures=2))


@in_each_loop
async def test_an_endpoint_that_fails_is_left_out_and_comes_back() -> None:
    clock = Clock()
    backend = Backend("a", upstream("a"), health=EVICTING)
    async with (
        serving(answering(BUSY, BUSY, OK, OK)) as origin,
        forwarding(route(backend), {A: origin}, clock=clock) as way,
    ):
        assert [await way.status() for _ in range(2)] == [503, 503]
        call = way.call()
        await call.run()
        assert (call.status, call.content) == (503, b"no healthy backends")
        assert len(origin.heads) == 2
        clock.now += 9.9
        assert await way.status() == 503
        assert len(origin.heads) == 2
        clock.now += 0.2
        assert [await way.status() for _ in range(2)] == [200, 200]
    assert way.records[2].reason == "no_healthy_backends"


@in_each_loop
async def test_another_backend_takes_the_requests_of_one_that_is_left_out() -> None:
    found = route(Backend("a", upstream("a"), health=EVICTING), Backend("b", upstream("b")))
    async with serving(answering()) as dead:
        pass
    async with serving(answering(*[OK] * 3)) as origin, forwarding(found, {A: dead, B: origin}, clock=Clock()) as way:
        assert [await way.status() for _ in range(5)] == [503, 503, 200, 200, 200]


@in_each_loop
async def test_deadlines_and_broken_answers_count_as_failures() -> None:
    for script, others in ((silent, {"timeout": 0.1}), (answering(b"garbage\r\n\r\n"), {})):
        backend = Backend("a", upstream("a"), health=Health(Eviction()))
        async with serving(script) as origin, forwarding(route(backend, **others), {A: origin}, clock=Clock()) as way:
            await way.status()
            call = way.call()
            await call.run()
            assert call.content == b"no healthy backends"


@in_each_loop
async def test_a_caller_that_leaves_is_no_failure_of_the_origin() -> None:
    backend = Backend("a", upstream("a"), health=Health(Eviction()))
    async with serving(silent) as origin, forwarding(route(backend), {A: origin}, clock=Clock()) as way:
        call = way.call()
        task = call.start()
        await until(lambda: origin.accepted)
        call.leave()
        await task

        assert not way.health._endpoints


@in_loop
async def test_the_condition_says_what_a_failure_is() -> None:
    limited = b"HTTP/1.1 429 Too Many\r\ncontent-length: 0\r\n\r\n"
    health = Health(Eviction(), compile_expression("response.code == 429"))
    backend = Backend("a", upstream("a"), health=health)
    async with (
        serving(answering(BUSY, limited)) as origin,
        forwarding(route(backend), {A: origin}, clock=Clock()) as way,
    ):
        assert [await way.status() for _ in range(3)] == [503, 429, 503]
        assert len(origin.heads) == 2


@in_each_loop
async def test_an_answer_is_passed_on_where_nobody_else_can_be_asked() -> None:
    backend = Backend("a", upstream("a"), health=Health(Eviction()))
    async with (
        serving(answering(BUSY)) as origin,
        forwarding(route(backend, retry=ONCE), {A: origin}, clock=Clock()) as way,
    ):
        call = way.call()
        await call.run()

        assert (call.status, call.content) == (503, b"busy")
    assert way.records[0].attempts == 0


@in_loop
async def test_a_request_goes_on_with_a_configuration_that_was_replaced() -> None:
    retry = Retry(1, backoff=0.05, codes=frozenset({503}))
    async with (
        serving(answering(BUSY, OK)) as origin,
        forwarding(route(Backend("a", upstream("a")), retry=retry), {A: origin}) as way,
    ):
        task = (call := way.call()).start()
        await until(lambda: origin.heads)
        await way.backends.reconcile(snapshot_of(route()))
        await task

        assert call.status == 200
