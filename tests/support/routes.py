"""One route behind the layers, without manifests: what is asked of a layer, and nothing around it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from config.policy.authorization import Authorization
from config.policy.matching import RouteTable
from config.snapshot import Route, Snapshot, VirtualHost
from middleware.authorization import AuthorizationMiddleware
from middleware.context import CONTEXT
from middleware.cors import CorsMiddleware
from middleware.csrf import CsrfMiddleware
from middleware.identity import IdentityMiddleware
from middleware.observe import ObserveMiddleware
from middleware.path_guard import PathGuardMiddleware
from middleware.problems import ProblemMiddleware
from middleware.responses import with_queued
from middleware.rewrite import RedirectMiddleware, UrlRewriteMiddleware
from middleware.routing import RoutingMiddleware

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from config.attributes import RawHeaders
    from config.policy.rules import Rule
    from middleware.context import RequestContext

HOST = "origin.test"


def route_of(*rules: Rule, **fields: Any) -> Route:
    """Return a route with these rules and fields."""
    return Route("test/route", Authorization.of(rules), **fields)


def snapshot_of(route: Route) -> Snapshot:
    """Return a configuration of which `origin.test` is the only host."""
    return Snapshot(
        "0" * 12, "test/egress", {HOST: VirtualHost("test/origin", frozenset({8080}), RouteTable.of(route))}
    )


@dataclass
class Origin:
    """Stands where the backend is called: it answers 200, and keeps what would have been sent."""

    headers: RawHeaders = field(default_factory=list)
    """Of its answer."""
    contexts: list[RequestContext] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.contexts.append(scope[CONTEXT])
        while (message := await receive()).get("more_body"):
            assert message["type"] == "http.request"
        scope[CONTEXT].status = 200
        await send({"type": "http.response.start", "status": 200, "headers": list(self.headers)})
        await send({"type": "http.response.body", "body": b"ok"})


@dataclass
class Served:
    """An application of every layer that the tests of routes need, and the records that it made."""

    route: Route
    app: ASGIApp
    prefix: str | None = None
    """The `PathPrefix` that chose the route."""
    records: list[RequestContext] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app: ASGIApp = self.app
        for layer in (
            RedirectMiddleware,
            UrlRewriteMiddleware,
            CsrfMiddleware,
            PathGuardMiddleware,
            AuthorizationMiddleware,
            CorsMiddleware,
        ):
            app = layer(app)
        app = RoutingMiddleware(self._matching(app))
        app = _merging(ProblemMiddleware(IdentityMiddleware(app, frozenset({"cluster.local"}))))
        await ObserveMiddleware(app, snapshot_of(self.route), self._record)(scope, receive, send)

    def _record(self, _: Scope, context: RequestContext) -> None:
        self.records.append(context)

    def _matching(self, app: ASGIApp) -> ASGIApp:
        async def match(scope: Scope, receive: Receive, send: Send) -> None:
            scope[CONTEXT].matched_prefix = self.prefix
            await app(scope, receive, send)

        return match


def _merging(app: ASGIApp) -> ASGIApp:
    async def merge(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_merged(message: Message) -> None:
            queued = scope[CONTEXT].queued_headers
            if queued and message["type"] == "http.response.start":
                message = {**message, "headers": with_queued(message["headers"], queued)}
            await send(message)

        await app(scope, receive, send_merged)

    return merge
