"""The pool of one upstream, its lean exchange, and httpx's interface on it, against real loopback origins."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import threading
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from app.backends.connection import OriginConnection
from app.backends.dial import Dialer
from app.backends.errors import OriginConnectError, OriginProtocolError, OriginRequestError
from app.backends.tls import client_context
from app.backends.transport import OriginTransport
from app.cli.certificates import CLIENT_AUTH, Leaf
from config.policy.upstream import Upstream, UpstreamTls
from tests.support.loops import in_each_loop, in_loop, until
from tests.support.origins import echo, serving
from tests.support.tls import MESH, authority, server_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from app.backends.response import ResponseReader
    from app.backends.transport import OriginResponse
    from config.attributes import RawHeaders
    from tests.support.origins import Downstream

HEADERS: RawHeaders = [(b"host", b"origin.test")]
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


@asynccontextmanager
async def opened(
    port: int, context: ssl.SSLContext | None = None, *, connect_timeout: float = 5.0, max_connections: int = 1024
) -> AsyncIterator[OriginTransport]:
    """Return a transport to an origin on loopback."""
    tls = UpstreamTls("origin.test") if context else None
    upstream = Upstream("origin.test", port, tls, connect_timeout, max_connections)
    transport = OriginTransport(upstream, Dialer({("origin.test", port): ("127.0.0.1", port)}, LOOPBACK), context)
    try:
        yield transport
    finally:
        await transport.aclose()


async def content(response: OriginResponse) -> bytes:
    """Read an answer to its end, and end the exchange."""
    body = b""
    try:
        while part := await response.read():
            body += part
    finally:
        response.close()
    return body


async def get(transport: OriginTransport, method: str = "GET") -> bytes:
    return await content(await transport.exchange(method, "/", HEADERS))


async def numbered(origin: Downstream) -> None:
    """Answer every request with the number of its connection."""
    while True:
        await origin.answer(b"%d" % origin.number)


async def parts(*values: bytes) -> AsyncIterator[bytes]:
    for value in values:
        yield value


@in_each_loop
async def test_the_request_goes_out_as_it_was_given() -> None:
    async def script(origin: Downstream) -> None:
        await origin.answer()

    async with serving(script) as origin, opened(origin.port) as transport:
        headers = [*HEADERS, (b"x-b", b"1"), (b"x-a", b"\xe9"), (b"x-b", b"2")]
        response = await transport.exchange("DELETE", "/a%20b?c=d&e", headers)
        assert (response.status, response.headers) == (200, [(b"content-length", b"2")])
        assert response.endpoint == f"127.0.0.1:{origin.port}"
        assert await content(response) == b"ok"

        assert origin.heads == [
            b"DELETE /a%20b?c=d&e HTTP/1.1\r\nhost: origin.test\r\nx-b: 1\r\nx-a: \xe9\r\nx-b: 2\r\n\r\n"
        ]


@in_each_loop
async def test_connections_are_kept_and_the_one_used_last_comes_first() -> None:
    async with serving(numbered) as origin, opened(origin.port) as transport:
        first = await transport.exchange("GET", "/", HEADERS)
        second = await transport.exchange("GET", "/", HEADERS)
        assert await content(second) == b"2"
        assert await content(first) == b"1"

        assert [await get(transport) for _ in range(3)] == [b"1", b"1", b"1"]
        assert origin.accepted == 2


@pytest.mark.parametrize("rest", [b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison", b"H", b"\0"])
@in_each_loop
async def test_a_connection_with_bytes_left_over_never_serves_the_next_caller(rest: bytes) -> None:
    async def script(origin: Downstream) -> None:
        if origin.number > 1:
            await numbered(origin)
        await origin.answer(b"first", more=rest)
        await origin.until_closed()

    async with serving(script) as origin, opened(origin.port) as transport:
        assert await get(transport) == b"first"
        assert await get(transport) == b"2"
        await until(lambda: origin.ended == 1)


@in_each_loop
async def test_bytes_that_come_on_an_idle_connection_close_it() -> None:
    poison = asyncio.Event()

    async def script(origin: Downstream) -> None:
        if origin.number > 1:
            await numbered(origin)
        await origin.answer(b"first")
        await poison.wait()
        await origin.send(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison")
        await origin.until_closed()

    async with serving(script) as origin, opened(origin.port) as transport:
        assert await get(transport) == b"first"
        poison.set()
        await until(lambda: origin.ended == 1)

        assert await get(transport) == b"2"


@in_each_loop
async def test_an_answer_that_was_not_read_to_its_end_ends_the_connection() -> None:
    async with serving(numbered) as origin, opened(origin.port) as transport:
        (await transport.exchange("GET", "/", HEADERS)).close()

        assert await get(transport) == b"2"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@in_each_loop
async def test_a_safe_request_is_sent_again_where_an_idle_connection_was_dead(method: str) -> None:
    async def script(origin: Downstream) -> None:
        await origin.head()
        await origin.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        if origin.number == 1:
            await origin.head()  # the gateway finds out only after it has sent its next request
            origin.reset()
            return
        await origin.until_closed()

    async with serving(script) as origin, opened(origin.port) as transport:
        assert await get(transport) == b""
        assert await get(transport, method) == b""
        assert [head.split()[0] for head in origin.heads] == [b"GET", method.encode(), method.encode()]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@in_each_loop
async def test_an_unsafe_request_is_never_sent_twice(method: str) -> None:
    async def script(origin: Downstream) -> None:
        await origin.answer()
        await origin.head()
        origin.reset()

    async with serving(script) as origin, opened(origin.port) as transport:
        await get(transport)
        with pytest.raises(OriginProtocolError):
            await get(transport, method)
        assert origin.accepted == 1


@in_each_loop
async def test_a_request_with_a_body_is_never_sent_twice() -> None:
    async def script(origin: Downstream) -> None:
        await origin.answer()
        await origin.head()
        origin.reset()

    async with serving(script) as origin, opened(origin.port) as transport:
        await get(transport)
        with pytest.raises(OriginProtocolError):
            await transport.exchange("GET", "/", [*HEADERS, (b"content-length", b"1")], parts(b"x"))
        assert origin.accepted == 1


@in_each_loop
async def test_a_request_that_was_partly_answered_is_never_sent_twice() -> None:
    async def script(origin: Downstream) -> None:
        await origin.answer()
        await origin.head()
        await origin.send(b"HTTP/1.1 200")

    async with serving(script) as origin, opened(origin.port) as transport:
        await get(transport)
        with pytest.raises(OriginProtocolError):
            await get(transport)
        assert origin.accepted == 1


@in_each_loop
async def test_a_new_connection_that_fails_is_not_tried_again() -> None:
    async def script(origin: Downstream) -> None:
        await origin.head()

    async with serving(script) as origin, opened(origin.port) as transport:
        with pytest.raises(OriginProtocolError):
            await get(transport)
        assert origin.accepted == 1


@in_each_loop
async def test_an_idle_connection_that_has_ended_is_not_used() -> None:
    async def script(origin: Downstream) -> None:
        await origin.answer(b"%d" % origin.number)

    async with serving(script) as origin, opened(origin.port) as transport:
        assert await get(transport) == b"1"
        connection = next(iter(transport._pool._idle))
        await until(lambda: not connection.is_open)

        assert await get(transport, "POST") == b"2"


@pytest.mark.parametrize(
    ("framing", "sent"),
    [
        ((b"content-length", b"5"), b"hello"),
        ((b"transfer-encoding", b"chunked"), b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
    ],
)
@in_each_loop
async def test_a_body_is_sent_with_the_framing_of_its_headers(framing: tuple[bytes, bytes], sent: bytes) -> None:
    received = b""

    async def script(origin: Downstream) -> None:
        nonlocal received
        while True:
            await origin.head()
            received = await origin.reader.readexactly(len(sent))
            await origin.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async with serving(script) as origin, opened(origin.port) as transport:
        for _ in range(2):  # the connection is fit for a second upload
            body = parts(b"he", b"", b"llo")
            assert await content(await transport.exchange("POST", "/", [*HEADERS, framing], body)) == b""
            assert received == sent
        assert origin.accepted == 1


@in_each_loop
async def test_an_answer_before_the_end_of_an_upload_is_passed_on_and_ends_the_connection() -> None:
    cancelled = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 1000
                await asyncio.sleep(0)
        finally:
            cancelled.set()

    async def script(origin: Downstream) -> None:
        if origin.number > 1:
            await numbered(origin)
        await origin.head()
        await origin.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
        await origin.until_closed()

    async with serving(script) as origin, opened(origin.port) as transport:
        response = await transport.exchange("POST", "/", [*HEADERS, (b"transfer-encoding", b"chunked")], endless())
        assert (response.status, await content(response)) == (413, b"no")
        await cancelled.wait()

        assert await get(transport) == b"2"
        await until(lambda: origin.ended == 1)


@in_each_loop
async def test_an_answer_and_an_end_before_the_upload_is_read_are_passed_on() -> None:
    async def script(origin: Downstream) -> None:
        await origin.head()
        await origin.send(b"HTTP/1.1 401 No\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno")
        origin.writer.write_eof()
        await origin.until_closed()

    async def slow() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000
            await asyncio.sleep(0.001)

    async with serving(script) as origin, opened(origin.port) as transport:
        response = await transport.exchange("POST", "/", [*HEADERS, (b"transfer-encoding", b"chunked")], slow())

        assert (response.status, await content(response)) == (401, b"no")


@in_each_loop
async def test_a_body_that_fails_ends_the_exchange_with_its_error_and_the_connection() -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"x"
        raise LookupError("the caller left")

    async def script(origin: Downstream) -> None:
        await origin.head()
        await origin.until_closed()

    async with serving(script) as origin, opened(origin.port) as transport:
        with pytest.raises(LookupError, match="the caller left"):
            await transport.exchange("POST", "/", [*HEADERS, (b"content-length", b"9")], failing())
        await until(lambda: origin.ended == 1)


@in_each_loop
async def test_cancellation_leaves_no_open_connection() -> None:
    async def script(origin: Downstream) -> None:
        await origin.head()
        await origin.until_closed()

    async with serving(script) as origin, opened(origin.port) as transport:
        task = asyncio.create_task(transport.exchange("GET", "/", HEADERS))
        await until(lambda: origin.heads)
        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: origin.ended == 1)
        assert not transport._pool._idle


@in_each_loop
async def test_closing_ends_idle_connections_at_once_and_running_ones_at_their_end() -> None:
    async def script(origin: Downstream) -> None:
        await origin.answer()
        await origin.until_closed()

    async with serving(script) as origin, opened(origin.port) as transport:
        running = await transport.exchange("GET", "/", HEADERS)
        await get(transport)
        await transport.aclose()
        await until(lambda: origin.ended == 1)

        assert await content(running) == b"ok"
        await until(lambda: origin.ended == 2)


def test_tls_and_its_context_come_together_or_not_at_all() -> None:
    with pytest.raises(ValueError, match="TLS"):
        OriginTransport(Upstream("origin.test", 443, UpstreamTls("origin.test")), Dialer(), None)
    with pytest.raises(ValueError, match="TLS"):
        OriginTransport(Upstream("origin.test", 80), Dialer(), ssl.create_default_context())


# TLS origination


@pytest.fixture
def trusting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Return the gateway's context for origins, with the test's authority as the only root."""
    path = tmp_path / "roots.pem"
    path.write_bytes(authority(MESH).pem()[0])
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    return client_context()


