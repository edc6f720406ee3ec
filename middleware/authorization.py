"""May this caller make this request? Every rule but the path guard's."""

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
class AuthorizationMiddleware:
    """Stop a request that its route's policy does not allow; its body is read before only where a rule names it."""

    app: ASGIApp

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        context: RequestContext = scope[CONTEXT]
        route, attributes = context.routed()
        context.decision = decision = route.authorization.authorize(attributes)
        if route.shadow is not None:
            context.shadow = route.shadow.would_deny(attributes)
        if context.decoded is not None and decision.allowed and (other := context.other_reading()) is not None:
            context.decision = decision = route.authorization.authorize(other)
        if not decision.allowed:
            raise AuthorizationDeniedError(decision.explanation)
        return self.app(scope, receive, send)
