"""Latency put in before a request goes on."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from middleware.context import CONTEXT
from middleware.errors import DownstreamClosedError, RequestTimeoutError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from middleware.context import RequestContext


@dataclass(frozen=True, slots=True)
class DelayMiddleware:
    """Let a request wait as its route's `delay` says.

    The wait ends when the caller leaves, where the listener tells, and with the route's time for an answer
    (`timeouts.request`).
    """

    app: ASGIApp

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        context: RequestContext = scope[CONTEXT]
        route, attributes = context.routed()
        seconds = route.delay.seconds(attributes) if route.delay is not None else 0.0
        if not seconds:
            return self.app(scope, receive, send)
        return self._wait(scope, receive, send, seconds)

    async def _wait(self, scope: Scope, receive: Receive, send: Send, seconds: float) -> None:
        context: RequestContext = scope[CONTEXT]
        limit = context.routed()[0].timeout
        left = math.inf if limit is None else limit - (time.perf_counter() - context.started)
        if await _is_left_within(min(seconds, max(left, 0.0)), context):
            raise DownstreamClosedError("the caller left while its request was delayed")
        if left <= seconds:
            raise RequestTimeoutError("the delay took all of the time for an answer")
        await self.app(scope, receive, send)


async def _is_left_within(seconds: float, context: RequestContext) -> bool:
    """Wait, and tell whether the caller left meanwhile. `receive` would tell too, but take the body with it."""
    departure = context.connection.departure
    if departure is None:
        await asyncio.sleep(seconds)
        return False
    if departure.has_happened:
        return True
    left = asyncio.Event()
    departure.callback = left.set
    try:
        async with asyncio.timeout(seconds):
            await left.wait()
    except TimeoutError:
        return False
    finally:
        departure.callback = None
    return True