@in_each_loop
async def test_an_origin_whose_san_is_the_verified_name_is_spoken_to_over_tls(trusting: ssl.SSLContext) -> None:
    asked: list[str | None] = []
    context = server_context(Leaf("origin", names=("origin.test",)))
    context.sni_callback = lambda _, name, __: asked.append(name)
    context.set_alpn_protocols(["h2", "http/1.1"])

    async with serving(numbered, context) as origin, opened(origin.port, trusting) as transport:
        assert [await get(transport) for _ in range(2)] == [b"1", b"1"]

        assert asked == ["origin.test"]
        connection = next(iter(transport._pool._idle))
        assert connection._transport is not None
        tls = connection._transport.get_extra_info("ssl_object")
        assert tls.selected_alpn_protocol() == "http/1.1"
        assert tls.version() == "TLSv1.3"


@in_each_loop
async def test_a_large_answer_arrives_over_tls_as_it_was_sent(trusting: ssl.SSLContext) -> None:
    """Many records come in one read, of which the event loops fill one slice of the buffer after another."""
    body = bytes(range(251)) * 8000

    async def script(origin: Downstream) -> None:
        while True:
            await origin.answer(body)

    async with serving(script, server_context(ORIGIN)) as origin, opened(origin.port, trusting) as transport:
        for _ in range(3):
            assert await get(transport) == body
        assert origin.accepted == 1


