"""The order of the layers, written once.

A layer that only lets a request through or raises is a plain function that returns the next layer's awaitable: a
coroutine for each would be made, suspended and resumed with every request, and do nothing in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.middleware import Middleware

from middleware.authorization import AuthorizationMiddleware
from middleware.body import BodyMiddleware
from middleware.buffer import BufferMiddleware
from middleware.client_auth import ClientAuthenticationMiddleware
from middleware.cors import CorsMiddleware
from middleware.csrf import CsrfMiddleware
from middleware.delay import DelayMiddleware
from middleware.direct_response import DirectResponseMiddleware
from middleware.headers import HeaderRewriteMiddleware
from middleware.identity import IdentityMiddleware
from middleware.messages import IDLE_SECONDS
from middleware.observe import ObserveMiddleware
from middleware.path_guard import PathGuardMiddleware
from middleware.problems import ProblemMiddleware
from middleware.responses import ResponsePolicyMiddleware
from middleware.rewrite import RedirectMiddleware, UrlRewriteMiddleware
from middleware.routing import RoutingMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Scope

    from config.attributes import RawHeaders
    from config.snapshot import Snapshot
    from middleware.client_auth import CredentialChecks
    from middleware.context import RequestContext
    from middleware.trace_context import Trace


def layers(  # noqa: PLR0913  what the layers are made with
    snapshot: Snapshot,
    trust_domains: frozenset[str],
    checks: CredentialChecks,
    record: Callable[[Scope, RequestContext], None],
    trace: Callable[[RawHeaders], Trace] | None = None,
    *,
    idle_seconds: float = IDLE_SECONDS,
) -> list[Middleware]:
    """Return the layers for a snapshot, the outermost first: of those that only some policies need, the needed ones."""
    routes = snapshot.routes
    stack = [
        (True, Middleware(ObserveMiddleware, snapshot=snapshot, record=record, trace=trace)),
        (any(route.rewrites_responses for route in routes), Middleware(ResponsePolicyMiddleware)),
        (True, Middleware(ProblemMiddleware)),
        (True, Middleware(IdentityMiddleware, trust_domains=trust_domains)),
        (True, Middleware(RoutingMiddleware)),
        (any(route.cors for route in routes), Middleware(CorsMiddleware)),
        (any(route.authenticates for route in routes), Middleware(ClientAuthenticationMiddleware, checks=checks)),
        (any(route.reads_body for route in routes), Middleware(BodyMiddleware, idle_seconds=idle_seconds)),
        (True, Middleware(AuthorizationMiddleware)),
        (any(route.authorization.guards_path for route in routes), Middleware(PathGuardMiddleware)),
        (
            any(route.buffer and route.buffer.request for route in routes),
            Middleware(BufferMiddleware, idle_seconds=idle_seconds),
        ),
        (
            any(route.rewrites_requests for route in routes),
            Middleware(HeaderRewriteMiddleware, idle_seconds=idle_seconds),
        ),
        (any(route.csrf for route in routes), Middleware(CsrfMiddleware)),
        (any(route.rewrites_targets for route in routes), Middleware(UrlRewriteMiddleware)),
        (any(route.redirect for route in routes), Middleware(RedirectMiddleware)),
        (any(route.delay for route in routes), Middleware(DelayMiddleware)),
        (any(route.direct_response for route in routes), Middleware(DirectResponseMiddleware)),
    ]
    return [layer for needed, layer in stack if needed]
