"""HTTP/2 to an origin that is scripted frame by frame."""

from __future__ import annotations

import asyncio
import ipaddress
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from h2.errors import ErrorCodes
from h2.events import DataReceived, PingAckReceived, StreamEnded, StreamReset
from hypothesis import given
from hypothesis import strategies as st

from app.backends import http2_connection
from app.backends.dial import Dialer
from app.backends.errors import (
    OriginConnectError,
    OriginConnectTimeoutError,
    OriginPoolTimeoutError,
    OriginProtocolError,
    OriginReadTimeoutError,
    OriginRequestError,
)
from app.backends.http2 import Http2Transport
from app.backends.http2_frames import MAX_IDLE_FRAMES, FrameSplitter, GoAway
from app.backends.http2_stream import request_fields
from app.backends.tls import client_context
from config.policy.upstream import Upstream, UpstreamTls
from tests.support.http2 import goaway, http2_context, serving_http2, sleep_a_little
from tests.support.loops import in_each_loop, in_loop, until
from tests.support.origins import serving
from tests.support.tls import MESH, authority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.backends.exchange import Response
    from config.attributes import RawHeaders
    from tests.support.http2 import Http2Side
    from tests.support.origins import Downstream

HEADERS: RawHeaders = [(b"host", b"origin.test")]
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
WINDOW = http2_connection.STREAM_WINDOW_BYTES


@asynccontextmanager
async def opened(
    port: int, *, connect_timeout: float = 5.0, max_connections: int = 1024
) -> AsyncIterator[Http2Transport]:
    tls = UpstreamTls("origin.test", roots=authority(MESH).pem()[0].decode(), alpn=("h2",))
    upstream = Upstream("origin.test", port, tls, connect_timeout, max_connections, http2=True)
    dialer = Dialer({("origin.test", port): ("127.0.0.1", port)}, LOOPBACK)
    transport = Http2Transport(upstream, dialer, client_context(tls))
    try:
        yield transport
    finally:
        await transport.aclose()


async def content(response: Response) -> bytes:
    body = b""
    try:
        while part := await response.read():
            body += part
    finally:
        response.close()
    return body


async def get(transport: Http2Transport, target: str = "/", method: str = "GET") -> bytes:
    return await content(await transport.exchange(method, target, HEADERS))


async def parts(*values: bytes) -> AsyncIterator[bytes]:
    for value in values:
        yield value


async def numbered(origin: Http2Side) -> None:
    """Answer every request with the number of its connection."""
    while True:
        stream, _ = await origin.request()
        await origin.answer(stream, b"%d" % origin.number)


@in_each_loop
async def test_the_request_goes_out_as_it_was_given_less_what_belongs_to_http_1() -> None:
    seen: list[tuple[bytes, bytes]] = []

    async def script(origin: Http2Side) -> None:
        stream, fields = await origin.request()
        seen.extend(fields.items())
        await origin.answer(stream, b"ok", 200, ("x-a", " spaced "), ("set-cookie", "a"))

    async with serving_http2(script) as origin, opened(origin.port) as transport:
        headers = [*HEADERS, (b"x-b", b"\xe9"), (b"connection", b"x"), (b"te", b"trailers"), (b"upgrade", b"h2c")]
        response = await transport.exchange("DELETE", "/a%20b?c=d&e", headers)
        assert (response.status, response.fields[b"x-a"]) == (200, b"spaced")
        assert response.endpoint == f"127.0.0.1:{origin.port}"
        assert await content(response) == b"ok"

    assert seen == [
        (b":method", b"DELETE"),
        (b":scheme", b"https"),
        (b":authority", b"origin.test"),
        (b":path", b"/a%20b?c=d&e"),
        (b"x-b", b"\xe9"),
    ]


@in_each_loop
async def test_exchanges_share_one_connection_and_end_in_any_order() -> None:
    async def script(origin: Http2Side) -> None:
        streams = [(await origin.request())[0] for _ in range(3)]
        for stream in reversed(streams):
            await origin.answer(stream, b"%d" % stream)
        await origin.until_closed()

    async with serving_http2(script) as origin, opened(origin.port) as transport:
        assert await asyncio.gather(*(get(transport) for _ in range(3))) == [b"1", b"3", b"5"]
        assert origin.accepted == 1


