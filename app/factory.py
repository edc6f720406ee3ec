"""Composition: the application that uvicorn serves. Nothing is opened before its lifespan starts."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from starlette.applications import Starlette

from app.expiry import follow_expiry
from app.forward import Forward
from app.lifespan import StartError, running
from app.listeners.uvicorn_connection import ADMIT
from app.mirror import MirrorRequests
from app.telemetry.recorder import Recorder
from middleware.network import NetworkGuard
from middleware.stack import layers

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from app.lifespan import Runtime
    from config.settings import Settings
    from config.snapshot import Snapshot
    from middleware.context import Connection

logger = logging.getLogger("egress")


class Gateway(Starlette):
    """The layers of `middleware.stack` around the catch-all route.

    Starlette's own router and error layers are left out: they would cost more than the whole policy, and their
    answers are not this gateway's.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__()
        self._settings = settings
        self._stack: ASGIApp = _not_started
        self._guard: NetworkGuard | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._stack(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            raise RuntimeError(f"this gateway does not serve {scope['type']!r}")

    def use(self, runtime: Runtime) -> None:
        """Serve new requests by a configuration. It is one assignment: a request goes on in the layers it came into."""
        snapshot, trust_domains = runtime.snapshot, runtime.settings.trust_domains
        app: ASGIApp = Forward(runtime.means, runtime.idle)
        if any(route.mirrors for route in snapshot.routes):
            app = MirrorRequests(app, runtime.mirrors)
        record = Recorder(runtime.access_log, runtime.tracing)
        trace = runtime.tracing.start if runtime.tracing is not None else None
        self.user_middleware = layers(
            snapshot, trust_domains, runtime.credentials, record, trace, idle_seconds=runtime.idle.limit
        )
        for layer, args, kwargs in reversed(self.user_middleware):
            app = layer(app, *args, **kwargs)
        guarded = snapshot.network is not None or snapshot.network_shadow is not None
        self._guard = NetworkGuard(snapshot.network, snapshot.network_shadow, trust_domains) if guarded else None
        self._stack = app

    async def _replace(self, runtime: Runtime, snapshot: Snapshot) -> None:
        self.use(await runtime.serving(snapshot))

    def admit(self, connection: Connection) -> None:
        """Judge a connection that was just made.

        Raises:
            NetworkDeniedError: it may not be.

        """
        if self._guard is not None and (would_deny := self._guard.check(connection)):
            facts = {"src.addr": connection.peername, "shadow": would_deny}
            logger.warning("a connection that rules in shadow mode would refuse", extra=facts)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start, serve, end. Every failure is sent: one that is raised, uvicorn's `--lifespan auto` would ignore."""
        await receive()
        started = False
        state = scope.setdefault("state", {})
        state[ADMIT] = self.admit
        try:
            async with running(self._settings, state) as runtime:
                self.use(runtime)
                started = True
                await send({"type": "lifespan.startup.complete"})
                expiry = asyncio.create_task(follow_expiry(runtime.snapshot, partial(self._replace, runtime)))
                try:
                    await receive()
                finally:
                    expiry.cancel()
        except Exception as error:
            if not isinstance(error, StartError):
                logger.exception("unexpected error")
            outcome = "shutdown" if started else "startup"
            await send({"type": f"lifespan.{outcome}.failed", "message": str(error)})
        else:
            await send({"type": "lifespan.shutdown.complete"})


async def _not_started(_: Scope, __: Receive, ___: Send) -> None:
    raise RuntimeError("the gateway serves within its lifespan only")


def create_app(settings: Settings | None = None) -> Gateway:
    """Return the application.

    Args:
        settings: the settings; none reads them from the environment when the lifespan starts.

    """
    return Gateway(settings)
