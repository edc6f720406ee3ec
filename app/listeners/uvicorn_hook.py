"""What uvicorn does not tell an application, published; what a proxy does not want of it, switched off.

uvicorn 0.54 puts no client certificate into the scope, rewrites the client's address from `X-Forwarded-For` of loopback
peers, and answers what it cannot parse by itself. `install` wraps `uvicorn.Server.startup`, which every way of running
it passes and which knows the configuration; there the HTTP protocol class is replaced by a subclass. That keeps the
plain command line, and works for both parsers, with keep-alive and with workers.
"""

from __future__ import annotations

import functools
import logging
import re
import ssl
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

import h11
import httptools
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server

from app.telemetry.log import configure_logging
from middleware.context import CONNECTION, TARGET, Connection, Departure
from middleware.errors import (
    GatewayError,
    HttpVersionNotSupportedError,
    InvalidRequestError,
    MethodNotAllowedError,
)
from middleware.problems import answer

if TYPE_CHECKING:
    import asyncio
    import socket

SERVER_CONFIG = "egress.uvicorn_config"
"""Key in the lifespan's `scope["state"]`: uvicorn's `Config`."""
LISTENING = "egress.listening"
"""Key in the lifespan's `scope["state"]`: a function that is called once the port is open."""
DRAINING = "egress.draining"
"""Key in the lifespan's `scope["state"]`: a function that is called when the server begins to end."""
REFUSED = "egress.refused"
"""Key in the lifespan's `scope["state"]`: a function that logs a request which the parser refused.

It takes the connection and the problem, and returns the decision id.
"""

_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}) ([^ \r\n]+) HTTP/[0-9]\.[0-9]\r?\n")
_TLS_VERSIONS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
IDLE_CLOSE_SECONDS = 2.0
"""How long an idle caller may take to confirm the end of TLS when the gateway ends; asyncio would give it 30 s."""


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
    protocol = config.http_protocol_class
    if issubclass(protocol, HttpToolsProtocol):
        config.http_protocol_class = _HttpTools
    elif issubclass(protocol, H11Protocol):
        config.http_protocol_class = _H11
    else:
        _give_up(f"the gateway runs on uvicorn's httptools and h11 protocols, not on {protocol.__name__}: see --http")
    server.lifespan.state[SERVER_CONFIG] = config


def _give_up(message: str) -> NoReturn:
    logging.getLogger("uvicorn.error").error(message)
    sys.exit(STARTUP_FAILURE)


def tls_extension(ssl_object: ssl.SSLObject | ssl.SSLSocket) -> dict[str, Any]:
    """Return the ASGI `tls` extension of a finished handshake. Source: ASGI TLS extension 0.2."""
    der = ssl_object.getpeercert(binary_form=True)
    return {
        "server_cert": None,
        "client_cert_chain": [ssl.DER_cert_to_PEM_cert(der)] if der else [],
        "client_cert_name": None,
        "client_cert_error": _resumption_error(ssl_object),
        "tls_version": _TLS_VERSIONS.get(str(ssl_object.version())),
        "cipher_suite": None,
    }


def _resumption_error(ssl_object: ssl.SSLObject | ssl.SSLSocket) -> str | None:
    """Tell why a resumed session may not be used.

    OpenSSL resumes a TLS 1.2 session by its id without looking at the certificate again, and Python has no switch for
    it: a session could outlive its certificate.
    """
    if not ssl_object.session_reused:
        return None
    expiry = (ssl_object.getpeercert() or {}).get("notAfter")
    still_valid = isinstance(expiry, str) and ssl.cert_time_to_seconds(expiry) > time.time()
    return None if still_valid else "the certificate of the resumed session has expired"


def _connection(protocol: HttpToolsProtocol | H11Protocol, transport: asyncio.Transport) -> Connection:
    """Describe a connection that was just made."""
    address, port = protocol.client or ("", 0)
    local_address, local_port = protocol.server or ("", 0)
    ssl_object = transport.get_extra_info("ssl_object")
    return Connection(
        address=address,
        port=port,
        local_address=local_address,
        local_port=local_port or 0,
        scheme="https" if ssl_object else "http",
        tls=tls_extension(ssl_object) if ssl_object else None,
        abort=transport.abort,
        departure=Departure(),
    )


