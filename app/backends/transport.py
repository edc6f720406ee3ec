"""The transport of the hot path: a lean exchange with one upstream, and httpx's interface on it."""

from __future__ import annotations

import asyncio
from types import MappingProxyType
from typing import TYPE_CHECKING

import httpx

from app.backends.connection import READ_BUFFER_BYTES
from app.backends.errors import (
    OriginConnectError,
    OriginConnectTimeoutError,
    OriginError,
    OriginPoolTimeoutError,
    OriginProtocolError,
    OriginReadTimeoutError,
    OriginRequestError,
    OriginWriteError,
    OriginWriteTimeoutError,
)
from app.backends.pool import ConnectionPool

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping

    from app.backends.connection import OriginConnection
    from app.backends.dial import Dialer
    from app.backends.response import ResponseReader
    from config.attributes import RawHeaders
    from config.policy.upstream import Upstream

_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Safe methods (RFC 9110 section 9.2.1): sent again if a connection that was idle turns out to be dead."""
_NO_TIMEOUTS: Mapping[str, float | None] = MappingProxyType({})
_CONTROLS = bytes({*range(32), 127} - {9})
"""What may not stand in a field or a target, CR and LF among them (RFC 9110 section 5.5)."""


class OriginResponse:
    """The answer to one exchange: its head, then its body in parts. Must be closed."""

    __slots__ = ("_connection", "_pool", "_response", "_upload", "fields", "headers", "status")

    def __init__(
        self,
        pool: ConnectionPool,
        connection: OriginConnection,
        response: ResponseReader,
        upload: asyncio.Task[None] | None,
    ) -> None:
        self.status = response.status
        self.headers = response.headers
        """Names lower-cased, as the origin sent them."""
        self.fields = response.fields
        """The same by name, the last one of several."""
        self._pool = pool
        self._connection = connection
        self._response = response
        self._upload = upload

    @property
    def endpoint(self) -> str:
        """Address and port that was dialled."""
        return self._connection.endpoint

    @property
    def has_ended(self) -> bool:
        """Whether the answer is complete and all of its body was taken."""
        return self._response.is_complete and not self._response.body_bytes

    def take(self) -> bytes:
        """Return the part of the body that has come, empty if none has."""
        return self._connection.take_body()

    async def wait(self) -> None:
        """Wait for something to take, or the end.

        Raises:
            OriginProtocolError: the body is cut short.

        """
        await self._connection.wait_body()

    async def read(self) -> bytes:
        """Return the next part of the body; empty at its end.

        Raises:
            OriginProtocolError: it is cut short.

        """
        return await self._connection.read_body()

    def close(self) -> None:
        """End the exchange. The connection is kept only if both directions came to a clean end."""
        sent = self._upload is None or self._upload.done()
        if self._upload is not None:
            self._upload.cancel()
        if sent and self._connection.is_reusable:
            self._pool.release(self._connection)
        else:
            self._connection.abort()


class OriginTransport(httpx.AsyncBaseTransport):
    """Exchanges with one upstream.

    `exchange` is what the gateway uses: raw header lists in and out, no copies. `handle_async_request` is the same
    behind httpx's interface, for everything that is not the hot path.
    """

    def __init__(
        self, upstream: Upstream, dialer: Dialer, tls_context: ssl.SSLContext | None, buffer: bytearray | None = None
    ) -> None:
        """Prepare; nothing is connected before the first exchange.

        Args:
            upstream: the origin.
            dialer: what opens TCP connections.
            tls_context: how the origin's certificate is verified; none for an upstream in plain text.
            buffer: what connections read into; the transports of one event loop may share it.

        """
        if (upstream.tls is None) != (tls_context is None):
            raise ValueError("a TLS upstream needs a TLS context, and a plain one must not have one")
        self._upstream = upstream
        self._pool = ConnectionPool(upstream, dialer, tls_context, buffer or bytearray(READ_BUFFER_BYTES))

    async def exchange(
        self,
        method: str,
        target: str,
        headers: RawHeaders,
        body: AsyncIterator[bytes] | None = None,
        timeouts: Mapping[str, float | None] = _NO_TIMEOUTS,
    ) -> OriginResponse:
        """Send a request and return its answer once the head is there; the body goes on being sent meanwhile.

        Args:
            method: request method.
            target: origin-form target, sent as it is.
            headers: every field to send, `Host` and framing included.
            body: parts of the body, sent in chunks if the headers say `transfer-encoding`; none if there is no body.
            timeouts: seconds by httpx's names: `pool` and `connect` in place of the upstream's, `write` for each part
                of the body, `read` from the end of the request to the answer's head.

        Raises:
            OriginConnectError: no connection could be had; nothing was sent.
            OriginRequestError: a field or the target would break HTTP; nothing was sent.
            OriginProtocolError: the origin broke HTTP.
            OriginReadTimeoutError, OriginWriteTimeoutError: it did not answer, or take a part of the body, in time.
            Exception: whatever `body` raised.

        """
        head = _request_head(method, target, headers)
        retried = False
        while True:
            connection = None if retried else self._pool.take()
            reused = connection is not None
            if connection is None:
                connection, reused = await self._pool.acquire(
                    fresh=retried, pool_timeout=timeouts.get("pool"), connect_timeout=timeouts.get("connect")
                )
            upload: asyncio.Task[None] | None = None
            sent = False
            try:
                response = connection.begin(method)
                connection.write(head)
                sent = True
                if body is not None:
                    chunked = any(name == b"transfer-encoding" for name, _ in headers)
                    upload = asyncio.create_task(_upload(connection, body, timeouts.get("write"), chunked=chunked))
                if read := timeouts.get("read"):
                    await _read_head(connection, upload, read)
                else:
                    await connection.read_head()
                return OriginResponse(self._pool, connection, response, upload)
            except BaseException as error:
                if upload is not None:
                    upload.cancel()
                connection.abort()
                stale = reused and not retried and isinstance(error, OriginProtocolError)
                unseen = not sent or (body is None and method in _REPEATABLE and not connection.has_answered)
                if not (stale and unseen):
                    raise
                # The origin had closed an idle connection: that was no answer to this request. Once is enough: one that
                # closes because of this request would be sent it again for every idle connection.
                retried = True

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send an httpx request. Its four timeouts are kept, and errors come as httpx's own."""
        origin = (request.url.host, request.url.port or (443 if request.url.scheme == "https" else 80))
        if origin != (self._upstream.host, self._upstream.port):
            raise httpx.UnsupportedProtocol("this transport has one origin only", request=request)
        headers = [(name.lower(), value) for name, value in request.headers.raw]
        framed = any(name in {b"content-length", b"transfer-encoding"} for name, _ in headers)
        body = aiter(request.stream) if framed and isinstance(request.stream, httpx.AsyncByteStream) else None
        target = request.url.raw_path.decode("ascii")
        timeouts: Mapping[str, float | None] = request.extensions.get("timeout", {})
        try:
            response = await self.exchange(request.method, target, headers, body, timeouts)
        except OriginError as error:
            raise _as_httpx_error(error, request) from error
        stream = _ResponseStream(response, request, timeouts.get("read"))
        return httpx.Response(response.status, headers=response.headers, stream=stream, request=request)

    async def aclose(self) -> None:
        """Close the idle connections. Running exchanges go on, and close theirs at their end."""
        self._pool.close()


