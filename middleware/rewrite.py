"""Another `Host`, another path, or another place to ask: what the URL of a request becomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.policy.normalisation import AmbiguousTargetError, parse_authority
from config.policy.rewrite import RewriteError
from config.snapshot import DEFAULT_PORTS
from middleware.answers import send_empty_answer
from middleware.context import CONTEXT
from middleware.errors import RewriteFailedError
from middleware.rewritten_path import judge

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from config.attributes import RequestAttributes
    from middleware.context import RequestContext


@dataclass(frozen=True, slots=True)
class UrlRewriteMiddleware:
    """Apply the route's `hostRewrite` and `urlRewrite` to what goes to the origin."""

    app: ASGIApp

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        context: RequestContext = scope[CONTEXT]
        route, attributes = context.routed()
        if not route.host_rewrite and context.authority is None:
            context.authority = attributes.raw_host.encode()
        if (rewrite := route.rewrite) is not None:
            if rewrite.host is not None:
                context.authority = rewrite.host
            if rewrite.path is not None:
                try:
                    target = rewrite.rewritten(context.target, context.matched_prefix)
                except RewriteError as error:
                    raise RewriteFailedError(str(error)) from None
                judge(context, target)
        return self.app(scope, receive, send)


@dataclass(frozen=True, slots=True)
class RedirectMiddleware:
    """Answer with the route's `requestRedirect`. It stands behind authorization: who may not ask is not told where."""

    app: ASGIApp

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        context: RequestContext = scope[CONTEXT]
        route, attributes = context.routed()
        if (redirect := route.redirect) is None:
            return self.app(scope, receive, send)
        scheme, authority = attributes.downstream.scheme, _authority(context, attributes)
        try:
            location = redirect.location(scheme, authority, context.target, context.matched_prefix)
        except RewriteError as error:
            raise RewriteFailedError(str(error)) from None
        return send_empty_answer(context, send, redirect.status, [(b"location", location.encode())])


def _authority(context: RequestContext, attributes: RequestAttributes) -> tuple[str, int | None]:
    """Return host and port of the request as policy left it. Either default port is as good as none: see `routing`."""
    try:
        host, port = parse_authority(context.authority or attributes.raw_host.encode())
    except AmbiguousTargetError as error:
        raise RewriteFailedError(f"the host that policy wrote: {error}") from None
    return host, None if port in DEFAULT_PORTS else port
