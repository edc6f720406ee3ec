"""The transport of the hot path: HTTP/1.1 exchanges with one upstream."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from app.backends.connection import READ_BUFFER_BYTES
from app.backends.errors import (
    OriginProtocolError,
    OriginRequestError,
    OriginWriteError,
    OriginWriteTimeoutError,
)
from app.backends.exchange import NO_TIMEOUTS, REPEATABLE, Transport, head_in_time
from app.backends.pool import ConnectionPool
from middleware.framing import BrokenHeadError, written_head

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping

    from app.backends.connection import OriginConnection
    from app.backends.dial import Dialer
    from app.backends.response import ResponseReader
    from config.attributes import RawHeaders
    from config.policy.upstream import Upstream


class OriginResponse:
    """The answer to one exchange, as `app.backends.exchange.Response` describes it."""

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
        self.fields = response.fields
        self._pool = pool
        self._connection = connection
        self._response = response
        self._upload = upload

    @property
    def endpoint(self) -> str:
        return self._connection.endpoint

    @property
    def has_ended(self) -> bool:
        return self._response.is_complete and not self._response.body_bytes

    def take(self) -> bytes:
        return self._connection.take_body()

    async def wait(self) -> None:
        await self._connection.wait_body()

    async def read(self) -> bytes:
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


class OriginTransport(Transport):
    """Exchanges over HTTP/1.1, one at a time on each connection of a pool."""

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
        super().__init__(upstream)
        self._pool = ConnectionPool(upstream, dialer, tls_context, buffer or bytearray(READ_BUFFER_BYTES))

    async def exchange(
        self,
        method: str,
        target: str,
        headers: RawHeaders,
        body: AsyncIterator[bytes] | None = None,
        timeouts: Mapping[str, float | None] = NO_TIMEOUTS,
    ) -> OriginResponse:
        try:
            head = written_head(f"{method} {target} HTTP/1.1".encode("ascii"), headers)
        except BrokenHeadError as error:
            raise OriginRequestError(str(error)) from None
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
                    await head_in_time(connection.read_head(), upload, read)
                else:
                    await connection.read_head()
                return OriginResponse(self._pool, connection, response, upload)
            except BaseException as error:
                if upload is not None:
                    upload.cancel()
                connection.abort()
                stale = reused and not retried and isinstance(error, OriginProtocolError)
                unseen = not sent or (body is None and method in REPEATABLE and not connection.has_answered)
                if not (stale and unseen):
                    raise
                # The origin had closed an idle connection: that was no answer to this request. Once is enough: one that
                # closes because of this request would be sent it again for every idle connection.
                retried = True

    @property
    def is_idle(self) -> bool:
        return self._pool.is_idle

    def close(self) -> None:
        self._pool.close()


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