def _request_head(method: str, target: str, headers: RawHeaders) -> bytes:
    head = b"\r\n".join([f"{method} {target} HTTP/1.1".encode("ascii"), *map(b": ".join, headers), b"\r\n"])
    # Whoever made the fields has checked them; one that slipped through would be a request of somebody else's.
    if len(head) - len(head.translate(None, _CONTROLS)) != 2 * (len(headers) + 2):
        raise OriginRequestError("a header field or the target holds a control character")
    return head


async def _read_head(connection: OriginConnection, upload: asyncio.Task[None] | None, read_timeout: float) -> None:
    """Wait for the head, with a limit that begins once the request is sent."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(read_timeout if upload is None else None) as deadline:
            if upload is not None:
                upload.add_done_callback(lambda _: deadline.reschedule(loop.time() + read_timeout))
            await connection.read_head()
    except TimeoutError:
        raise OriginReadTimeoutError("no answer within the read timeout") from None


async def _upload(
    connection: OriginConnection, body: AsyncIterator[bytes], write_timeout: float | None, *, chunked: bool
) -> None:
    """Send the body while the answer is awaited or already read."""
    try:
        async for part in body:
            if part:
                data = b"%x\r\n%b\r\n" % (len(part), part) if chunked else part
                async with asyncio.timeout(write_timeout):
                    await connection.send(data)
        if chunked:
            connection.write(b"0\r\n\r\n")
    except OriginWriteError:
        return  # the origin stopped reading: its answer, or the lack of one, tells why
    except TimeoutError:
        connection.fail(OriginWriteTimeoutError("the origin does not take the request's body"))
    except Exception as error:  # noqa: BLE001  handed to whoever reads the answer
        connection.fail(error)


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
            except TimeoutError as error:
                raise httpx.ReadTimeout("no answer within the read timeout", request=self._request) from error
            except OriginError as error:
                raise _as_httpx_error(error, self._request) from error
            if not part:
                return
            yield part

    async def aclose(self) -> None:
        self._response.close()


_HTTPX_ERRORS: tuple[tuple[type[OriginError], type[httpx.TransportError]], ...] = (
    (OriginConnectTimeoutError, httpx.ConnectTimeout),
    (OriginPoolTimeoutError, httpx.PoolTimeout),
    (OriginConnectError, httpx.ConnectError),
    (OriginReadTimeoutError, httpx.ReadTimeout),
    (OriginWriteTimeoutError, httpx.WriteTimeout),
    (OriginWriteError, httpx.WriteError),
    (OriginRequestError, httpx.LocalProtocolError),
    (OriginError, httpx.RemoteProtocolError),
)


def _as_httpx_error(error: OriginError, request: httpx.Request) -> httpx.TransportError:
    kind = next(theirs for ours, theirs in _HTTPX_ERRORS if isinstance(error, ours))
    return kind(str(error), request=request)
