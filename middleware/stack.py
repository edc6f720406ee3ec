"""The order of the layers, written once."""

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

    from config.snapshot import SnapshotStore
    from middleware.context import RequestContext


def layers(
    store: SnapshotStore, trust_domains: frozenset[str], record: Callable[[Scope, RequestContext], None]
) -> list[Middleware]:
    """Return the layers, the outermost first."""
    return [
        Middleware(ObserveMiddleware, store=store, record=record),
        Middleware(ProblemMiddleware),
        Middleware(IdentityMiddleware, trust_domains=trust_domains),
        Middleware(RoutingMiddleware),
        Middleware(BodyMiddleware),
        Middleware(AuthorizationMiddleware),
        Middleware(PathGuardMiddleware),
        Middleware(HeaderRewriteMiddleware),
    ]
