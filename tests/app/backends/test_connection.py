"""One exchange with an origin that answers byte by byte, over real loopback sockets."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from app.backends.connection import HIGH_WATER_BYTES, READ_BUFFER_BYTES, OriginConnection
from app.backends.errors import OriginProtocolError, OriginWriteError
from app.backends.response import MAX_HEAD_BYTES, MAX_HEADER_FIELDS, MAX_INTERIM_RESPONSES
from tests.support.loops import in_each_loop, in_loop, until
from tests.support.origins import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.origins import Downstream, Origin

REQUEST = b"GET / HTTP/1.1\r\nhost: origin.test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@asynccontextmanager
async def connected(
    script: Callable[[Downstream], Awaitable[None]],
) -> AsyncIterator[tuple[OriginConnection, Origin]]:
    async with serving(script) as origin:
        loop = asyncio.get_running_loop()
        buffer = bytearray(READ_BUFFER_BYTES)
        _, connection = await loop.create_connection(lambda: OriginConnection(buffer), "127.0.0.1", origin.port)
        try:
            yield connection, origin
        finally:
            connection.abort()


def answering(*parts: bytes, then: str = "wait") -> Callable[[Downstream], Awaitable[None]]:
    """Return an origin that answers in parts, then waits for the other side's end, closes or resets."""

    async def script(origin: Downstream) -> None:
        await origin.head()
        for part in parts:
            await origin.send(part)
            await asyncio.sleep(0.01)  # so that the parts come one by one
        if then == "reset":
            origin.reset()
        elif then == "wait":
            await origin.until_closed()

    return script


async def exchange(connection: OriginConnection, method: str = "GET") -> tuple[int, bytes]:
    """Return status and body of one answer."""
    connection.begin(method)
    await connection.send(REQUEST)
    head = await connection.read_head()
    body = b""
    while part := await connection.read_body():
        body += part
    return head.status, body


