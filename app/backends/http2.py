"""HTTP/2 to one upstream: few connections that each carry many exchanges."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from app.backends.connection import READ_BUFFER_BYTES
from app.backends.errors import (
    OriginConnectError,
    OriginConnectTimeoutError,
    OriginPoolTimeoutError,
    OriginProtocolError,
    OriginRefusedError,
    OriginWriteError,
    OriginWriteTimeoutError,
)
from app.backends.exchange import NO_TIMEOUTS, REPEATABLE, Transport, head_in_time
from app.backends.http2_connection import Http2Connection
from app.backends.http2_stream import Http2Stream, request_fields
from app.backends.opening import reach, secure
from app.backends.pool import IDLE_SECONDS, MAX_AGE_SECONDS

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping

    from app.backends.dial import Dialer
    from config.attributes import RawHeaders
    from config.policy.upstream import Upstream

MAX_CONNECTIONS = 16
"""Connections to one upstream, or fewer where it says so: another one is made once all of them are full."""
_MOST_TRIES = 4
"""Of a request that meets connections which their origin is about to leave: each new one may be as full as that."""


class Http2Response:
    """The answer to one exchange, as `app.backends.exchange.Response` describes it."""

    __slots__ = ("_stream", "_upload", "fields", "headers", "status")

    def __init__(self, stream: Http2Stream, upload: asyncio.Task[None] | None) -> None:
        self.status = stream.status
        self.headers = stream.headers
        self.fields = stream.fields
        self._stream = stream
        self._upload = upload

    @property
    def endpoint(self) -> str:
        return self._stream.connection.endpoint

    @property
    def has_ended(self) -> bool:
        return self._stream.has_ended

    def take(self) -> bytes:
        return self._stream.take()

    async def wait(self) -> None:
        await self._stream.wait()

    async def read(self) -> bytes:
        await self._stream.wait()
        return self._stream.take()

    def close(self) -> None:
        """End the exchange. What has not come to its end is reset; the connection goes on."""
        if self._upload is not None:
            self._upload.cancel()
        self._stream.connection.release(self._stream)


class Http2Transport(Transport):
    """Exchanges over HTTP/2. Beyond what the connections take, callers wait and are served in their order."""

    def __init__(
        self, upstream: Upstream, dialer: Dialer, tls_context: ssl.SSLContext | None, buffer: bytearray | None = None
    ) -> None:
        """Prepare; nothing is connected before the first exchange.

        Args:
            upstream: the origin.
            dialer: what opens TCP connections.
            tls_context: how the origin's certificate is verified, and that `h2` is asked for.
            buffer: what connections read into; the transports of one event loop may share it.

        """
        if upstream.tls is None or tls_context is None:
            raise ValueError("HTTP/2 needs TLS")
        super().__init__(upstream)
        self._dialer = dialer
        self._tls_context = tls_context
        self._buffer = buffer or bytearray(READ_BUFFER_BYTES)
        self._connections: list[Http2Connection] = []
        self._waiting: deque[asyncio.Future[Http2Connection]] = deque()
        self._opening: asyncio.Task[None] | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def is_idle(self) -> bool:
        return not self._waiting and self._opening is None and all(c.is_idle for c in self._connections)

    async def exchange(
        self,
        method: str,
        target: str,
        headers: RawHeaders,
        body: AsyncIterator[bytes] | None = None,
        timeouts: Mapping[str, float | None] = NO_TIMEOUTS,
    ) -> Http2Response:
        fields = request_fields(method, target, headers)
        tries = 0
        while True:
            tries += 1
            connection = await self._reserve(timeouts)
            connection.reserved -= 1
            reused, received = connection.began > 0, connection.received_bytes
            stream: Http2Stream | None = None
            upload: asyncio.Task[None] | None = None
            try:
                stream = connection.begin(method, fields, has_body=body is not None)
                if body is not None:
                    upload = asyncio.create_task(_upload(stream, body, timeouts.get("write")))
                if read := timeouts.get("read"):
                    await head_in_time(stream.read_head(), upload, read)
                else:
                    await stream.read_head()
                return Http2Response(stream, upload)
            except BaseException as error:
                if upload is not None:
                    upload.cancel()
                if stream is not None:
                    connection.release(stream)
                # Either the origin says that it has not looked at the request, or it had closed an idle connection.
                refused = isinstance(error, OriginRefusedError) and tries < (
                    _MOST_TRIES if connection.is_retiring else 2
                )
                stale = reused and connection.is_closed and connection.received_bytes == received
                lost = isinstance(error, OriginProtocolError) and stale and method in REPEATABLE and tries == 1
                if body is not None or not (refused or lost):
                    raise

    def close(self) -> None:
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for connection in list(self._connections):
            connection.retire()

    async def _reserve(self, timeouts: Mapping[str, float | None]) -> Http2Connection:
        """Return a connection with a place on it that is the caller's."""
        if not self._waiting and (free := self._with_room()) is not None:
            free.reserved += 1
            return free
        seconds = timeouts.get("pool") if self._connections else timeouts.get("connect")
        waiter: asyncio.Future[Http2Connection] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._open_another()
        try:
            async with asyncio.timeout(self._upstream.connect_timeout if seconds is None else seconds):
                return await waiter
        except BaseException as error:
            if not waiter.done() or waiter.cancelled():
                if waiter in self._waiting:
                    self._waiting.remove(waiter)
            elif waiter.exception() is None:  # it came as the caller left: it is the next one's
                waiter.result().reserved -= 1
                self._changed(waiter.result())
            if isinstance(error, TimeoutError):
                raise self._too_late() from None
            raise

    def _too_late(self) -> OriginConnectError:
        host = self._upstream.host
        if self._connections:
            return OriginPoolTimeoutError(f"{host}: all of its {len(self._connections)} connections are full")
        return OriginConnectTimeoutError(f"{host}: no connection within its deadline")

    def _with_room(self) -> Http2Connection | None:
        for connection in self._connections:
            if connection.has_room:
                if connection.loop.time() - connection.made_at <= MAX_AGE_SECONDS:
                    return connection
                connection.retire()
                return self._with_room()  # which has changed the list
        return None

    def _open_another(self) -> None:
        limit = min(self._upstream.max_connections, MAX_CONNECTIONS)
        if self._opening is None and self._waiting and len(self._connections) < limit:
            self._opening = asyncio.create_task(self._open())

    async def _open(self) -> None:
        """Make a connection for those who wait; if that fails, and there is no other, they are told why."""
        host = self._upstream.host
        try:
            async with asyncio.timeout(self._upstream.connect_timeout):
                connection = await self._connect()
        except TimeoutError:
            failure: OriginConnectError = OriginConnectTimeoutError(f"{host}: no connection within its deadline")
        except OriginConnectError as error:
            failure = error
        except OriginProtocolError as error:
            failure = OriginConnectError(f"{host}: {error}")
        except Exception as error:  # noqa: BLE001  nobody may wait for ever
            failure = OriginConnectError(f"{host}: {type(error).__name__}")
        else:
            self._opening = None
            self._connections.append(connection)
            self._changed(connection)
            return
        self._opening = None
        if self._connections:
            return
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(type(failure)(str(failure)))

    async def _connect(self) -> Http2Connection:
        sock = await reach(self._dialer, self._upstream)
        connection = Http2Connection(self._buffer, self._changed)
        await secure(sock, connection, self._upstream, self._tls_context)
        try:
            connection.start()
            await connection.ready()
        except BaseException:
            connection.abort()
            raise
        return connection

    def _changed(self, connection: Http2Connection) -> None:
        """Look at a connection on which there may be more room than before, or which may have ended."""
        if connection not in self._connections:
            return  # still being made
        if connection.is_closed:
            self._connections.remove(connection)
        elif connection.is_idle and not self._waiting and (self._closed or connection.is_retiring):
            connection.abort()
            return
        while self._waiting and (free := self._with_room()) is not None:
            waiter = self._waiting.popleft()
            if not waiter.done():
                free.reserved += 1
                waiter.set_result(free)
        self._open_another()
        if self._sweeper is None and not self._closed and self._connections:
            self._sweeper = connection.loop.call_later(IDLE_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Close what has been idle for too long. One timer for all of them: a request sets none."""
        self._sweeper = None
        now = asyncio.get_running_loop().time()
        for connection in list(self._connections):
            if connection.is_idle and now - connection.idle_since >= IDLE_SECONDS:
                connection.abort()
        if self._connections and self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._sweep)


async def _upload(stream: Http2Stream, body: AsyncIterator[bytes], write_timeout: float | None) -> None:
    """Send the body while the answer is awaited or already read."""
    try:
        async for part in body:
            if part:
                async with asyncio.timeout(write_timeout):
                    await stream.connection.send(stream, part)
        stream.connection.finish(stream)
    except OriginWriteError:
        return  # the origin stopped reading: its answer, or the lack of one, tells why
    except TimeoutError:
        stream.fail(OriginWriteTimeoutError("the origin does not take the request's body"))
    except Exception as error:  # noqa: BLE001  handed to whoever reads the answer
        stream.fail(error)
