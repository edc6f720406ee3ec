"""The transport of the hot path: a keep-alive pool for one upstream, a lean exchange, and httpx's interface on it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx

from app.backends.connection import OriginConnection
from app.backends.errors import OriginConnectError, OriginError, OriginProtocolError, OriginWriteError
from app.backends.tls import tls_failure

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from app.backends.connection import ResponseHead
    from app.backends.dial import Dialer
    from config.attributes import RawHeaders
    from config.policy.upstream import Upstream

MAX_IDLE_CONNECTIONS = 128
"""Connections kept open for the next request, for each upstream."""
IDLE_SECONDS = 60.0
"""How long one is kept."""

_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Safe methods (RFC 9110 section 9.2.1): sent again if a connection that was idle turns out to be dead."""


class OriginResponse:
    """The answer to one exchange: its head, then its body in parts. Must be closed."""

    def __init__(
        self,
        transport: OriginTransport,
        connection: OriginConnection,
        head: ResponseHead,
        upload: asyncio.Task[None] | None,
    ) -> None:
        self.status = head.status
        self.headers = head.headers
        """Names lower-cased, as the origin sent them."""
        self.endpoint = connection.endpoint
        """Address and port that was dialled."""
        self.read = connection.read_body
        """Returns the next part of the body, empty at its end; raises `OriginProtocolError` if it is cut short."""
        self._transport = transport
        self._connection = connection
        self._upload = upload

    def close(self) -> None:
        """End the exchange. The connection is kept only if both directions came to a clean end."""
        sent = self._upload is None or self._upload.done()
        if self._upload is not None:
            self._upload.cancel()
        if sent and self._connection.is_reusable:
            self._transport.release(self._connection)
        else:
            self._connection.abort()


