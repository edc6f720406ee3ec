"""Preflights are answered here; every other answer tells browsers which pages may read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.policy.cors import InvalidOriginError, Origin, origin_of
from middleware.answers import send_empty_answer
from middleware.context import CONTEXT

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from middleware.context import RequestContext

_OK = 200
_OWN = b"access-control-"
_METHOD, _HEADERS = b"access-control-request-method", b"access-control-request-headers"


@dataclass(frozen=True, slots=True)
class CorsMiddleware:
    """Apply the route's `cors`.

    It stands before authentication and authorization, as a browser sends a preflight without credentials. What the
    origin itself says of CORS is dropped: policy alone decides.
    """

    app: ASGIApp

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        context: RequestContext = scope[CONTEXT]
        cors = context.routed()[0].cors
        if cors is None:
            return self.app(scope, receive, send)
        fields = context.fields
        origin = _origin(scope)
        value = fields.get(b"origin")
        if value is not None and scope["method"] == "OPTIONS" and (method := fields.get(_METHOD)):
            headers = cors.preflight(origin, value, method, fields.get(_HEADERS, b""))
            return send_empty_answer(context, send, _OK, headers)
        context.queued_headers = (context.queued_headers or []) + cors.answer(origin, value or b"")
        return self.app(scope, receive, _without_cors(send))


def _origin(scope: Scope) -> Origin | None:
    """Return the one origin that a request states; none, which is never allowed, where it cannot be told."""
    try:
        return origin_of(scope["headers"])
    except InvalidOriginError:
        return None


def _without_cors(send: Send) -> Send:
    async def send_without_cors(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [pair for pair in message["headers"] if not pair[0].startswith(_OWN)]
            message = {**message, "headers": headers}
        await send(message)

    return send_without_cors