@contextmanager
def ending_at_once(answer: bytes, *, announced: bool) -> Iterator[int]:
    """Run an origin that answers once and ends TCP behind it, as most do; asyncio would wait for the other side."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10.0)

        def serve() -> None:
            with server_context(ORIGIN).wrap_socket(listener.accept()[0], server_side=True) as sock:
                while not sock.recv(65536).endswith(b"\r\n\r\n"):
                    pass
                sock.sendall(answer)
                sock.settimeout(0.0)
                with suppress(OSError):
                    if announced:
                        sock.unwrap()  # sends close_notify, and does not wait for the other one

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join()


@pytest.mark.parametrize("size", [100_000, 200_000, 400_000, 1_000_000])
@pytest.mark.parametrize("field", ["content-length: %d", "connection: close"])
@pytest.mark.parametrize("slowly", [False, True], ids=["read at once", "read slowly"])
@in_each_loop
async def test_of_an_answer_whose_connection_ends_behind_it_nothing_is_lost(
    size: int, field: str, trusting: ssl.SSLContext, *, slowly: bool
) -> None:
    """The event loops drop what TLS still holds when TCP ends: what did not fit into the buffer, or had to wait."""
    line = field % size if "%" in field else field
    head = f"HTTP/1.1 200 OK\r\n{line}\r\n\r\n".encode()
    with ending_at_once(head + b"x" * size, announced=True) as port:
        async with opened(port, trusting) as transport:
            response = await transport.exchange("GET", "/", HEADERS)
            if slowly:
                await asyncio.sleep(0.05)  # for the end to come

            assert len(await content(response)) == size


@pytest.mark.parametrize("slowly", [False, True], ids=["read at once", "read slowly"])
@in_each_loop
async def test_an_end_that_tls_did_not_announce_is_a_cut_whatever_it_still_held(
    trusting: ssl.SSLContext, *, slowly: bool
) -> None:
    with ending_at_once(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 200_000, announced=False) as port:
        async with opened(port, trusting) as transport:
            response = await transport.exchange("GET", "/", HEADERS)
            if slowly:
                await asyncio.sleep(0.05)

            with pytest.raises(OriginProtocolError):
                await content(response)


def tls_1_1() -> ssl.SSLContext:
    context = server_context(Leaf("origin", names=("origin.test",)))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


ORIGIN = Leaf("origin", names=("origin.test",))
UNPROVEN: dict[str, tuple[Callable[[], ssl.SSLContext], str]] = {
    "another name": (lambda: server_context(Leaf("origin", names=("other.test",))), "Hostname mismatch"),
    "common name only": (lambda: server_context(Leaf("origin.test")), "Hostname mismatch"),
    "common name beside another SAN": (
        lambda: server_context(Leaf("origin.test", names=("127.0.0.1",))),
        "Hostname mismatch",
    ),
    "an authority of its own": (
        lambda: server_context(ORIGIN, issuer="stranger"),
        "unable to get local issuer certificate; SSL_CERT_FILE",
    ),
    "expired": (lambda: server_context(ORIGIN, timedelta(seconds=-1)), "expired"),
    "no server's": (
        lambda: server_context(Leaf("origin", names=("origin.test",), usages=(CLIENT_AUTH,))),
        "purpose",
    ),
    "TLS 1.1": (tls_1_1, "TLS failed"),
}


@pytest.mark.parametrize(("make_context", "reason"), UNPROVEN.values(), ids=UNPROVEN)
@in_each_loop
async def test_nothing_is_sent_to_an_origin_that_does_not_prove_its_name(
    make_context: Callable[[], ssl.SSLContext], reason: str, trusting: ssl.SSLContext
) -> None:
    received = b""

    async def script(origin: Downstream) -> None:
        nonlocal received
        received += await origin.reader.read(65536)

    async with serving(script, make_context()) as origin, opened(origin.port, trusting) as transport:
        for _ in range(2):  # a failure leaves the loop fit for the next attempt
            with pytest.raises(OriginConnectError, match=rf"^origin\.test: .*{reason}"):
                await transport.exchange("GET", "/secret", HEADERS)
    assert received == b""


@in_each_loop
async def test_a_plain_text_origin_is_never_a_fallback_for_tls(trusting: ssl.SSLContext) -> None:
    received = b""

    async def script(origin: Downstream) -> None:
        nonlocal received
        received += await origin.reader.read(65536)
        await origin.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    async with serving(script) as origin, opened(origin.port, trusting) as transport:
        with pytest.raises(
            OriginConnectError, match=r"^origin\.test: TLS failed: .*: does the origin speak plain HTTP\?$"
        ):
            await transport.exchange("GET", "/secret", HEADERS)
    assert b"secret" not in received


@in_each_loop
async def test_a_handshake_that_does_not_end_meets_the_deadline(trusting: ssl.SSLContext) -> None:
    async def silent(origin: Downstream) -> None:
        await origin.until_closed()

    async with serving(silent) as origin, opened(origin.port, trusting, connect_timeout=0.1) as transport:
        for _ in range(2):
            with pytest.raises(OriginConnectError, match="deadline"):
                await transport.exchange("GET", "/", HEADERS)
        await until(lambda: origin.ended == 2)


@in_each_loop
async def test_a_port_that_nobody_listens_on_is_a_connect_error() -> None:
    async with serving(numbered) as origin:
        port = origin.port
    async with opened(port) as transport:
        with pytest.raises(OriginConnectError, match=r"^origin\.test: "):
            await transport.exchange("GET", "/", HEADERS)


# httpx's interface


@in_each_loop
async def test_httpx_streams_through_the_transport_in_both_directions() -> None:
    async with (
        serving(echo) as origin,
        opened(origin.port) as transport,
        httpx.AsyncClient(transport=transport) as client,
    ):
        url = f"http://origin.test:{origin.port}/a?b=c"
        answer = await client.post(url, content=parts(b"he", b"llo"), headers={"X-One": "1"})
        assert answer.json()["line"] == "POST /a?b=c HTTP/1.1"
        assert answer.json()["body"] == "hello"
        assert ["x-one", "1"] in answer.json()["headers"]

        async with client.stream("GET", url) as streamed:
            assert b'"line": "GET /a?b=c HTTP/1.1"' in b"".join([part async for part in streamed.aiter_raw()])
        assert (await client.put(url, json={"a": 1})).json()["body"] == '{"a":1}'
        assert origin.accepted == 1


@in_loop
async def test_an_httpx_answer_that_is_not_read_gives_its_connection_up() -> None:
    async with (
        serving(numbered) as origin,
        opened(origin.port) as transport,
        httpx.AsyncClient(transport=transport) as client,
    ):
        url = f"http://origin.test:{origin.port}/"
        async with client.stream("GET", url):
            pass

        assert (await client.get(url)).text == "2"


@in_loop
async def test_errors_come_to_httpx_as_its_own() -> None:
    async def script(origin: Downstream) -> None:
        await origin.head()
        if origin.number == 1:
            await origin.send(b"garbage\r\n")
        elif origin.number == 2:
            await origin.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok")
        else:
            if origin.number == 4:
                await origin.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok")
            await origin.until_closed()

    async with (
        serving(script) as origin,
        opened(origin.port) as transport,
        httpx.AsyncClient(transport=transport, timeout=httpx.Timeout(None, read=0.1)) as client,
    ):
        url = f"http://origin.test:{origin.port}/"
        for expected in (
            httpx.RemoteProtocolError,  # before the head
            httpx.RemoteProtocolError,  # within the body
            httpx.ReadTimeout,
            httpx.ReadTimeout,
        ):
            with pytest.raises(expected) as caught:
                await client.get(url)
            assert caught.value.request.url == url
    async with opened(origin.port) as transport, httpx.AsyncClient(transport=transport) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(url)


@in_loop
async def test_each_of_httpx_timeouts_comes_as_its_own_error() -> None:
    async def script(origin: Downstream) -> None:
        await origin.head()
        await asyncio.sleep(60)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65536

    async with serving(script) as origin, opened(origin.port, max_connections=1) as transport:
        url = f"http://origin.test:{origin.port}/"

        def client(**timeouts: float) -> httpx.AsyncClient:
            return httpx.AsyncClient(transport=transport, timeout=httpx.Timeout(None, **timeouts))

        with pytest.raises(httpx.ReadTimeout):
            await client(read=0.05).get(url)
        with pytest.raises(httpx.WriteTimeout):
            await client(write=0.05).post(url, content=endless())
        with pytest.raises(httpx.ReadTimeout):  # it begins with the end of the upload
            await client(read=0.05).post(url, content=parts(b"x"))
        busy = asyncio.create_task(transport.exchange("GET", "/", HEADERS))
        await until(lambda: len(origin.heads) == 4)
        with pytest.raises(httpx.PoolTimeout):
            await client(pool=0.05).get(url)
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)


@in_each_loop
async def test_a_handshake_that_does_not_end_is_a_connect_timeout_for_httpx(trusting: ssl.SSLContext) -> None:
    async def silent(origin: Downstream) -> None:
        await origin.until_closed()

    async with serving(silent) as origin, opened(origin.port, trusting) as transport:
        async with httpx.AsyncClient(transport=transport, timeout=httpx.Timeout(None, connect=0.05)) as client:
            with pytest.raises(httpx.ConnectTimeout):
                await client.get(f"https://origin.test:{origin.port}/")
        await until(lambda: origin.ended == 1)


@in_loop
async def test_an_origin_that_ends_while_a_body_is_sent_is_an_error_of_its_own_for_httpx() -> None:
    async def script(origin: Downstream) -> None:
        await origin.head()
        origin.reset()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65536

    async with (
        serving(script) as origin,
        opened(origin.port) as transport,
        httpx.AsyncClient(transport=transport) as client,
    ):
        with pytest.raises((httpx.RemoteProtocolError, httpx.WriteError)):
            await client.post(f"http://origin.test:{origin.port}/", content=endless())


@pytest.mark.parametrize(
    "field", [(b"a", b"b\r\nx: y"), (b"a\r\nb", b"c"), (b"a", b"\n"), (b"a", b"\0"), (b"a", b"\x7f")]
)
@in_loop
async def test_a_field_that_would_break_the_request_is_refused_before_anything_is_sent(
    field: tuple[bytes, bytes],
) -> None:
    async with serving(numbered) as origin, opened(origin.port) as transport:
        with pytest.raises(OriginRequestError):
            await transport.exchange("GET", "/", [*HEADERS, field])
        with pytest.raises(OriginRequestError):
            await transport.exchange("GET", "/a\r\nx: y", HEADERS)
        async with httpx.AsyncClient(transport=transport) as client:
            with pytest.raises(httpx.LocalProtocolError):
                await client.get(f"http://origin.test:{origin.port}/", headers=[field])
        assert origin.accepted == 0


@in_loop
async def test_a_connection_that_ended_as_it_was_handed_over_costs_no_request() -> None:
    """Nothing was sent, so that any method may go on a fresh one."""
    async with serving(numbered) as origin, opened(origin.port) as transport:
        assert await get(transport) == b"1"
        connection = next(iter(transport._pool._idle))
        begin = connection.begin

        def end_and_begin(method: str) -> ResponseReader:
            connection.abort()
            return begin(method)

        connection.begin = end_and_begin  # type: ignore[method-assign]

        assert await content(await transport.exchange("DELETE", "/", HEADERS)) == b"2"


@pytest.mark.parametrize("url", ["http://other.test/", "http://origin.test/", "https://origin.test/"])
@in_loop
async def test_httpx_cannot_be_led_to_another_origin(url: str) -> None:
    async def script(origin: Downstream) -> None:
        await origin.answer()

    async with (
        serving(script) as origin,
        opened(origin.port) as transport,
        httpx.AsyncClient(transport=transport) as client,
    ):
        with pytest.raises(httpx.UnsupportedProtocol):
            await client.get(url)
        assert origin.accepted == 0


@in_each_loop
async def test_a_caller_who_leaves_as_the_connection_is_made_harms_nobody_else(
    monkeypatch: pytest.MonkeyPatch, trusting: ssl.SSLContext
) -> None:
    made = OriginConnection.connection_made
    leaving: list[asyncio.Task[OriginResponse]] = []

    def leave(connection: OriginConnection, transport: asyncio.BaseTransport) -> None:
        made(connection, transport)
        if leaving:
            leaving.pop().cancel()  # after the transport exists, before its task goes on

    monkeypatch.setattr(OriginConnection, "connection_made", leave)

    async def script(origin: Downstream) -> None:
        while True:
            await origin.answer()

    async with serving(script, server_context(ORIGIN)) as origin:
        for _ in range(6):
            async with opened(origin.port, trusting) as transport:
                task = asyncio.create_task(transport.exchange("GET", "/a", HEADERS))
                leaving.append(task)
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert await content(await transport.exchange("GET", "/b", HEADERS)) == b"ok"
