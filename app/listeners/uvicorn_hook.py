"""What uvicorn does not tell an application, published; what a proxy does not want of it, switched off.

uvicorn 0.54 puts no client certificate into the scope, rewrites the client's address from `X-Forwarded-For` of loopback
peers, and answers what it cannot parse by itself. `install` wraps `uvicorn.Server.startup`, which every way of running
it passes and which knows the configuration; there the HTTP protocol class is replaced by a subclass. That keeps the
plain command line, and works for both parsers, with keep-alive and with workers.
"""

from __future__ import annotations

import functools
import logging
import ssl
import sys
from typing import TYPE_CHECKING, NoReturn

from uvicorn.config import STARTUP_FAILURE
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import Server

from app.listeners.h11_protocol import H11GatewayProtocol
from app.listeners.httptools_protocol import HttpToolsGatewayProtocol
from app.listeners.uvicorn_connection import READ_BUFFER, READ_BUFFER_BYTES
from app.telemetry.log import configure_logging

if TYPE_CHECKING:
    import socket

SERVER_CONFIG = "egress.uvicorn_config"
"""Key in the lifespan's `scope["state"]`: uvicorn's `Config`."""
LISTENING = "egress.listening"
"""Key in the lifespan's `scope["state"]`: a function that is called once the port is open."""
DRAINING = "egress.draining"
"""Key in the lifespan's `scope["state"]`: a function that is called when the server begins to end."""


def install() -> None:
    """Wrap `uvicorn.Server.startup` and `shutdown`, once."""
    if getattr(Server.startup, "_egress_gateway", False):
        return
    original = Server.startup

    @functools.wraps(original)
    async def startup(self: Server, sockets: list[socket.socket] | None = None) -> None:
        _prepare(self)
        await original(self, sockets)
        self.lifespan.state[LISTENING]()

    original_shutdown = Server.shutdown

    @functools.wraps(original_shutdown)
    async def shutdown(self: Server, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn tells the application only after its drain, during which nobody should send new callers here.
        self.lifespan.state[DRAINING]()
        await original_shutdown(self, sockets)

    startup._egress_gateway = True  # type: ignore[attr-defined]  # noqa: SLF001  our own mark
    Server.startup = startup  # type: ignore[method-assign]
    Server.shutdown = shutdown  # type: ignore[method-assign]


def _prepare(server: Server) -> None:
    """Set what the plain command line does not pass, before the first connection."""
    configure_logging()
    config = server.config
    if config.lifespan == "off":
        _give_up("the gateway needs uvicorn's lifespan: remove --lifespan off")
    if config.interface != "asgi3":
        _give_up("the gateway is an ASGI 3 application: remove --interface")
    if config.ssl is not None:
        # A TLS 1.3 ticket would resume an identity without showing the certificate again.
        config.ssl.num_tickets = 0
        config.ssl.options |= ssl.OP_NO_TICKET
    # A proxy passes on the origin's `Server` and `Date`; `app.forward` adds a date where there is none.
    config.encoded_headers = [(name, value) for name, value in config.encoded_headers if value != b"uvicorn"]
    config.date_header = False
    config.ws_protocol_class = None
    if isinstance(config.loaded_app, ProxyHeadersMiddleware):
        config.loaded_app = config.loaded_app.app  # the socket's address counts, whatever a header says
    protocol = config.http_protocol_class
    if issubclass(protocol, HttpToolsProtocol):
        config.http_protocol_class = HttpToolsGatewayProtocol
    elif issubclass(protocol, H11Protocol):
        config.http_protocol_class = H11GatewayProtocol
    else:
        _give_up(f"the gateway runs on uvicorn's httptools and h11 protocols, not on {protocol.__name__}: see --http")
    server.lifespan.state[SERVER_CONFIG] = config
    server.lifespan.state[READ_BUFFER] = bytearray(READ_BUFFER_BYTES)


def _give_up(message: str) -> NoReturn:
    logging.getLogger("uvicorn.error").error(message)
    sys.exit(STARTUP_FAILURE)