@in_each_loop
async def test_no_more_streams_run_than_the_origin_allows_and_callers_are_served_in_their_order() -> None:
    order: list[bytes] = []

    async def script(origin: Http2Side) -> None:
        running = 0
        while True:
            stream, fields = await origin.request()
            running += 1
            assert running == 1
            order.append(fields[b":path"])
            running -= 1
            await origin.answer(stream)

    async with (
        serving_http2(script, max_concurrent_streams=1) as origin,
        opened(origin.port, max_connections=1) as transport,
    ):
        await asyncio.gather(*(get(transport, f"/{number}") for number in range(5)))

        assert order == [b"/0", b"/1", b"/2", b"/3", b"/4"]
        assert origin.accepted == 1


@in_each_loop
async def test_another_connection_is_made_when_all_are_full() -> None:
    async def script(origin: Http2Side) -> None:
        stream, _ = await origin.request()
        await until(lambda: origin.downstream.origin.accepted == 2)
        await origin.answer(stream, b"%d" % origin.number)
        await origin.until_closed()

    async with serving_http2(script, max_concurrent_streams=1) as origin, opened(origin.port) as transport:
        assert sorted(await asyncio.gather(get(transport), get(transport))) == [b"1", b"2"]


@in_each_loop
async def test_a_caller_who_waits_too_long_is_told_why() -> None:
    async def script(origin: Http2Side) -> None:
        await origin.until_closed()

    async with (
        serving_http2(script, max_concurrent_streams=1) as origin,
        opened(origin.port, max_connections=1) as transport,
    ):
        first = asyncio.create_task(get(transport))
        await sleep_a_little()
        with pytest.raises(OriginPoolTimeoutError, match="all of its 1 connections are full"):
            await transport.exchange("GET", "/", HEADERS, None, {"pool": 0.01})
        first.cancel()


@in_each_loop
async def test_whoever_leaves_takes_no_place_along() -> None:
    async def script(origin: Http2Side) -> None:
        while True:
            stream, fields = await origin.request()
            if fields[b":path"] == b"/answered":
                await origin.answer(stream)

    async with (
        serving_http2(script, max_concurrent_streams=2) as origin,
        opened(origin.port, max_connections=1) as transport,
    ):
        for _ in range(5):
            calls = [asyncio.create_task(get(transport)) for _ in range(6)]
            await sleep_a_little()
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

        assert await get(transport, "/answered") == b"ok"
        assert transport.is_idle
        assert origin.accepted == 1


@in_each_loop
async def test_a_body_is_sent_as_fast_as_the_origin_takes_it() -> None:
    received: list[int] = []

    async def script(origin: Http2Side) -> None:
        stream, fields = await origin.request()
        assert b"transfer-encoding" not in fields
        while sum(received) < 100_000:
            event = await origin.next(DataReceived)
            received.append(len(event.data))
            assert sum(received) - 10_000 <= origin_window[0]
            origin_window[0] += event.flow_controlled_length
            origin.h2.acknowledge_received_data(event.flow_controlled_length, stream)
            await origin.flush()
        await origin.next(StreamEnded)
        await origin.answer(stream, b"%d" % sum(received))
        await origin.until_closed()

    origin_window = [0]
    async with serving_http2(script, initial_window_size=10_000) as origin, opened(origin.port) as transport:
        headers = [*HEADERS, (b"transfer-encoding", b"chunked")]
        response = await transport.exchange("POST", "/", headers, parts(b"a" * 60_000, b"", b"b" * 40_000))
        assert await content(response) == b"100000"
        assert max(received) <= 10_000


@in_each_loop
async def test_a_body_that_nobody_reads_stops_the_origin_and_nobody_else() -> None:
    async def script(origin: Http2Side) -> None:
        stream, _ = await origin.request()
        origin.h2.send_headers(stream, [(":status", "200")])
        sent = 0
        while window := min(origin.h2.local_flow_control_window(stream), 16_384):
            origin.h2.send_data(stream, b"x" * window)
            sent += window
        await origin.flush()
        assert sent == WINDOW
        other, _ = await origin.request()
        await origin.answer(other, b"other")
        while sent < 2 * WINDOW:
            while not (window := min(origin.h2.local_flow_control_window(stream), 16_384, 2 * WINDOW - sent)):
                await origin.next(object)
            origin.h2.send_data(stream, b"y" * window)
            sent += window
            await origin.flush()
        origin.h2.end_stream(stream)
        await origin.flush()
        await origin.until_closed()

    async with serving_http2(script) as origin, opened(origin.port) as transport:
        slow = await transport.exchange("GET", "/", HEADERS)
        assert await get(transport) == b"other"
        await sleep_a_little()
        assert len(slow._stream.body) == WINDOW
        assert await content(slow) == b"x" * WINDOW + b"y" * WINDOW


