"""The connections to one upstream: how many there may be, who gets the next one, how long one is kept."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

from app.backends.connection import OriginConnection
from app.backends.errors import OriginConnectTimeoutError, OriginPoolTimeoutError
from app.backends.opening import reach, secure

if TYPE_CHECKING:
    import ssl

    from app.backends.dial import Dialer
    from config.policy.upstream import Upstream

IDLE_SECONDS = 60.0
"""How long a connection is kept for the next request."""
MAX_AGE_SECONDS = 600.0
"""From this age on a connection is not used again: the name may lead to other addresses by now."""


class ConnectionPool:
    """Hands out connections: the one used last first, so that those which are not needed grow old and end.

    Beyond `max_connections` of the upstream callers wait, and are served in the order in which they came.
    """

    def __init__(
        self, upstream: Upstream, dialer: Dialer, tls_context: ssl.SSLContext | None, buffer: bytearray
    ) -> None:
        self._upstream = upstream
        self._dialer = dialer
        self._tls_context = tls_context
        self._buffer = buffer
        self._idle: dict[OriginConnection, float] = {}
        """Idle connections with the event loop's time since when; the one used last stands last."""
        self._sweeper: asyncio.TimerHandle | None = None
        self._open = 0
        """Connections that are there or being made, and those whose place was given to somebody who waits."""
        self._waiting: OrderedDict[asyncio.Future[OriginConnection | None], None] = OrderedDict()
        """Callers beyond the limit. Each is given a connection, or the place to make one."""
        self._closed = False

    def take(self) -> OriginConnection | None:
        """Return the idle connection that was used last, if there is one."""
        while self._idle:
            connection, _ = self._idle.popitem()
            if connection.is_open:
                return connection
            connection.abort()
        return None

    async def acquire(
        self, *, fresh: bool = False, pool_timeout: float | None = None, connect_timeout: float | None = None
    ) -> tuple[OriginConnection, bool]:
        """Return a connection, and whether it was used before.

        Args:
            fresh: make a new one even if there are idle ones.
            pool_timeout: seconds to wait where there are as many connections as there may be; else the upstream's
                `connect_timeout`.
            connect_timeout: seconds for resolution, TCP and TLS together; else the upstream's.

        Raises:
            OriginConnectError: there is none, and why.

        """
        if not fresh and (idle := self.take()):
            return idle, True
        limit = self._upstream.max_connections
        if self._idle and self._open >= limit:
            next(iter(self._idle)).abort()
        while self._open >= limit:
            handed = await self._wait(self._upstream.connect_timeout if pool_timeout is None else pool_timeout)
            if handed is None:
                break
            if handed.is_open:
                return handed, True
        else:
            self._open += 1
        try:
            async with asyncio.timeout(self._upstream.connect_timeout if connect_timeout is None else connect_timeout):
                return await self._connect(), False
        except TimeoutError:
            raise OriginConnectTimeoutError(f"{self._upstream.host}: no connection within its deadline") from None

    def release(self, connection: OriginConnection) -> None:
        """Take a connection back that carries nothing any more: for whoever waits, or for a while."""
        loop = connection.loop
        now = loop.time()
        if self._closed or now - connection.made_at > MAX_AGE_SECONDS:
            connection.abort()
        elif not (self._waiting and self._hand(connection)):
            self._idle[connection] = now
            if self._sweeper is None:
                self._sweeper = loop.call_later(IDLE_SECONDS, self._sweep)

    def close(self) -> None:
        """Close the idle connections. The others end when they are given back."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._idle):
            connection.abort()

    @property
    def is_idle(self) -> bool:
        """Whether no exchange runs, begins or waits."""
        return self._open == len(self._idle)

    async def _wait(self, seconds: float) -> OriginConnection | None:
        """Wait for a connection, or for the place to make one."""
        waiter: asyncio.Future[OriginConnection | None] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = None
        try:
            async with asyncio.timeout(seconds):
                return await waiter
        except BaseException as error:
            self._waiting.pop(waiter, None)
            if waiter.done() and not waiter.cancelled():  # it came as the caller left: it is the next one's
                handed = waiter.result()
                if handed is None:
                    self._give_place()
                elif handed.is_open:
                    self.release(handed)
            if isinstance(error, TimeoutError):
                host, limit = self._upstream.host, self._upstream.max_connections
                raise OriginPoolTimeoutError(f"{host}: all {limit} connections are in use") from None
            raise

    def _hand(self, connection: OriginConnection | None) -> bool:
        """Hand a connection, or the place to make one, to whoever waits longest."""
        while self._waiting:
            waiter, _ = self._waiting.popitem(last=False)
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False

    def _give_place(self) -> None:
        if not self._hand(None):
            self._open -= 1

    async def _connect(self) -> OriginConnection:
        """Make a connection in a place that is the caller's."""
        try:
            sock = await reach(self._dialer, self._upstream)
        except BaseException:
            self._give_place()
            raise
        connection = OriginConnection(self._buffer, self._ended)
        await secure(sock, connection, self._upstream, self._tls_context)
        return connection

    def _ended(self, connection: OriginConnection) -> None:
        self._idle.pop(connection, None)
        self._give_place()

    def _sweep(self) -> None:
        """Close what has been idle for too long. One timer for all of them: a request sets none."""
        loop = asyncio.get_running_loop()
        self._sweeper = None
        for connection, since in list(self._idle.items()):
            left = since + IDLE_SECONDS - loop.time()
            if left > 0:
                self._sweeper = loop.call_later(left, self._sweep)
                return
            connection.abort()
