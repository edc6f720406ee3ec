"""Answers that the operator wrote: no backend is called for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.cel import EvaluationError
from config.policy.conditional import UnusableConditionError
from config.policy.headers import DECISION_ID
from middleware.context import CONTEXT
from middleware.errors import GatewayError
from middleware.framing import NO_CONTENT, NO_LENGTH
from middleware.moments import http_date

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from config.attributes import RawHeaders
    from config.policy.direct_response import DirectResponse
    from middleware.context import RequestContext


@dataclass(frozen=True, slots=True)
class DirectResponseMiddleware:
    """Answer a request as its route's `directResponse` says, if one of its conditions holds."""

    app: ASGIApp

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        context: RequestContext = scope[CONTEXT]
        route, attributes = context.routed()
        if route.direct_response is None:
            return self.app(scope, receive, send)
        try:
            answer = route.direct_response.answers.select(attributes)
        except UnusableConditionError as error:
            raise GatewayError(f"directResponse: {error}") from None
        if answer is None:
            return self.app(scope, receive, send)
        return _answer(answer, scope, send)


async def _answer(answer: DirectResponse, scope: Scope, send: Send) -> None:
    context: RequestContext = scope[CONTEXT]
    _, attributes = context.routed()
    try:
        body = b"" if answer.status in NO_CONTENT else answer.content(attributes)
    except EvaluationError as error:
        raise GatewayError(f"the bodyExpression of the direct response failed: {error}") from None
    headers = answer.fields(attributes)
    own: RawHeaders = [(DECISION_ID, context.decision_id.encode())]
    if not any(name == b"date" for name, _ in headers):
        own.append((b"date", http_date()))
    if answer.status not in NO_LENGTH:
        own.append((b"content-length", b"%d" % len(body)))
    if scope["method"] == "HEAD":
        body = b""
    context.status, context.bytes_out = answer.status, len(body)
    await send({"type": "http.response.start", "status": answer.status, "headers": [*headers, *own]})
    await send({"type": "http.response.body", "body": body})
