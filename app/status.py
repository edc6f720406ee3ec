"""The status listener: is the process alive, is it ready, and with which configuration."""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from uvicorn import Config
from uvicorn.server import ServerState

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


class ListenError(Exception):
    """A listener's address cannot be bound."""


@dataclass(slots=True)
class Reload:
    """The result of the last load of the manifests."""

    time: str
    """RFC 3339, UTC."""
    result: Literal["ok", "failed"]
    error: str | None = None

    @classmethod
    def succeeded(cls, faults: int = 0) -> Reload:
        """Return a result of now. With `EGRESS_STRICT=false` it may have faults, whose parts fail closed."""
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return cls(now, "ok", f"{faults} manifest faults; their parts fail closed, see the log" if faults else None)


@dataclass(slots=True)
class Readiness:
    """What `/readyz` tells."""

    status: Literal["starting", "ready", "draining"] = "starting"
    revision: str | None = None
    last_reload: Reload | None = field(default=None)


def status_app(readiness: Readiness) -> Starlette:
    """Return the application of the status listener."""

    def healthz(_: Request) -> Response:
        return PlainTextResponse("ok")

    def readyz(_: Request) -> Response:
        return JSONResponse(asdict(readiness), 200 if readiness.status == "ready" else 503)

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz)])


async def listen(app: Starlette, address: tuple[str, int]) -> asyncio.Server:
    """Serve an application in plain HTTP on an address, in this process and loop.

    Several workers share the port; a single process does not, so that a taken port is noticed.

    Raises:
        ListenError: the address cannot be bound.

    """
    host, port = address
    # h11 bounds the head of a request, and anybody can reach this listener.
    config = Config(app, http="h11", log_config=None, access_log=False, lifespan="off", proxy_headers=False)
    config.server_header = False
    config.load()
    config.ws_protocol_class = None
    state = ServerState()

    def protocol() -> asyncio.Protocol:
        return config.http_protocol_class(config=config, server_state=state, app_state={})  # type: ignore[call-arg]

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    shared = multiprocessing.parent_process() is not None
    try:
        return await asyncio.get_running_loop().create_server(
            protocol, host, port, family=family, reuse_port=shared or None
        )
    except OSError as error:
        reason = error.strerror or error
        raise ListenError(f"EGRESS_STATUS_LISTEN={host}:{port} cannot be listened on: {reason}") from error
