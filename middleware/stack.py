"""The order of the layers, written once.

A layer that only lets a request through or raises is a plain function that returns the next layer's awaitable: a
coroutine for each would be made, suspended and resumed with every request, and do nothing in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.middleware import Middleware

from middleware.authorization import AuthorizationMiddleware
from middleware.body import BodyMiddleware
from middleware.headers import HeaderRewriteMiddleware
from middleware.identity import IdentityMiddleware
from middleware.observe import ObserveMiddleware
from middleware.path_guard import PathGuardMiddleware
from middleware.problems import ProblemMiddleware
from middleware.routing import RoutingMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Scope

    from config.attributes import RawHeaders
    from config.snapshot import Snapshot
    from middleware.context import RequestContext
    from middleware.trace_context import Trace


def layers(
    snapshot: Snapshot,
    trust_domains: frozenset[str],
    record: Callable[[Scope, RequestContext], None],
    trace: Callable[[RawHeaders], Trace] | None = None,
) -> list[Middleware]:
    """Return the layers for a snapshot, the outermost first: of those that only some policies need, the needed ones."""
    routes = list(snapshot.routes)
    stack = [
        (True, Middleware(ObserveMiddleware, snapshot=snapshot, record=record, trace=trace)),
        (True, Middleware(ProblemMiddleware)),
        (True, Middleware(IdentityMiddleware, trust_domains=trust_domains)),
        (True, Middleware(RoutingMiddleware)),
        (any(route.reads_body for route in routes), Middleware(BodyMiddleware)),
        (True, Middleware(AuthorizationMiddleware)),
        (any(route.authorization.guards_path for route in routes), Middleware(PathGuardMiddleware)),
        (any(route.request_headers for route in routes), Middleware(HeaderRewriteMiddleware)),
    ]
    return [layer for needed, layer in stack if needed]
