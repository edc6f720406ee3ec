"""Header rewriting: what the origin is told, and what it is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from middleware.context import CONTEXT

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from middleware.context import RequestContext


@dataclass(frozen=True, slots=True)
class HeaderRewriteMiddleware:
    """Apply the route's `transformation.request` to the headers that go to the origin."""

    app: ASGIApp

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        context: RequestContext = scope[CONTEXT]
        route, attributes = context.routed()
        if route.request_headers is not None:
            context.headers = route.request_headers.apply(context.headers, attributes)
        return self.app(scope, receive, send)