@in_each_loop
async def test_an_exchange_that_is_closed_early_is_reset_and_the_connection_goes_on() -> None:
    resets: list[int] = []

    async def script(origin: Http2Side) -> None:
        stream, _ = await origin.request()
        origin.h2.send_headers(stream, [(":status", "200")])
        origin.h2.send_data(stream, b"part")
        await origin.flush()
        event = await origin.next(StreamReset)
        resets.append(event.error_code)
        await numbered(origin)

    async with serving_http2(script) as origin, opened(origin.port) as transport:
        response = await transport.exchange("GET", "/", HEADERS)
        assert await response.read() == b"part"
        response.close()

        assert await get(transport) == b"1"
        assert resets == [ErrorCodes.CANCEL]


@in_each_loop
async def test_go_away_lets_what_has_begun_end_and_the_rest_goes_to_another_connection() -> None:
    async def script(origin: Http2Side) -> None:
        if origin.number > 1:
            await numbered(origin)
        first, _ = await origin.request()
        origin.h2.send_headers(first, [(":status", "200")])
        await origin.flush()
        second, _ = await origin.request()
        assert second > first
        # All in one packet: whoever takes the frame for the end loses what follows it.
        origin.h2.send_data(first, b"rest", end_stream=True)
        await origin.downstream.send(goaway(first) + origin.h2.data_to_send())
        await origin.until_closed()

    async with serving_http2(script) as origin, opened(origin.port) as transport:
        first = await transport.exchange("GET", "/", HEADERS)
        second = asyncio.create_task(get(transport, method="POST"))

        assert await content(first) == b"rest"
        assert await second == b"2"
        assert await get(transport) == b"2"


@in_each_loop
async def test_a_refused_stream_is_tried_again_once_and_never_with_a_body() -> None:
    async def script(origin: Http2Side) -> None:
        while True:
            stream, _ = await origin.request()
            origin.h2.reset_stream(stream, ErrorCodes.REFUSED_STREAM)
            await origin.flush()

    async with serving_http2(script) as origin, opened(origin.port) as transport:
        with pytest.raises(OriginProtocolError, match="REFUSED_STREAM"):
            await get(transport, method="POST")
        [connection] = transport._connections
        assert connection.began == 2
        with pytest.raises(OriginProtocolError, match="REFUSED_STREAM"):
            await transport.exchange("POST", "/", HEADERS, parts(b"x"))
        assert connection.began == 3


@in_each_loop
async def test_a_request_that_met_a_dead_connection_is_sent_again_if_it_is_safe() -> None:
    async def script(origin: Http2Side) -> None:
        stream, _ = await origin.request()
        await origin.answer(stream, b"%d" % origin.number)
        await origin.request()  # and no answer

    async with serving_http2(script) as origin, opened(origin.port) as transport:
        assert await get(transport) == b"1"
        assert await get(transport) == b"2"
        with pytest.raises(OriginProtocolError):
            await get(transport, method="POST")
        assert origin.accepted == 2


@in_each_loop
async def test_the_end_of_the_connection_ends_every_exchange_on_it() -> None:
    async def script(origin: Http2Side) -> None:
        for _ in range(3):
            stream, _ = await origin.request()
            origin.h2.send_headers(stream, [(":status", "200")])
        await origin.flush()
        origin.downstream.reset()

    async with serving_http2(script) as origin, opened(origin.port) as transport:
        responses = await asyncio.gather(*(transport.exchange("GET", "/", HEADERS) for _ in range(3)))
        for response in responses:
            with pytest.raises(OriginProtocolError, match="closed the connection within its answer"):
                await content(response)
        assert transport.is_idle


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ([(":status", "200"), ("content-length", "5")], b""),
        ([(":status", "200"), ("content-length", "5")], b"four"),
        ([(":status", "200"), ("content-length", "2"), ("content-length", "2")], b"ok"),
        ([(":status", "999")], b"x"),
        ([(":status", "101")], b""),
        ([(":status", "200"), ("X-Upper", "1")], b"x"),
        ([(":status", "200"), ("connection", "close")], b"x"),
        ([(":status", "200"), ("x", "a\r\nb: c")], b"x"),
        ([(":status", "200"), ("bad name", "a")], b"x"),
        ([("x", "no status")], b"x"),
        ([(":status", "200"), *((f"x-{n}", "1") for n in range(201))], b"x"),
        ([(":status", "200"), ("x", "a" * 65_536)], b"x"),
    ],
)
@in_loop
async def test_a_malformed_answer_is_a_protocol_error(fields: list[tuple[str, str]], body: bytes) -> None:
    async def script(origin: Http2Side) -> None:
        stream, _ = await origin.request()
        origin.h2.config.validate_outbound_headers = origin.h2.config.normalize_outbound_headers = False
        origin.h2.send_headers(stream, fields, end_stream=not body and fields[0][1] != "101")
        if body:
            origin.h2.send_data(stream, body, end_stream=True)
        await origin.flush()
        await origin.until_closed()

    async with serving_http2(script) as origin, opened(origin.port) as transport:
        with pytest.raises(OriginProtocolError):
            await get(transport, method="POST")


