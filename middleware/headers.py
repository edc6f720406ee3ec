"""Request rewriting: what the origin is asked and told, and what it is not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.cel import EvaluationError
from config.policy.body import without_description
from config.policy.normalisation import AmbiguousTargetError, parse_authority
from middleware.context import CONTEXT
from middleware.errors import GatewayError, InvalidRequestError
from middleware.messages import IDLE_SECONDS, discard_body, put_back
from middleware.rewritten_path import judge
from middleware.transformations import choose

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from config.policy.transformation import Transform, Transformation
    from middleware.context import RequestContext

_METHOD = re.compile(rb"[A-Z][A-Z-]{0,31}")
"""As strict as routing is with a caller's method: origins may fold others to one of these."""
_REFUSED_METHODS = frozenset({b"CONNECT", b"TRACE"})


@dataclass(frozen=True, slots=True)
class HeaderRewriteMiddleware:
    """Apply the route's `transformation.request`, then its `headerModifiers.request`."""

    app: ASGIApp
    idle_seconds: float = IDLE_SECONDS

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        context: RequestContext = scope[CONTEXT]
        route, attributes = context.routed()
        transformation = route.transformation
        if transformation is not None:
            if transformation.plain_request is None:
                return self._transform(scope, receive, send, transformation)
            context.headers = transformation.plain_request.apply(context.headers, attributes)
        if route.request_headers is not None:
            context.headers = route.request_headers.apply(context.headers)
        return self.app(scope, receive, send)

    async def _transform(self, scope: Scope, receive: Receive, send: Send, transformation: Transformation) -> None:
        """Apply a transformation that has conditions, or rewrites more than header fields."""
        context: RequestContext = scope[CONTEXT]
        route, attributes = context.routed()
        rewrites = choose(scope, transformation, attributes)
        if rewrites is not None and rewrites.request is not None:
            body = _rewrite(scope["method"], context, rewrites.request)
            if body is not None:
                receive = await _replace_body(body, receive, context, self.idle_seconds)
        if route.request_headers is not None:
            context.headers = route.request_headers.apply(context.headers)
        await self.app(scope, receive, send)


def _rewrite(caller_method: str, context: RequestContext, transform: Transform) -> bytes | None:
    """Rewrite a request; return its new body, or none where it keeps the one that it has.

    Raises:
        GatewayError: a value for the first line cannot be had (500), or may not stand there (400), or a Deny refuses
            the rewritten path (403).

    """
    _, attributes = context.routed()
    transform.note(attributes)
    # Everything is evaluated before anything is changed.
    lines = {header.name: header.evaluate(attributes) for header in transform.pseudo}
    body: bytes | None = None
    if transform.body is not None:
        try:
            body = transform.body.content(attributes)
        except EvaluationError:
            body = b""
    headers = context.headers if body is None else without_description(context.headers)
    context.headers = transform.headers.apply(headers, attributes)
    for name, value in lines.items():
        if value is None:
            raise GatewayError(f"the expression of {name.decode()} failed")
        if name == b":method":
            context.method = _method(value, caller_method)
        elif name == b":authority":
            context.authority = _authority(value)
        else:
            # Expressions go on seeing the path that the caller asked for: only the guard is asked about the new one.
            judge(context, value.decode("utf-8", "surrogateescape"))
    return body


def _method(value: bytes, caller_method: str) -> str:
    if not _METHOD.fullmatch(value) or value in _REFUSED_METHODS:
        raise InvalidRequestError("the rewritten method is none that may be sent")
    if value == b"HEAD" and caller_method != "HEAD":
        raise InvalidRequestError("the method was rewritten to HEAD, whose answer is none to another method")
    return value.decode("ascii")


def _authority(value: bytes) -> bytes:
    try:
        parse_authority(value)
    except AmbiguousTargetError as error:
        raise InvalidRequestError(f"the rewritten authority: {error}") from None
    return value.lower()


async def _replace_body(body: bytes, receive: Receive, context: RequestContext, idle_seconds: float) -> Receive:
    """Take the caller's body to its end, and return where the new one comes from."""
    is_framed = context.chunked or context.content_length is not None
    has_one = context.chunked or context.content_length
    taken = await discard_body(receive, context, idle_seconds) if has_one else 0
    context.chunked = False
    context.content_length = len(body) if body or is_framed else None
    return put_back(body, receive, context, bytes_in=taken - len(body))
