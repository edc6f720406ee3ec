"""Requests that change something and come from a page of another site end here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.policy.cors import Origin
from config.policy.normalisation import DEFAULT_PORT_OF, parse_authority, write_authority
from config.snapshot import DEFAULT_PORTS
from middleware.context import CONTEXT
from middleware.errors import CsrfError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from config.attributes import RequestAttributes
    from middleware.context import RequestContext


@dataclass(frozen=True, slots=True)
class CsrfMiddleware:
    """Apply the route's `csrf`."""

    app: ASGIApp

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        context: RequestContext = scope[CONTEXT]
        route, attributes = context.routed()
        if route.csrf is not None:
            refusal = route.csrf.refusal(attributes.method, scope["headers"], _destination(attributes))
            if refusal:
                raise CsrfError(refusal)
        return self.app(scope, receive, send)


def _destination(attributes: RequestAttributes) -> Origin:
    """Return what `Origin` says on the destination's own pages."""
    scheme = attributes.downstream.scheme
    host, port = parse_authority(attributes.raw_host.encode())
    if port is None or port in DEFAULT_PORTS:
        port = DEFAULT_PORT_OF[scheme]
    return Origin(scheme, write_authority(host), port)
