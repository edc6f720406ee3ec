"""Copies over real sockets: what the mirror gets, and that nothing it does reaches the caller."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from app.attempts import Means
from app.backends.credentials import CredentialBroker
from app.backends.dial import Dialer
from app.backends.health import HealthTable
from app.backends.table import BackendTable
from app.caller import IdleWatch
from app.forward import Forward
from app.mirror import MAX_ANSWER_BYTES, Copy, MirrorRequests, MirrorSender
from config.policy.mirror import MAX_BODY_BYTES, Mirror
from config.policy.rewrite import PrefixPath, UrlRewrite
from config.policy.upstream import Upstream
from config.settings import Settings
from config.snapshot import Backend, WeightedBackend
from tests.support.asgi import Call
from tests.support.loops import in_each_loop, until
from tests.support.origins import Downstream, echo, serving
from tests.support.routes import Served, route_of, snapshot_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.origins import Origin

HOST = (b"host", b"origin.test")
CHUNKED = (b"transfer-encoding", b"chunked")


@dataclass
class Received:
    """What a mirror was sent, one entry for each copy."""

    copies: list[dict[str, Any]] = field(default_factory=list)

    async def script(self, mirror: Downstream) -> None:
        """Read copies and answer them."""
        while True:
            head = (await mirror.head()).decode("latin-1")
            line, *fields = head.split("\r\n")[:-2]
            headers = dict(entry.split(": ", 1) for entry in fields)
            body = await mirror.reader.readexactly(int(headers.get("content-length", "0")))
            self.copies.append({"line": line, "headers": headers, "body": body})
            await mirror.send(b"HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops")


@dataclass
class Mirrored:
    app: Served
    sender: MirrorSender
    origin: Origin
    mirror: Origin


@asynccontextmanager
async def mirrored(
    script: Callable[[Downstream], Awaitable[None]],
    *,
    share: float = 1.0,
    draw: Callable[[], float] = lambda: 0.5,
    rewrite: UrlRewrite | None = None,
    **limits: Any,
) -> AsyncIterator[Mirrored]:
    """Serve a route with an echoing origin and a mirror that does as the script says."""
    async with serving(echo) as origin, serving(script) as shadow:
        backend = Backend("test/origin", Upstream("origin.test", 8080), b"origin.test")
        mirror = Mirror("test/route -> test/shadow", Upstream("shadow.test", 8080), b"shadow.test:8080", share)
        route = route_of(backends=(WeightedBackend(backend),), mirrors=(mirror,), rewrite=rewrite)
        resolve = f"origin.test:8080:127.0.0.1:{origin.port},shadow.test:8080:127.0.0.1:{shadow.port}"
        settings = Settings(resolve=resolve, dial_allow="127.0.0.0/8")
        table = BackendTable(Dialer(settings.resolve, settings.dial_allow))
        await table.reconcile(snapshot_of(route))
        sender = MirrorSender(table, **limits)
        idle = IdleWatch(30.0)
        try:
            forward = Forward(Means(table, HealthTable(), CredentialBroker(table.transport)), idle)
            yield Mirrored(Served(route, MirrorRequests(forward, sender, draw), "/v1"), sender, origin, shadow)
        finally:
            await sender.aclose()
            idle.close()
            await table.aclose()


async def ask(
    app: Served, method: str, target: bytes, *fields: tuple[bytes, bytes], body: tuple[bytes, ...] = ()
) -> Call:
    call = Call(app, method, target, [HOST, *fields])
    for part in body[:-1]:
        call.body(part, more=True)
    call.body(body[-1] if body else b"")
    await call.run()
    assert call.status == 200
    return call


@in_each_loop
async def test_a_copy_is_what_the_origin_gets_with_the_mirror_s_host() -> None:
    seen = Received()
    async with mirrored(seen.script, rewrite=UrlRewrite(path=PrefixPath("/v2"))) as served:
        call = await ask(served.app, "GET", b"/v1/x?a=%2f", (b"x-a", b"1"), (b"authorization", b"Bearer caller"))
        await until(lambda: seen.copies)

    sent = json.loads(call.content)
    (copy,) = seen.copies
    assert copy["line"] == sent["line"] == "GET /v2/x?a=%2f HTTP/1.1"
    assert copy["headers"] == {**dict(sent["headers"]), "host": "shadow.test:8080"}
    assert copy["headers"]["authorization"] == "Bearer caller"


@in_each_loop
async def test_a_credential_that_is_added_for_the_backend_is_not_copied() -> None:
    seen = Received()
    async with mirrored(seen.script) as served:
        forward = served.app.app

        async def authenticate(scope: Any, receive: Any, send: Any) -> None:
            scope["egress.context"].headers.append((b"authorization", b"Bearer of-the-gateway"))
            assert isinstance(forward, MirrorRequests)
            await forward.app(scope, receive, send)

        served.app.app = MirrorRequests(authenticate, served.sender)
        sent = json.loads((await ask(served.app, "POST", b"/", (b"content-length", b"1"), body=(b"a",))).content)
        await until(lambda: seen.copies)

    assert dict(sent["headers"])["authorization"] == "Bearer of-the-gateway"
    assert "authorization" not in seen.copies[0]["headers"]


@pytest.mark.parametrize("framing", [CHUNKED, (b"content-length", b"8")])
@in_each_loop
async def test_the_body_is_copied_once_the_whole_of_it_was_read(framing: tuple[bytes, bytes]) -> None:
    seen = Received()
    async with mirrored(seen.script) as served:
        call = Call(served.app, "POST", b"/", [HOST, framing])
        call.body(b"four", more=True)
        task = call.start()
        await until(lambda: served.origin.heads)
        assert served.mirror.accepted == 0
        call.body(b"more")
        await task
        await until(lambda: seen.copies)

    (copy,) = seen.copies
    assert (copy["body"], copy["headers"]["content-length"]) == (b"fourmore", "8")
    assert "transfer-encoding" not in copy["headers"]
    assert json.loads(call.content)["body"] == "fourmore"


@in_each_loop
async def test_an_empty_body_stays_one() -> None:
    seen = Received()
    async with mirrored(seen.script) as served:
        await ask(served.app, "POST", b"/", (b"content-length", b"0"))
        await until(lambda: seen.copies)

    assert seen.copies[0]["headers"]["content-length"] == "0"


@pytest.mark.parametrize(
    ("framing", "size", "copied"),
    [
        (CHUNKED, MAX_BODY_BYTES, True),
        (CHUNKED, MAX_BODY_BYTES + 1, False),
        (None, MAX_BODY_BYTES, True),
        (None, MAX_BODY_BYTES + 1, False),
    ],
)
@in_each_loop
async def test_a_request_with_a_longer_body_is_forwarded_and_not_copied(
    framing: tuple[bytes, bytes] | None, size: int, *, copied: bool
) -> None:
    seen = Received()
    async with mirrored(seen.script) as served:
        field = framing or (b"content-length", b"%d" % size)
        call = await ask(served.app, "POST", b"/long", field, body=(b"a" * 1000, b"a" * (size - 1000)))
        await ask(served.app, "GET", b"/marker")
        await until(lambda: [copy for copy in seen.copies if copy["line"] == "GET /marker HTTP/1.1"])
        await until(lambda: len(seen.copies) == 1 + copied)

    assert len(json.loads(call.content)["body"]) == size
    assert [len(copy["body"]) for copy in seen.copies if copy["body"]] == [size] * copied


@in_each_loop
async def test_as_many_requests_are_copied_as_the_share_says() -> None:
    seen = Received()
    drawn = iter([0.0, 0.24, 0.25, 0.9, 0.1])
    async with mirrored(seen.script, share=0.25, draw=lambda: next(drawn)) as served:
        for number in range(5):
            await ask(served.app, "GET", b"/%d" % number)
        await until(lambda: len(seen.copies) == 3)

    assert sorted(copy["line"].split()[1] for copy in seen.copies) == ["/0", "/1", "/4"]


async def reset(mirror: Downstream) -> None:
    await mirror.head()
    mirror.reset()


async def nonsense(mirror: Downstream) -> None:
    await mirror.head()
    await mirror.send(b"SSH-2.0\r\n\r\n")


@pytest.mark.parametrize("script", [reset, nonsense])
@in_each_loop
async def test_a_mirror_that_fails_is_reported_once_a_minute_and_the_caller_does_not_notice(
    script: Callable[[Downstream], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    now = 0.0
    with caplog.at_level(logging.WARNING, "egress"):
        async with mirrored(script, clock=lambda: now) as served:
            for second in (0.0, 1.0, 59.0, 60.0):
                now = second
                await ask(served.app, "GET", b"/")
                await until(lambda: not served.sender._tasks)

    records = [record.__dict__ for record in caplog.records if record.name == "egress"]
    assert [(record["mirror"], record["unreported"]) for record in records] == [
        ("test/route -> test/shadow", 0),
        ("test/route -> test/shadow", 2),
    ]


@in_each_loop
async def test_a_mirror_that_does_not_answer_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()

    async def silent(mirror: Downstream) -> None:
        await mirror.head()
        await mirror.until_closed()

    with caplog.at_level(logging.WARNING, "egress"):
        async with mirrored(silent, deadline=0.05) as served:
            await ask(served.app, "GET", b"/")
            await until(lambda: served.mirror.ended)

    assert [record.__dict__["error"] for record in caplog.records] == ["TimeoutError"]


@in_each_loop
async def test_a_long_answer_is_not_read_to_its_end() -> None:
    async def talkative(mirror: Downstream) -> None:
        await mirror.head()
        await mirror.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (MAX_ANSWER_BYTES * 100))
        while True:
            await mirror.send(b"a" * 65536)

    async with mirrored(talkative) as served:
        await ask(served.app, "GET", b"/")
        await until(lambda: served.mirror.heads and not served.sender._tasks)


@in_each_loop
async def test_no_more_copies_than_allowed_are_on_their_way(caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()

    async def silent(mirror: Downstream) -> None:
        await mirror.head()
        await mirror.until_closed()

    with caplog.at_level(logging.WARNING, "egress"):
        async with mirrored(silent, max_in_flight=2) as served:
            for _ in range(4):
                await ask(served.app, "GET", b"/")
            await until(lambda: len(served.mirror.heads) == 2)
            assert len(served.sender._tasks) == 2

    assert [record.__dict__["error"] for record in caplog.records] == ["too many copies are on their way"]
    assert served.mirror.accepted == 2


@in_each_loop
async def test_closing_gives_up_what_is_on_its_way_and_takes_no_more() -> None:
    async def silent(mirror: Downstream) -> None:
        await mirror.head()
        await mirror.until_closed()

    async with mirrored(silent) as served:
        await ask(served.app, "GET", b"/")
        await until(lambda: served.mirror.heads)
        await served.sender.aclose()
        assert not served.sender._tasks
        await ask(served.app, "GET", b"/")
        assert not served.sender._tasks


@in_each_loop
async def test_a_mirror_of_a_configuration_that_is_gone_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    table = BackendTable(Dialer())
    sender = MirrorSender(table)
    gone = Mirror("test/route -> test/gone", Upstream("gone.test", 80))
    with caplog.at_level(logging.WARNING, "egress"):
        sender.send([gone], Copy("GET", "/", [(b"authorization", b"secret")]))
        await until(lambda: not sender._tasks)
        await sender.aclose()
        await asyncio.sleep(0)

    assert [record.__dict__["error"] for record in caplog.records] == ["gone.test cannot be resolved"]


@in_each_loop
async def test_a_caller_that_leaves_within_its_request_is_not_copied() -> None:
    seen = Received()
    async with mirrored(seen.script) as served:
        call = Call(served.app, "POST", b"/", [HOST, CHUNKED])
        call.body(b"four", more=True)
        call.leave()
        await call.run()
        assert not served.sender._tasks

    assert served.mirror.accepted == 0
