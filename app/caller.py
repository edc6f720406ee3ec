"""The caller's side of one request: its body, whether it is still there, and how long it keeps others waiting."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from middleware.errors import CallerIdleError, DownstreamClosedError, UpstreamAbortedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive

    from middleware.context import RequestContext

LOOKS = 8
"""How often within the limit waits are looked at: one is ended at most an eighth of it too late."""


class IdleWatch:
    """Ends exchanges in which a body stands still for too long.

    One timer for all of them, which compares times: one for each read would cost more than the read.
    """

    def __init__(self, limit: float) -> None:
        """Prepare.

        Args:
            limit: seconds that one side may keep the other waiting.

        """
        self.limit = limit
        self.callers: set[Caller] = set()
        """Those that are looked after."""
        self.timer: asyncio.TimerHandle | None = None
        """None: nobody looks."""

    def start(self) -> None:
        """Look from now on, until there is nobody to look after."""
        self.timer = asyncio.get_running_loop().call_later(self.limit / LOOKS, self._look)

    def close(self) -> None:
        """Look no more."""
        if self.timer is not None:
            self.timer.cancel()

    def _look(self) -> None:
        now = monotonic()
        for caller in list(self.callers):
            caller.end_if_idle(now, self.limit)
        self.timer = None
        if self.callers:
            self.start()


class Caller:
    """The caller of one request. Must be closed."""

    __slots__ = (
        "_asked_at",
        "_asking",
        "_context",
        "_departure",
        "_ending",
        "_idle",
        "_receive",
        "_task",
        "_watch",
        "awaiting_since",
        "sending_since",
    )

    def __init__(self, receive: Receive, context: RequestContext, idle: IdleWatch) -> None:
        self._receive = receive
        self._context = context
        self._watch: asyncio.Task[None] | None = None
        self._ending: Exception | None = None
        """Why this side has cancelled the request."""
        self._asking = False
        """Whether a part of the request's body is being waited for."""
        self._asked_at = 0.0
        """When a part of the request's body was last asked for, or came."""
        self.awaiting_since: float | None = None
        """Since when a part of the answer's body is being waited for; `time.monotonic`."""
        self.sending_since: float | None = None
        """Since when the caller is being handed a part of its answer, which waits while it does not read."""
        # Our own listeners call back, at any moment: while an upload waits for the origin nobody asks `receive`.
        self._departure = departure = context.connection.departure
        if departure is not None:
            departure.callback = self._leave
        self._task = (departure and departure.task) or asyncio.current_task()
        self._idle = idle
        idle.callers.add(self)
        if idle.timer is None:
            idle.start()

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the body's parts as they come; afterwards listen for the end of the connection."""
        more = True
        while more:
            self._asked_at, self._asking = monotonic(), True
            message = await self._receive()
            self._asked_at, self._asking = monotonic(), False
            if message["type"] == "http.disconnect":
                raise DownstreamClosedError("the caller left within its request")
            part: bytes = message.get("body", b"")
            self._context.bytes_in += len(part)
            more = message.get("more_body", False)
            yield part
        self.watch()

    def watch(self) -> None:
        """Cancel this request when the caller leaves, where only `receive` tells."""
        if self._departure is None:
            self._watch = asyncio.create_task(self._until_gone())

    def end_if_idle(self, now: float, limit: float) -> None:
        """End the request where one side has kept the other waiting for the limit. Both in seconds."""
        if self._asking and now - self._asked_at >= limit:
            self._end(CallerIdleError(f"the caller sent nothing of its body for {limit:g} s"))
        elif self.sending_since is not None and now - self.sending_since >= limit:
            self._end(CallerIdleError(f"the caller did not read its answer for {limit:g} s"))
        # While the caller still sends, an origin that answered early may be waiting for the rest.
        elif self.awaiting_since is not None and now - max(self.awaiting_since, self._asked_at) >= limit:
            self._end(UpstreamAbortedError(f"the origin sent nothing of its body for {limit:g} s"))

    def listen_no_more(self) -> None:
        """Take no departure for one: the server reports the end of its own answer as a disconnect."""
        if self._departure is not None:
            self._departure.callback = None
        if self._watch is not None:
            self._watch.cancel()

    def close(self) -> None:
        """Let go of the request."""
        self._idle.callers.discard(self)
        if self._departure is not None:
            self._departure.callback = None
        if self._watch is not None:
            self._watch.cancel()

    def reraise(self) -> None:
        """Turn a cancellation that came from here into what it means."""
        if self._ending is not None and self._task is not None and self._task.uncancel() == 0:
            raise self._ending from None

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        self._end(DownstreamClosedError("the caller left before its answer was complete"))

    def _end(self, error: Exception) -> None:
        if self._ending is None:
            self._ending = error
            if self._task is not None:
                self._task.cancel()