def _refuse(protocol: HttpToolsProtocol | H11Protocol, problem: GatewayError) -> None:
    """Answer what the parser refused with the contract's answer; abort if another answer has begun."""
    transport = protocol.transport
    cycle: Any = protocol.cycle  # None before the first request, whatever its annotation says
    if cycle is not None and not cycle.response_complete:
        if cycle.more_body:
            transport.abort()
        else:
            cycle.keep_alive = False  # the request before is whole: it gets its answer, then the connection ends
        return
    connection: Connection = protocol.app_state[CONNECTION]
    decision_id = protocol.app_state[REFUSED](connection, problem)
    status, headers, body = answer(problem, decision_id, ())
    lines = [f"HTTP/1.1 {status} {problem.status.phrase}".encode()]
    lines += [name + b": " + value for name, value in headers if name != b"connection"]
    transport.write(b"\r\n".join([*lines, b"connection: close"]) + b"\r\n\r\n" + body)
    transport.close()


def _lost(protocol: HttpToolsProtocol | H11Protocol) -> None:
    connection: Connection = protocol.app_state[CONNECTION]
    if connection.departure is not None:
        connection.departure.happened()


def _end_soon(protocol: HttpToolsProtocol | H11Protocol) -> None:
    """Cut off a caller that was told of the end and does not confirm it: most read nothing while they are idle."""
    if protocol.transport.is_closing():
        protocol.loop.call_later(IDLE_CLOSE_SECONDS, protocol.transport.abort)


class _Http10Cycle(RequestResponseCycle):
    """Ends an answer without a length by closing: HTTP/1.0 knows no chunks (RFC 9112 section 6.1)."""

    _until_close = False

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            if not any(name.lower() == b"content-length" for name, _ in message["headers"]):
                self._until_close, self.chunked_encoding = True, False
        elif self._until_close:
            # What uvicorn still expects: this part, and something more unless it is the last.
            self.expected_content_length = len(message.get("body", b"")) + bool(message.get("more_body", False))
        await super().send(message)


class _HttpTools(HttpToolsProtocol):
    """uvicorn's httptools protocol, with the connection and the request target published."""

    _head: bytes = b""
    """The bytes that were read last: what a refused request is judged by."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # A new dict for this connection: the one uvicorn hands out is shared by all of them.
        self.app_state = {**self.app_state, CONNECTION: _connection(self, transport)}

    def data_received(self, data: bytes) -> None:
        self._head = data
        super().data_received(data)

    def on_headers_complete(self) -> None:
        if any(name == b"transfer-encoding" and value.lower() != b"chunked" for name, value in self.headers):
            # The parser would refuse most of these only after the request has begun.
            raise InvalidRequestError("a transfer coding other than chunked")
        self.scope["state"][TARGET] = self.url
        if not self.url.startswith(b"/"):
            self.url = b"/"  # uvicorn cannot read every form; the target is judged on what is published
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0":
            self.cycle.__class__ = _Http10Cycle
        # Trailer fields would be appended to the list that is the scope's headers.
        self.headers = []

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        _lost(self)

    def shutdown(self) -> None:
        super().shutdown()
        _end_soon(self)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's signature
        _refuse(self, self._problem(sys.exc_info()[1]))

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: the request is answered 501 and logged there."""

    def _problem(self, error: BaseException | None) -> GatewayError:
        """Tell what was wrong with a request from the parser's error."""
        detail = str(error) or type(error).__name__
        line = _REQUEST_LINE.match(self._head)
        if isinstance(error, httptools.HttpParserInvalidMethodError) and line:
            return MethodNotAllowedError("a method that the parser does not know")
        if "version" in detail.lower() or (line and line[1] == b"PRI"):
            return HttpVersionNotSupportedError(detail)
        return InvalidRequestError(detail)


class _TargetRecorder(h11.Connection):
    """Notes each request's target, which `uvicorn` splits before anybody can see it."""

    app_state: dict[str, Any]

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self.app_state[TARGET] = event.target
        return event


class _H11(H11Protocol):
    """uvicorn's h11 protocol, with the connection and the request target published."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, CONNECTION: _connection(self, transport)}
        limit = self.config.h11_max_incomplete_event_size
        self.conn = _TargetRecorder(h11.SERVER, *(() if limit is None else (limit,)))
        self.conn.app_state = self.app_state

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        _lost(self)

    def shutdown(self) -> None:
        super().shutdown()
        _end_soon(self)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's signature
        # After its colon, h11's message quotes the offending line, which may hold a credential.
        _refuse(self, InvalidRequestError(str(sys.exc_info()[1]).partition(":")[0]))

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: the request is answered 501 and logged there."""
