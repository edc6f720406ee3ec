"""A request's body, held until it is whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from middleware.context import CONTEXT
from middleware.errors import PayloadTooLargeError
from middleware.messages import IDLE_SECONDS, put_back, read_body

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from config.policy.body import BodyBuffer
    from middleware.context import RequestContext


@dataclass(frozen=True, slots=True)
class BufferMiddleware:
    """Read the whole body of a request before it goes on, where the route's `buffer.request` says so.

    The origin is then told its length, whatever its framing was. A body that is declared too large is refused unread.
    """

    app: ASGIApp
    idle_seconds: float = IDLE_SECONDS

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        context: RequestContext = scope[CONTEXT]
        route, _ = context.routed()
        buffer = route.buffer.request if route.buffer is not None else None
        if buffer is None or not (context.chunked or context.content_length):
            return self.app(scope, receive, send)
        if context.content_length is not None and context.content_length > buffer.max_bytes:
            if buffer.fails_open:
                return self.app(scope, receive, send)
            raise PayloadTooLargeError(f"a body of {context.content_length} bytes where {buffer.max_bytes} may be")
        return self._hold(scope, receive, send, buffer)

    async def _hold(self, scope: Scope, receive: Receive, send: Send, buffer: BodyBuffer) -> None:
        context: RequestContext = scope[CONTEXT]
        read, more = await read_body(receive, context, buffer.max_bytes, self.idle_seconds)
        if len(read) > buffer.max_bytes and not buffer.fails_open:
            raise PayloadTooLargeError(f"a body of more than {buffer.max_bytes} bytes")
        if not more:
            context.content_length, context.chunked = len(read), False
        await self.app(scope, put_back(read, receive, context, more=more), send)
