"""The part of a request's body that policy reads: kept aside, then passed on in front of the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.attributes import MAX_BODY_BYTES
from middleware.context import CONTEXT
from middleware.errors import DownstreamClosedError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from middleware.context import RequestContext


@dataclass(frozen=True, slots=True)
class BodyMiddleware:
    """Read up to 2 MiB of the body where an expression of the route names it; other routes are not touched."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context: RequestContext = scope[CONTEXT]
        route, attributes = context.routed()
        if not route.reads_body:
            await self.app(scope, receive, send)
            return
        parts: list[bytes] = []
        size, more = 0, True
        while more and size <= MAX_BODY_BYTES:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise DownstreamClosedError("the caller left within its request")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            context.bytes_in = size
            more = message.get("more_body", False)
        read = b"".join(parts)
        attributes.body = read[:MAX_BODY_BYTES]
        attributes.body_is_whole = not more and size <= MAX_BODY_BYTES
        kept: Message | None = {"type": "http.request", "body": read, "more_body": more}

        async def replay() -> Message:
            nonlocal kept
            if kept is not None:
                message, kept = kept, None
                context.bytes_in = 0  # whoever is handed this counts it
                return message
            return await receive()

        await self.app(scope, replay, send)