WHOLE_ANSWERS = {
    "content-length": ((OK,), "GET", (200, b"ok")),
    "byte by byte": (tuple(bytes([byte]) for byte in OK), "GET", (200, b"ok")),
    "empty": ((b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",), "GET", (200, b"")),
    "HEAD": ((b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",), "HEAD", (200, b"")),
    "204": ((b"HTTP/1.1 204 No Content\r\n\r\n",), "GET", (204, b"")),
    "304 with a length": ((b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",), "GET", (304, b"")),
    "chunked": (
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"2;x=y\r\nok\r\n", b"1\r\n!\r\n0\r\n\r\n"),
        "GET",
        (200, b"ok!"),
    ),
    "HTTP/1.0 that keeps": (
        (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok",),
        "GET",
        (200, b"ok"),
    ),
    "interim answers": (
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", OK),
        "GET",
        (200, b"ok"),
    ),
    "interim answers in one piece": (
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 110 Odd\r\n\r\n" + OK,),
        "GET",
        (200, b"ok"),
    ),
}


@pytest.mark.parametrize(("parts", "method", "expected"), WHOLE_ANSWERS.values(), ids=WHOLE_ANSWERS)
@in_each_loop
async def test_a_whole_answer_leaves_a_connection_that_carries_the_next_one(
    parts: tuple[bytes, ...], method: str, expected: tuple[int, bytes]
) -> None:
    async def script(origin: Downstream) -> None:
        for _ in range(2):
            await origin.head()
            for part in parts:
                await origin.send(part)
                await asyncio.sleep(0)
        await origin.until_closed()

    async with connected(script) as (connection, _):
        for _ in range(2):
            assert await exchange(connection, method) == expected
            assert connection.is_reusable
            assert connection.is_open


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
LEFT_OVER = {
    "a whole second answer": ((OK + OK,), "GET"),
    "the first byte of a second answer": ((OK + b"H",), "GET"),
    "garbage": ((OK + b"\0",), "GET"),
    "bytes that come later": ((OK, b"HTTP/1.1 200 OK\r\n"), "GET"),
    "a blank line that comes later": ((OK, b"\r\n"), "GET"),
    "after a chunked body": ((CHUNKED + b"x",), "GET"),
    "a body after HEAD": ((OK,), "HEAD"),
    "a body after HEAD that comes later": ((OK[:-2], b"ok"), "HEAD"),
    "the beginning of a chunked body after HEAD": (
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n",),
        "HEAD",
    ),
    "a whole chunked body after HEAD": ((CHUNKED,), "HEAD"),
    "the end of a chunked body after HEAD": (
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",),
        "HEAD",
    ),
    "a body after 204": ((b"HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nok",), "GET"),
    "a body after 304": ((b"HTTP/1.1 304 Not Modified\r\n\r\nok",), "GET"),
}


@pytest.mark.parametrize(("parts", "method"), LEFT_OVER.values(), ids=LEFT_OVER)
@in_each_loop
async def test_bytes_after_a_complete_answer_end_the_connection_and_spoil_no_answer(
    parts: tuple[bytes, ...], method: str
) -> None:
    async with connected(answering(*parts)) as (connection, _):
        status, body = await exchange(connection, method)
        # Those that came in the same packet are known by now, later ones when they come.
        if len(parts) > 1:
            await until(lambda: not connection.is_open)

        assert status in {200, 204, 304}
        assert body == (b"" if method == "HEAD" or status != 200 else b"ok")
        assert not connection.is_reusable


@pytest.mark.parametrize(
    ("head", "then"),
    [
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n", "wait"),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n", "wait"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "close"),
        (b"HTTP/1.0 200 OK\r\n\r\n", "close"),
        (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n\r\n", "close"),
    ],
)
@in_each_loop
async def test_an_answer_that_ends_the_connection_is_whole_and_its_last(head: bytes, then: str) -> None:
    async with connected(answering(head, b"o", b"k", then=then)) as (connection, _):
        assert await exchange(connection) == (200, b"ok")
        assert not connection.is_reusable


BROKEN_HEADS = {
    "garbage": b"SSH-2.0-OpenSSH_9.9\r\n",
    "101": b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    "101 without an upgrade": b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + OK,
    "a status below 100": b"HTTP/1.1 042 What\r\n\r\n" + OK,
    "a status above 599": b"HTTP/1.1 600 What\r\ncontent-length: 0\r\n\r\n",
    "a folded field": b"HTTP/1.1 200 OK\r\na: b\r\n c\r\ncontent-length: 0\r\n\r\n",
    "a space before the colon": b"HTTP/1.1 200 OK\r\ncontent-length : 0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!",
    "a length beside chunked": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n",
    "a coding that nobody asked for": b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a negative length": b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok",
    "interim answers without end": b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INTERIM_RESPONSES + 1) + OK,
    "too many fields": b"HTTP/1.1 200 OK\r\n%b\r\n" % (b"a: b\r\n" * (MAX_HEADER_FIELDS + 1)),
    "a head that is too large": b"HTTP/1.1 200 OK\r\na: %b\r\nb: c\r\n\r\n" % (b"x" * MAX_HEAD_BYTES),
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\ncontent-le",
}


@pytest.mark.parametrize("answer", BROKEN_HEADS.values(), ids=BROKEN_HEADS)
@in_each_loop
async def test_an_answer_without_a_sound_head_is_a_protocol_error(answer: bytes) -> None:
    async with connected(answering(answer, then="close")) as (connection, _):
        connection.begin("GET")
        await connection.send(REQUEST)

        with pytest.raises(OriginProtocolError):
            await connection.read_head()
        assert not connection.is_reusable


@in_each_loop
async def test_the_most_fields_that_are_allowed_are_taken() -> None:
    fields = b"a: b\r\n" * (MAX_HEADER_FIELDS - 1) + b"content-length: 0\r\n"
    async with connected(answering(b"HTTP/1.1 200 OK\r\n%b\r\n" % fields)) as (connection, _):
        assert await exchange(connection) == (200, b"")


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 ",
        b"HTTP/1.1 200 OK\r\nx-endless: ",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-trailer: ",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;extension=",
    ],
    ids=["reason", "field", "trailer", "chunk extension"],
)
@in_each_loop
async def test_a_line_without_end_is_refused_before_it_fills_the_memory(start: bytes) -> None:
    sent = 0

    async def script(origin: Downstream) -> None:
        nonlocal sent
        await origin.head()
        await origin.send(start)
        while True:
            await origin.send(b"x" * 65536)
            sent += 65536

    async with connected(script) as (connection, _):
        with pytest.raises(OriginProtocolError):
            await exchange(connection)
    assert sent < 64 * 1024 * 1024


@pytest.mark.parametrize(
    ("parts", "then"),
    [
        ((b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", b"ok"), "close"),
        ((b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", b"ok"), "reset"),
        ((b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"2\r\nok\r\n"), "close"),
        ((b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"2\r\nok\r\n0\r\n"), "close"),
        ((b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"2\r\nok\r\nzz\r\n"), "wait"),
        # A body that lasts until the end of the connection is whole at its orderly end only.
        ((b"HTTP/1.1 200 OK\r\n\r\n", b"ok"), "reset"),
    ],
    ids=["length", "length, reset", "chunked", "chunked, without its end", "bad chunk", "until the end, reset"],
)
@in_each_loop
async def test_a_body_that_is_cut_short_is_an_error_after_what_came(parts: tuple[bytes, ...], then: str) -> None:
    async with connected(answering(*parts, then=then)) as (connection, _):
        connection.begin("GET")
        await connection.send(REQUEST)
        assert (await connection.read_head()).status == 200
        assert await connection.read_body() == b"ok"

        with pytest.raises(OriginProtocolError):
            await connection.read_body()
        assert not connection.is_reusable


@in_loop
async def test_field_names_come_lower_cased_and_trailers_are_dropped() -> None:
    head = b"HTTP/1.1 200 OK\r\nX-One: A\r\nTransfer-Encoding: Chunked\r\nX-ONE: b\r\n\r\n"
    async with connected(answering(head + b"2\r\nok\r\n0\r\nX-Two: c\r\n\r\n")) as (connection, _):
        connection.begin("GET")
        await connection.send(REQUEST)
        result = await connection.read_head()
        assert await connection.read_body() == b"ok"
        assert await connection.read_body() == b""

        assert result.headers == [(b"x-one", b"A"), (b"transfer-encoding", b"Chunked"), (b"x-one", b"b")]


@in_loop
async def test_fields_of_an_interim_answer_do_not_reach_the_final_one() -> None:
    async with connected(answering(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + OK)) as (connection, _):
        connection.begin("GET")
        await connection.send(REQUEST)

        assert (await connection.read_head()).headers == [(b"content-length", b"2")]


@in_each_loop
async def test_the_end_of_an_idle_connection_is_noticed() -> None:
    async with connected(answering(OK, then="close")) as (connection, _):
        assert await exchange(connection) == (200, b"ok")
        await until(lambda: not connection.is_open)

        assert not connection.is_reusable
        connection.begin("GET")
        with pytest.raises(OriginProtocolError):
            await exchange(connection)


@in_each_loop
async def test_bytes_that_no_exchange_asked_for_end_the_connection() -> None:
    async def script(origin: Downstream) -> None:
        await origin.send(OK)
        await origin.until_closed()

    async with connected(script) as (connection, origin):
        await until(lambda: origin.ended)

        assert not connection.is_open


@in_each_loop
async def test_a_slow_reader_bounds_what_is_buffered() -> None:
    """The kernel's buffers fill, then the origin cannot send any more; reading goes on from there."""
    total, sent = 64 * 1024 * 1024, 0

    async def script(origin: Downstream) -> None:
        nonlocal sent
        await origin.head()
        await origin.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
        while sent < total:
            await origin.send(b"x" * 65536)
            sent += 65536

    async with connected(script) as (connection, _):
        connection.begin("GET")
        await connection.send(REQUEST)
        await connection.read_head()
        stalled, seen = 0, -1
        while stalled < 10:
            stalled, seen = (stalled + 1, sent) if sent == seen else (0, sent)
            await asyncio.sleep(0.01)

        assert sent < total // 2
        assert connection._begun().body_bytes < HIGH_WATER_BYTES + 1024 * 1024
        received = 0
        while part := await connection.read_body():
            received += len(part)
        assert received == total


@in_each_loop
async def test_an_origin_that_does_not_read_holds_up_the_sender() -> None:
    reading = asyncio.Event()

    async def script(origin: Downstream) -> None:
        await reading.wait()
        await origin.until_closed()

    async with connected(script) as (connection, _):
        connection.begin("POST")
        sent = 0

        async def upload() -> None:
            nonlocal sent
            for _ in range(1024):
                await connection.send(b"x" * 65536)
                sent += 1

        task = asyncio.create_task(upload())
        stalled, seen = 0, -1
        while stalled < 10:
            stalled, seen = (stalled + 1, sent) if sent == seen else (0, sent)
            await asyncio.sleep(0.01)

        assert sent < 512
        reading.set()
        await task


@in_each_loop
async def test_a_sender_that_waits_is_told_when_the_connection_ends() -> None:
    async def script(origin: Downstream) -> None:
        await asyncio.sleep(0.05)
        origin.reset()

    async with connected(script) as (connection, _):
        connection.begin("POST")

        async def upload() -> None:
            while True:
                await connection.send(b"x" * 65536)

        with pytest.raises(OriginWriteError):
            await upload()


@in_loop
async def test_an_error_of_the_request_side_ends_the_wait_for_the_answer() -> None:
    async with connected(answering(b"")) as (connection, _):
        connection.begin("POST")
        await connection.send(REQUEST)
        asyncio.get_running_loop().call_soon(connection.fail, RuntimeError("the body failed"))

        with pytest.raises(RuntimeError, match="the body failed"):
            await connection.read_head()


@in_loop
async def test_the_endpoint_is_the_address_that_was_dialled() -> None:
    async with connected(answering(OK)) as (connection, origin):
        assert connection.endpoint == f"127.0.0.1:{origin.port}"


class KeepingTransport(asyncio.Transport):
    """Keeps what both event loops keep of a protocol under TLS, to the very end."""

    def __init__(self, connection: OriginConnection) -> None:
        super().__init__()
        self.kept = connection.get_buffer, connection.buffer_updated

    def abort(self) -> None:
        pass


@in_loop
async def test_a_lost_connection_is_freed_without_a_search_for_cycles() -> None:
    gc.disable()
    try:
        connection = OriginConnection(bytearray(READ_BUFFER_BYTES))
        connection.connection_made(KeepingTransport(connection))
        freed = weakref.ref(connection)
        connection.begin("GET")
        connection.abort()
        connection.connection_lost(None)
        assert connection.is_made
        del connection

        assert freed() is None
    finally:
        gc.enable()
