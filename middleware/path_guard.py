"""May this path be asked for? The Deny rules that read it, on exactly the path that would be forwarded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from middleware.context import CONTEXT
from middleware.errors import AuthorizationDeniedError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from middleware.context import RequestContext


@dataclass(frozen=True, slots=True)
class PathGuardMiddleware:
    """Stop a request for a path that a Deny rule refuses."""

    app: ASGIApp

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        context: RequestContext = scope[CONTEXT]
        route, attributes = context.routed()
        refusal = route.authorization.guard_path(attributes)
        if refusal is None and context.decoded is not None and (other := context.other_reading()) is not None:
            refusal = route.authorization.guard_path(other)
        if refusal is not None:
            context.decision = refusal
            raise AuthorizationDeniedError(refusal.explanation)
        return self.app(scope, receive, send)
