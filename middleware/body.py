"""The part of a request's body that policy reads: kept aside, then passed on in front of the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.attributes import MAX_BODY_BYTES
from middleware.context import CONTEXT
from middleware.messages import IDLE_SECONDS, put_back, read_body

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from middleware.context import RequestContext


@dataclass(frozen=True, slots=True)
class BodyMiddleware:
    """Read up to 2 MiB of the body where an expression of the route names it; other routes are not touched."""

    app: ASGIApp
    idle_seconds: float = IDLE_SECONDS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context: RequestContext = scope[CONTEXT]
        route, attributes = context.routed()
        if not route.reads_body:
            await self.app(scope, receive, send)
            return
        read, more = await read_body(receive, context, MAX_BODY_BYTES, self.idle_seconds)
        attributes.body = read[:MAX_BODY_BYTES]
        attributes.body_is_whole = not more and len(read) <= MAX_BODY_BYTES
        await self.app(scope, put_back(read, receive, context, more=more), send)