class OriginTransport(httpx.AsyncBaseTransport):
    """Connections to one upstream.

    `exchange` is what the gateway uses: raw header lists in and out, no copies. `handle_async_request` is the same
    behind httpx's interface, for everything that is not the hot path.
    """

    def __init__(self, upstream: Upstream, dialer: Dialer, tls_context: ssl.SSLContext | None) -> None:
        if (upstream.tls is None) != (tls_context is None):
            raise ValueError("a TLS upstream needs a TLS context, and a plain one must not have one")
        self._upstream = upstream
        self._dialer = dialer
        self._tls_context = tls_context
        self._idle: dict[OriginConnection, asyncio.TimerHandle] = {}
        """Idle connections with the end of their time; the one used last stands last."""
        self._closed = False

    async def exchange(
        self, method: str, target: str, headers: RawHeaders, body: AsyncIterator[bytes] | None = None
    ) -> OriginResponse:
        """Send a request and return its answer once the head is there; the body goes on being sent meanwhile.

        Args:
            method: request method.
            target: origin-form target, sent as it is.
            headers: every field to send, `Host` and framing included.
            body: parts of the body, sent in chunks if the headers say `transfer-encoding`; none if there is no body.

        Raises:
            OriginConnectError: no connection could be had; nothing was sent.
            OriginProtocolError: the origin broke HTTP.
            Exception: whatever `body` raised.

        """
        head = _request_head(method, target, headers)
        chunked = any(name == b"transfer-encoding" for name, _ in headers)
        retried = False
        while True:
            connection, reused = await self._acquire(fresh=retried)
            upload: asyncio.Task[None] | None = None
            try:
                connection.begin(method)
                await connection.send(head)
                if body is not None:
                    upload = asyncio.create_task(_upload(connection, body, chunked=chunked))
                return OriginResponse(self, connection, await connection.read_head(), upload)
            except BaseException as error:
                if upload is not None:
                    upload.cancel()
                connection.abort()
                stale = reused and isinstance(error, OriginProtocolError) and not connection.has_answered
                if not (stale and body is None and method in _REPEATABLE):
                    raise
                # The origin had closed an idle connection: that was no answer to this request. Once is enough: one that
                # closes because of this request would be sent it again for every idle connection.
                retried = True

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send an httpx request. Errors come as httpx's own; of its timeouts, `read` is kept."""
        origin = (request.url.host, request.url.port or (443 if request.url.scheme == "https" else 80))
        if origin != (self._upstream.host, self._upstream.port):
            raise httpx.UnsupportedProtocol("this transport has one origin only", request=request)
        headers = [(name.lower(), value) for name, value in request.headers.raw]
        framed = any(name in {b"content-length", b"transfer-encoding"} for name, _ in headers)
        body = aiter(request.stream) if framed and isinstance(request.stream, httpx.AsyncByteStream) else None
        target = request.url.raw_path.decode("ascii")
        read_timeout: float | None = request.extensions.get("timeout", {}).get("read")
        try:
            async with asyncio.timeout(read_timeout):
                response = await self.exchange(request.method, target, headers, body)
        except (OriginError, TimeoutError) as error:
            raise _as_httpx_error(error, request) from error
        stream = _ResponseStream(response, request, read_timeout)
        return httpx.Response(response.status, headers=response.headers, stream=stream, request=request)

    async def aclose(self) -> None:
        """Close the idle connections. Running exchanges go on, and close theirs at their end."""
        self._closed = True
        for connection in list(self._idle):
            self._expire(connection)

    def release(self, connection: OriginConnection) -> None:
        """Keep a connection for the next exchange, for a while."""
        if self._closed or len(self._idle) >= MAX_IDLE_CONNECTIONS:
            connection.abort()
            return
        self._idle[connection] = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._expire, connection)

    async def _acquire(self, *, fresh: bool) -> tuple[OriginConnection, bool]:
        """Return a connection, the one used last first unless a fresh one is wanted, and whether it was used before."""
        while self._idle and not fresh:
            connection, expiry = self._idle.popitem()
            expiry.cancel()
            if connection.is_open:
                return connection, True
            connection.abort()
        try:
            async with asyncio.timeout(self._upstream.connect_timeout):
                return await self._connect(), False
        except TimeoutError:
            raise OriginConnectError(f"{self._upstream.host}: no connection within its deadline") from None

    async def _connect(self) -> OriginConnection:
        upstream = self._upstream
        sock = await self._dialer.dial(upstream.host, upstream.port)
        connection = OriginConnection()
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: connection,
                sock=sock,
                ssl=self._tls_context,
                server_hostname=upstream.tls.server_name if upstream.tls else None,
            )
        except BaseException as error:
            if connection.is_made:
                connection.abort()  # its transport owns the socket: closing that here would free a number in use
            else:
                sock.close()
            if isinstance(error, OSError) and not isinstance(error, TimeoutError):
                raise OriginConnectError(f"{upstream.host}: {tls_failure(error)}") from error
            raise
        return connection

    def _expire(self, connection: OriginConnection) -> None:
        if expiry := self._idle.pop(connection, None):
            expiry.cancel()
        connection.abort()


async def _upload(connection: OriginConnection, body: AsyncIterator[bytes], *, chunked: bool) -> None:
    """Send the body while the answer is awaited or already read."""
    try:
        async for part in body:
            if part:
                await connection.send(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
        if chunked:
            await connection.send(b"0\r\n\r\n")
    except OriginWriteError:
        return  # the origin stopped reading: its answer, or the lack of one, tells why
    except Exception as error:  # noqa: BLE001  handed to whoever reads the answer
        connection.fail(error)


def _request_head(method: str, target: str, headers: RawHeaders) -> bytes:
    lines = [f"{method} {target} HTTP/1.1".encode("ascii")]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


class _ResponseStream(httpx.AsyncByteStream):
    def __init__(self, response: OriginResponse, request: httpx.Request, read_timeout: float | None) -> None:
        self._response = response
        self._request = request
        self._read_timeout = read_timeout

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            try:
                async with asyncio.timeout(self._read_timeout):
                    part = await self._response.read()
            except (OriginError, TimeoutError) as error:
                raise _as_httpx_error(error, self._request) from error
            if not part:
                return
            yield part

    async def aclose(self) -> None:
        self._response.close()


def _as_httpx_error(error: OriginError | TimeoutError, request: httpx.Request) -> httpx.TransportError:
    match error:
        case OriginConnectError():
            return httpx.ConnectError(str(error), request=request)
        case TimeoutError():
            return httpx.ReadTimeout("no answer within the read timeout", request=request)
        case _:
            return httpx.RemoteProtocolError(str(error), request=request)
