"""The way to an origin on its own: a route made by hand, behind only the layers that make a request's record."""

from __future__ import annotations

import ipaddress
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.attempts import Means
from app.backends.credentials import CredentialBroker
from app.backends.dial import Dialer
from app.backends.health import HealthTable
from app.backends.table import BackendTable
from app.caller import IdleWatch
from app.forward import Forward
from config.policy.authorization import Authorization
from config.policy.matching import RouteTable
from config.policy.upstream import Upstream
from config.snapshot import Route, Snapshot, VirtualHost, WeightedBackend
from middleware.identity import IdentityMiddleware
from middleware.observe import ObserveMiddleware
from middleware.problems import ProblemMiddleware
from middleware.routing import RoutingMiddleware
from tests.support.asgi import Call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from starlette.types import ASGIApp, Scope

    from config.snapshot import Backend
    from middleware.context import RequestContext
    from tests.support.origins import Origin

HOST = (b"host", b"origin.test")
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


def upstream(name: str, **others: Any) -> Upstream:
    """Return the origin `NAME.test`, in plain text unless it is said otherwise."""
    return Upstream(f"{name}.test", 80, **others)


def route(*backends: Backend | WeightedBackend, **others: Any) -> Route:
    """Return a route that lets everybody through."""
    weighted = tuple(entry if isinstance(entry, WeightedBackend) else WeightedBackend(entry) for entry in backends)
    return Route("ns/route", Authorization.of((), default_allowed=True), backends=weighted, **others)


def snapshot_of(found: Route) -> Snapshot:
    """Return a configuration whose every host belongs to one route."""
    return Snapshot("0" * 12, "ns/egress", anywhere=VirtualHost("ns/any", frozenset({8080}), RouteTable.of(found)))


@dataclass
class Clock:
    """A clock that stands still until the test moves it."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Forwarding:
    """A way to origins, and the records of the requests that took it."""

    app: ASGIApp
    backends: BackendTable
    health: HealthTable
    records: list[RequestContext] = field(default_factory=list)

    def call(self, method: str = "GET", headers: Iterable[tuple[bytes, bytes]] = (), body: bytes | None = None) -> Call:
        """Return a request; with a body, its length is among its fields."""
        own = [HOST] if not any(name == b"host" for name, _ in headers) else []
        length = [] if body is None else [(b"content-length", b"%d" % len(body))]
        call = Call(self.app, method, headers=[*own, *headers, *length])
        if body is not None:
            call.body(body)
        return call

    async def status(self, method: str = "GET") -> int | None:
        """Make a request, and return the status of its answer."""
        call = self.call(method)
        await call.run()
        return call.status


@asynccontextmanager
async def forwarding(  # noqa: PLR0913  what a test may want to be otherwise
    found: Route,
    origins: Mapping[tuple[str, int], Origin],
    *,
    idle: float = 30.0,
    clock: Callable[[], float] | None = None,
    random: Callable[[], float] = lambda: 0.0,
    allowed: Any = LOOPBACK,
) -> AsyncIterator[Forwarding]:
    """Open the way of a route; hosts and ports lead to origins on loopback."""
    dialer = Dialer({name: ("127.0.0.1", origin.port) for name, origin in origins.items()}, allowed)
    backends = BackendTable(dialer)
    health = HealthTable(clock) if clock is not None else HealthTable()
    snapshot = snapshot_of(found)
    await backends.reconcile(snapshot)
    health.reconcile(snapshot)
    watch = IdleWatch(idle)
    broker = CredentialBroker(backends.transport)  # no test of it asks for tokens
    result: Forwarding

    def record(_: Scope, context: RequestContext) -> None:
        result.records.append(context)

    app: ASGIApp = RoutingMiddleware(Forward(Means(backends, health, broker, random), watch))
    app = ProblemMiddleware(IdentityMiddleware(app, frozenset({"cluster.local"})))
    result = Forwarding(ObserveMiddleware(app, snapshot, record), backends, health)
    try:
        yield result
    finally:
        watch.close()
        await broker.aclose()
        await backends.aclose()
