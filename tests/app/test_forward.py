"""The catch-all route through the whole application: both directions stream, and every early end is passed on."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from app.factory import create_app
from tests.support.asgi import Call, lifespan
from tests.support.gateway import PORT, manifests, plain_service, settings
from tests.support.loops import in_each_loop, until
from tests.support.origins import echo, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from app.factory import Gateway
    from tests.support.origins import Downstream, Origin

HOST = (b"host", b"origin.test")
CHUNKED = (b"transfer-encoding", b"chunked")


@asynccontextmanager
async def forwarding(
    directory: Path, script: Callable[[Downstream], Awaitable[None]]
) -> AsyncIterator[tuple[Gateway, Origin]]:
    """Run a gateway before a scripted origin; its access log is `directory/access.log`."""
    async with serving(script) as origin:
        origins = {f"origin.test:{PORT}": origin.port}
        log = str(directory / "access.log")
        app = create_app(settings(manifests(directory, plain_service("origin")), origins, access_log=log))
        async with lifespan(app) as said:
            assert said == [{"type": "lifespan.startup.complete"}]
            yield app, origin
        assert said[-1] == {"type": "lifespan.shutdown.complete"}


def only_line(directory: Path) -> dict[str, Any]:
    """Return the access line of the only request."""
    (line,) = (directory / "access.log").read_text().splitlines()
    return dict(json.loads(line))


def answering(*parts: bytes) -> Callable[[Downstream], Awaitable[None]]:
    async def script(origin: Downstream) -> None:
        await origin.head()
        for part in parts:
            await origin.send(part)

    return script


@in_each_loop
async def test_parts_of_an_answer_are_passed_on_as_they_come(tmp_path: Path) -> None:
    more = asyncio.Event()

    async def script(origin: Downstream) -> None:
        await origin.head()
        await origin.send(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nfour")
        await more.wait()
        await origin.send(b"more")
        await origin.until_closed()

    async with forwarding(tmp_path, script) as (app, _):
        call = Call(app)
        task = call.start()
        await until(lambda: call.content == b"four")
        assert not task.done()
        more.set()
        await task

        assert call.content == b"fourmore"
        assert call.is_complete


@in_each_loop
async def test_parts_of_a_request_are_passed_on_as_they_come(tmp_path: Path) -> None:
    arrived: list[bytes] = []

    async def script(origin: Downstream) -> None:
        await origin.head()
        while line := await origin.reader.readline():
            arrived.append(line)
            if line == b"0\r\n":
                break
        await origin.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async with forwarding(tmp_path, script) as (app, _):
        call = Call(app, "POST", headers=[HOST, CHUNKED])
        task = call.start()
        call.body(b"one", more=True)
        await until(lambda: arrived == [b"3\r\n", b"one\r\n"])
        call.body(b"two")
        await task

        assert arrived == [b"3\r\n", b"one\r\n", b"3\r\n", b"two\r\n", b"0\r\n"]
        assert call.status == 200


@in_each_loop
async def test_both_directions_may_run_at_once(tmp_path: Path) -> None:
    async def script(origin: Downstream) -> None:
        await origin.head()
        await origin.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while size := int(await origin.reader.readline(), 16):
            data = await origin.reader.readexactly(size + 2)
            await origin.send(b"%x\r\n%b" % (size, data))
        await origin.send(b"0\r\n\r\n")

    async with forwarding(tmp_path, script) as (app, _):
        call = Call(app, "POST", headers=[HOST, CHUNKED])
        task = call.start()
        for count, part in enumerate((b"ping", b"pong"), start=1):
            call.body(part, more=count == 1)
            await until(lambda count=count: len(call.content) == 4 * count)  # type: ignore[misc]
        await task

        assert call.content == b"pingpong"


@in_each_loop
async def test_a_caller_that_does_not_read_bounds_what_is_taken_from_the_origin(tmp_path: Path) -> None:
    total, sent = 64 * 1024 * 1024, 0

    async def script(origin: Downstream) -> None:
        nonlocal sent
        await origin.head()
        await origin.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
        while sent < total:
            await origin.send(b"x" * 65536)
            sent += 65536

    async with forwarding(tmp_path, script) as (app, _):
        call = Call(app)
        call.room.clear()
        task = call.start()
        stalled, seen = 0, -1
        while stalled < 10 or not seen:
            stalled, seen = (stalled + 1, sent) if sent == seen else (0, sent)
            await asyncio.sleep(0.01)

        assert sent < total // 2
        call.room.set()
        await task
        assert sum(len(message["body"]) for message in call.sent[1:]) == total


@pytest.mark.parametrize(
    ("method", "headers", "framing"),
    [
        ("GET", [], []),
        ("POST", [(b"content-length", b"0")], [["content-length", "0"]]),
        ("POST", [(b"content-length", b"05")], [["content-length", "5"]]),
        ("POST", [CHUNKED], [["transfer-encoding", "chunked"]]),
        ("GET", [(b"content-length", b"5")], [["content-length", "5"]]),
    ],
)
@in_each_loop
async def test_the_framing_of_a_request_is_written_anew(
    method: str, headers: list[tuple[bytes, bytes]], framing: list[list[str]], tmp_path: Path
) -> None:
    async with forwarding(tmp_path, echo) as (app, _):
        call = Call(app, method, headers=[HOST, *headers])
        has_body = bool(framing) and framing[0][1] != "0"
        call.body(b"hello" if has_body else b"")
        await call.run()

        received = json.loads(call.content)
        assert [pair for pair in received["headers"] if pair[0] in {"content-length", "transfer-encoding"}] == framing
        assert received["body"] == ("hello" if has_body else "")
    line = only_line(tmp_path)
    assert (line["bytes_in"], line["bytes_out"]) == (5 if has_body else 0, len(call.content))


@pytest.mark.parametrize("status", [204, 304])
@in_each_loop
async def test_a_length_that_says_nothing_about_the_message_is_dropped(status: int, tmp_path: Path) -> None:
    """Uvicorn would wait for such a body (RFC 9110 section 8.6)."""
    async with forwarding(tmp_path, answering(b"HTTP/1.1 %d X\r\ncontent-length: 5\r\netag: a\r\n\r\n" % status)) as (
        app,
        _,
    ):
        call = Call(app)
        await call.run()

        assert (call.status, call.content) == (status, b"")
        assert set(call.headers) == {b"etag", b"date"}


@in_each_loop
async def test_the_length_of_a_head_answer_is_kept(tmp_path: Path) -> None:
    async with forwarding(tmp_path, answering(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")) as (app, _):
        call = Call(app, "HEAD")
        await call.run()

        assert call.headers[b"content-length"] == b"5"
        assert call.is_complete


@pytest.mark.parametrize("date", [b"", b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"])
@in_each_loop
async def test_a_date_is_added_only_where_the_origin_sent_none(date: bytes, tmp_path: Path) -> None:
    async with forwarding(tmp_path, answering(b"HTTP/1.1 200 OK\r\n%bcontent-length: 0\r\n\r\n" % date)) as (app, _):
        call = Call(app)
        await call.run()

        dates = [value for name, value in call.sent[0]["headers"] if name == b"date"]
        assert len(dates) == 1
        assert dates[0].endswith(b" GMT")
        assert (b"1970" in dates[0]) is bool(date)


@in_each_loop
async def test_redirects_are_passed_on_not_followed(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n"
    async with forwarding(tmp_path, answering(answer)) as (app, origin):
        call = Call(app)
        await call.run()

        assert (call.status, call.headers[b"location"]) == (302, b"http://169.254.169.254/")
        assert len(origin.heads) == 1


# early ends


@pytest.mark.parametrize("begun", [False, True])
@in_each_loop
async def test_a_caller_that_leaves_ends_the_request_to_the_origin(*, begun: bool, tmp_path: Path) -> None:
    async def script(origin: Downstream) -> None:
        await origin.head()
        if begun:
            await origin.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
        await origin.until_closed()

    async with forwarding(tmp_path, script) as (app, origin):
        call = Call(app)
        call.body(b"")
        task = call.start()
        await until(lambda: call.content == b"half" if begun else origin.heads)
        call.leave()
        await task
        await until(lambda: origin.ended == 1)

        assert not call.is_complete
        assert call.aborted == 0
    line = only_line(tmp_path)
    assert line["http.status"] == (200 if begun else None)
    assert line["error"] == "the caller left before its answer was complete"
    assert line["bytes_out"] == (4 if begun else 0)


@in_each_loop
async def test_a_caller_that_leaves_within_its_body_ends_the_request_to_the_origin(tmp_path: Path) -> None:
    async def script(origin: Downstream) -> None:
        await origin.head()
        await origin.until_closed()

    async with forwarding(tmp_path, script) as (app, origin):
        call = Call(app, "POST", headers=[HOST, (b"content-length", b"9")])
        task = call.start()
        call.body(b"half", more=True)
        await until(lambda: origin.heads)
        call.leave()
        await task
        await until(lambda: origin.ended == 1)

        assert call.sent == []
    line = only_line(tmp_path)
    assert (line["error"], line["bytes_in"]) == ("the caller left within its request", 4)


@in_each_loop
async def test_a_caller_that_leaves_after_its_body_ends_the_request_to_the_origin(tmp_path: Path) -> None:
    async def script(origin: Downstream) -> None:
        await origin.head()
        await origin.until_closed()

    async with forwarding(tmp_path, script) as (app, origin):
        call = Call(app, "POST", headers=[HOST, (b"content-length", b"4")])
        task = call.start()
        call.body(b"full")
        await until(lambda: origin.heads)
        call.leave()
        await task
        await until(lambda: origin.ended == 1)

        assert call.sent == []


@in_each_loop
async def test_a_request_that_the_server_cancels_is_answered_and_logged(tmp_path: Path) -> None:
    async def script(origin: Downstream) -> None:
        await origin.head()
        await origin.until_closed()

    async with forwarding(tmp_path, script) as (app, origin):
        call = Call(app)
        task = call.start()
        await until(lambda: origin.heads)
        task.cancel()

        await task
        await until(lambda: origin.ended == 1)
    assert (call.status, call.content) == (503, b"overloaded")
    line = only_line(tmp_path)
    assert (line["http.status"], line["reason"]) == (503, "shutting_down")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nzz",
    ],
)
@in_each_loop
async def test_an_origin_that_fails_after_its_head_makes_the_gateway_abort(answer: bytes, tmp_path: Path) -> None:
    async with forwarding(tmp_path, answering(answer)) as (app, _):
        call = Call(app)
        await call.run()

        assert (call.status, call.content) == (200, b"half")
        assert not call.is_complete
        assert call.aborted == 1
    line = only_line(tmp_path)
    assert (line["http.status"], line["reason"], line["bytes_out"]) == (200, "upstream_aborted", 4)


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\n\r\n"])
@in_each_loop
async def test_an_origin_that_fails_before_its_head_is_502(answer: bytes, tmp_path: Path) -> None:
    async with forwarding(tmp_path, answering(answer)) as (app, _):
        call = Call(app)
        await call.run()

        assert (call.status, call.content) == (502, b"upstream protocol error")
        assert call.aborted == 0


@in_each_loop
async def test_a_dead_origin_is_503_and_the_log_says_why(tmp_path: Path) -> None:
    async with serving(echo) as origin:
        pass
    origins = {f"origin.test:{PORT}": origin.port}
    app = create_app(settings(manifests(tmp_path), origins, access_log=str(tmp_path / "access.log")))
    async with lifespan(app):
        call = Call(app)
        await call.run()

        assert (call.status, call.content) == (503, b"upstream call failed")
    line = only_line(tmp_path)
    assert (line["reason"], line["endpoint"], line["upstream_ms"]) == ("upstream_call_failed", None, None)
    assert "Connection refused" in line["error"]


@in_each_loop
async def test_an_address_that_the_guard_refuses_is_503(tmp_path: Path) -> None:
    config = settings(manifests(tmp_path), {f"origin.test:{PORT}": 1}, dial_allow="")
    app = create_app(config)
    async with lifespan(app):
        call = Call(app)
        await call.run()

        assert (call.status, call.content) == (503, b"upstream call failed")


@in_each_loop
async def test_what_happened_upstream_is_logged(tmp_path: Path) -> None:
    async with forwarding(tmp_path, echo) as (app, origin):
        await Call(app).run()

    line = only_line(tmp_path)
    assert line["endpoint"] == f"127.0.0.1:{origin.port}"
    assert 0 <= line["upstream_ms"] <= line["duration_ms"]
    assert (line["route"], line["backend"]) == ("test/origin", "test/origin")


@in_each_loop
async def test_the_end_of_an_answer_that_the_server_reports_is_no_caller_that_left(tmp_path: Path) -> None:
    """Uvicorn's `receive` returns a disconnect once the answer is complete."""
    async with forwarding(tmp_path, echo) as (app, _):
        call = Call(app)
        send = call._send

        async def send_and_report(message: Any) -> None:
            await send(message)
            if call.is_complete:
                call.leave()
                await asyncio.sleep(0.01)

        await app(call.scope, call.received.get, send_and_report)

    assert only_line(tmp_path)["error"] is None