@pytest.mark.parametrize("lengths", [("2", "9"), ("2", "2"), ("two",), ("-1",), ("+2",), ("9" * 19,)])
@in_loop
async def test_an_answer_to_head_states_one_length_or_none(lengths: tuple[str, ...]) -> None:
    async def script(origin: Http2Side) -> None:
        stream, _ = await origin.request()
        origin.h2.config.validate_outbound_headers = False
        await origin.answer(stream, b"", 200, *(("content-length", length) for length in lengths))
        await origin.until_closed()

    async with serving_http2(script) as origin, opened(origin.port) as transport:
        with pytest.raises(OriginProtocolError, match="length"):
            await get(transport, method="HEAD")


@pytest.mark.parametrize("status", [204, 304])
@in_loop
async def test_what_can_have_no_body_has_none(status: int) -> None:
    async def script(origin: Http2Side) -> None:
        stream, _ = await origin.request()
        await origin.answer(stream, b"HTTP/1.1 200 OK\r\n\r\n", status)
        await origin.until_closed()

    async with serving_http2(script) as origin, opened(origin.port) as transport:
        assert await get(transport) == b""


@in_each_loop
async def test_interim_answers_are_skipped_and_trailers_dropped() -> None:
    async def script(origin: Http2Side) -> None:
        stream, _ = await origin.request()
        origin.h2.send_headers(stream, [(":status", "103"), ("link", "x")])
        origin.h2.send_headers(stream, [(":status", "200")])
        origin.h2.send_data(stream, b"body", pad_length=100)
        origin.h2.send_headers(stream, [("x-trailer", "1")], end_stream=True)
        await origin.flush()
        await origin.until_closed()

    async with serving_http2(script) as origin, opened(origin.port) as transport:
        response = await transport.exchange("GET", "/", HEADERS)
        assert (response.status, response.headers) == (200, [])
        assert await content(response) == b"body"
        assert response.headers == []


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304)])
@in_loop
async def test_an_answer_without_body_may_name_the_length_it_would_have(method: str, status: int) -> None:
    async def script(origin: Http2Side) -> None:
        stream, _ = await origin.request()
        await origin.answer(stream, b"", status, ("content-length", "5"))
        await origin.until_closed()

    async with serving_http2(script) as origin, opened(origin.port) as transport:
        assert await get(transport, method=method) == b""


@pytest.mark.parametrize(
    "frame",
    [
        b"\0\0\x08\x06\0\0\0\0\0pingpong",
        b"\0\0\0\x04\0\0\0\0\0",
        b"\0\0\0\0\0\0\0\0\x01",
        b"\0\0\0\x63\0\0\0\0\0",
        goaway(1),
    ],
    ids=["ping", "settings", "empty-data", "unknown", "goaway"],
)
@in_loop
async def test_frames_that_say_nothing_come_to_an_end(frame: bytes) -> None:
    async def script(origin: Http2Side) -> None:
        stream, _ = await origin.request()
        origin.h2.send_headers(stream, [(":status", "200")])
        await origin.send(frame * MAX_IDLE_FRAMES)
        await origin.send(frame)
        await origin.until_closed()

    async with serving_http2(script) as origin, opened(origin.port) as transport:
        with pytest.raises(OriginProtocolError, match="say nothing"):
            await get(transport)


@in_each_loop
async def test_pings_are_answered() -> None:
    async def script(origin: Http2Side) -> None:
        stream, _ = await origin.request()
        origin.h2.ping(b"12345678")
        await origin.flush()
        await origin.next(PingAckReceived)
        await origin.answer(stream)
        await origin.until_closed()

    async with serving_http2(script) as origin, opened(origin.port) as transport:
        assert await get(transport) == b"ok"


@in_loop
async def test_an_origin_that_does_not_answer_in_time() -> None:
    async def script(origin: Http2Side) -> None:
        await origin.until_closed()

    async with serving_http2(script) as origin, opened(origin.port) as transport:
        with pytest.raises(OriginReadTimeoutError):
            await transport.exchange("GET", "/", HEADERS, None, {"read": 0.02})
        assert transport.is_idle


