"""May this path be asked for? The Deny rules that read it, on exactly the path that would be forwarded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from middleware.context import request_context
from middleware.errors import AuthorizationDeniedError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


@dataclass(frozen=True, slots=True)
class PathGuardMiddleware:
    """Stop a request for a path that a Deny rule refuses."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = request_context(scope)
        route, attributes = context.routed()
        if refusal := route.authorization.guard_path(attributes):
            context.decision = refusal
            raise AuthorizationDeniedError(refusal.explanation)
        await self.app(scope, receive, send)