@in_each_loop
async def test_without_h2_in_alpn_nothing_is_sent() -> None:
    async def script(origin: Downstream) -> None:
        assert await origin.reader.read(1) == b""

    async with serving(script, http2_context("http/1.1")) as origin, opened(origin.port) as transport:
        with pytest.raises(
            OriginConnectError, match=r"HTTP/2 was asked for, and the origin chose no protocol \(ALPN\)"
        ):
            await get(transport)


@in_each_loop
async def test_an_origin_that_says_nothing_is_no_connection() -> None:
    async def script(origin: Downstream) -> None:
        await origin.until_closed()

    async with serving(script, http2_context()) as origin, opened(origin.port, connect_timeout=0.2) as transport:
        with pytest.raises(OriginConnectTimeoutError):
            await get(transport)
        await until(lambda: origin.ended == 1)


@in_each_loop
async def test_an_origin_that_speaks_no_http_2_after_all() -> None:
    async def script(origin: Downstream) -> None:
        await origin.send(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)
        await origin.until_closed()

    async with serving(script, http2_context()) as origin, opened(origin.port) as transport:
        with pytest.raises(OriginConnectError, match="the origin broke HTTP/2"):
            await get(transport)


@in_loop
async def test_a_closed_transport_lets_running_exchanges_end() -> None:
    go_on = asyncio.Event()

    async def script(origin: Http2Side) -> None:
        stream, _ = await origin.request()
        origin.h2.send_headers(stream, [(":status", "200")])
        await origin.flush()
        await go_on.wait()
        origin.h2.send_data(stream, b"end", end_stream=True)
        await origin.flush()
        await origin.until_closed()
        closed.append(True)

    closed: list[bool] = []
    async with serving_http2(script) as origin, opened(origin.port) as transport:
        response = await transport.exchange("GET", "/", HEADERS)
        await transport.aclose()
        go_on.set()
        assert await content(response) == b"end"
        await until(lambda: closed)


@in_loop
async def test_nothing_goes_out_before_the_preface_though_the_origin_speaks_first() -> None:
    connection = http2_connection.Http2Connection(bytearray(10), lambda _: None)
    written: list[bytes] = []

    class Wire(asyncio.Transport):
        def write(self, data: Any) -> None:
            written.append(bytes(data))

        def get_write_buffer_size(self) -> int:
            return 0

    connection.connection_made(Wire())
    for byte in b"\0\0\0\4\0\0\0\0\0":  # an empty SETTINGS frame
        connection.get_buffer(1)[0] = byte
        connection.buffer_updated(1)
    assert written == []
    connection.start()
    await connection.ready()
    assert b"".join(written).startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")


@in_loop
async def test_httpx_finds_the_same_interface() -> None:
    async def script(origin: Http2Side) -> None:
        stream, fields = await origin.request()
        event = await origin.next(DataReceived)
        await origin.answer(stream, fields[b":path"] + event.data)
        await origin.until_closed()

    async with serving_http2(script) as origin, opened(origin.port) as transport:
        async with httpx.AsyncClient(transport=transport) as client:
            answer = await client.post(f"https://origin.test:{origin.port}/p", content=b"body")
        assert answer.text == "/pbody"


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/a b", HEADERS),
        ("/\r", HEADERS),
        ("", HEADERS),
        ("/", []),
        ("/", [(b"host", b"a\nb")]),
        ("/", [*HEADERS, (b"x", b"a\r\nb")]),
        ("/", [*HEADERS, (b":path", b"/")]),
        ("/", [*HEADERS, (b"", b"/")]),
        ("/", [*HEADERS, (b"X", b"/")]),
    ],
)
def test_what_would_break_http_is_not_sent(target: str, headers: RawHeaders) -> None:
    with pytest.raises(OriginRequestError):
        request_fields("GET", target, headers)


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40).map(lambda b: len(b).to_bytes(3, "big") + b"\0\0\0\0\0\1" + b),
            st.integers(0, 99).map(goaway),
        )
    ),
    st.lists(st.integers(1, 30), min_size=1),
)
def test_frames_come_out_as_they_went_in_however_they_are_cut(frames: list[bytes], cuts: list[int]) -> None:
    splitter, stream, out, gone = FrameSplitter(), b"".join(frames), b"", []
    while stream:
        for size in cuts:
            for part in splitter.feed(stream[:size]):
                if isinstance(part, GoAway):
                    gone.append(part.last_stream)
                else:
                    out += part
            stream = stream[size:]

    assert out == b"".join(frame for frame in frames if frame[3] != 7)
    assert gone == [int.from_bytes(frame[9:13], "big") for frame in frames if frame[3] == 7]
