"""uvicorn's protocols with what they do not tell published, and what they answer by themselves answered as agreed."""

from __future__ import annotations

import re
import ssl
import sys
from typing import TYPE_CHECKING, Any

import h11
import httptools
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

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

REFUSED = "egress.refused"
"""Key in the lifespan's `scope["state"]`: a function that logs a request which the parser refused.

It takes the connection and the problem, and returns the decision id.
"""

IDLE_CLOSE_SECONDS = 2.0
"""How long an idle caller may take to confirm the end of TLS when the gateway ends; asyncio would give it 30 s."""
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}) ([^ \r\n]+) HTTP/[0-9]\.[0-9]\r?\n")
_TLS_VERSIONS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
MAX_PIPELINED = 16
"""Requests that wait behind one; beyond, nothing more is read."""
MAX_PIPELINED_BYTES = 64 * 1024
"""The same for h11, which does not count requests."""
WRITE_BUFFER_BYTES = 64 * 1024
"""Answer bytes that wait for a slow caller, beside what the kernel holds."""


def tls_extension(ssl_object: ssl.SSLObject | ssl.SSLSocket) -> dict[str, Any]:
    """Return the ASGI `tls` extension of a finished handshake. Source: ASGI TLS extension 0.2."""
    der = ssl_object.getpeercert(binary_form=True)
    return {
        "server_cert": None,
        "client_cert_chain": [ssl.DER_cert_to_PEM_cert(der)] if der else [],
        "client_cert_name": None,
        "client_cert_error": None,
        "tls_version": _TLS_VERSIONS.get(str(ssl_object.version())),
        "cipher_suite": None,
    }


def _connection(protocol: HttpToolsProtocol | H11Protocol, transport: asyncio.Transport) -> Connection:
    """Describe a connection that was just made."""
    address, port = protocol.client or ("", 0)
    local_address, local_port = protocol.server or ("", 0)
    ssl_object = transport.get_extra_info("ssl_object")
    transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
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


class HttpToolsGatewayProtocol(HttpToolsProtocol):
    """uvicorn's httptools protocol, with the connection and the request target published."""

    _head: bytes = b""
    """The bytes that were read last: what a refused request is judged by."""
    _served: RequestResponseCycle | None = None
    """The request that is being served; `cycle` is the one read last, which may be waiting behind it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # A new dict for this connection: the one uvicorn hands out is shared by all of them.
        self.app_state = {**self.app_state, CONNECTION: _connection(self, transport)}

    def data_received(self, data: bytes) -> None:
        self._head = data
        super().data_received(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        # The parser leaves white space behind a value, which policy and origin would read differently.
        super().on_header(name, value.rstrip(b" \t"))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._served = cycle
        super()._start_asgi_task(cycle, app)

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
        if 0 < len(self.pipeline) <= MAX_PIPELINED:
            self.flow.resume_reading()  # else nobody would notice that the caller left

    def connection_lost(self, exc: Exception | None) -> None:
        self.pipeline.clear()
        if self._served is not None and not self._served.response_complete:
            self._served.disconnected = True
            self._served.message_event.set()
        super().connection_lost(exc)
        _lost(self)

    def shutdown(self) -> None:
        if not self.transport.is_closing():  # closing twice makes asyncio forget the TLS connection, and never end it
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


class H11GatewayProtocol(H11Protocol):
    """uvicorn's h11 protocol, with the connection and the request target published."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, CONNECTION: _connection(self, transport)}
        limit = self.config.h11_max_incomplete_event_size
        self.conn = _TargetRecorder(h11.SERVER, *(() if limit is None else (limit,)))
        self.conn.app_state = self.app_state

    def handle_events(self) -> None:
        super().handle_events()
        if self.conn.their_state is h11.DONE and len(self.conn.trailing_data[0]) < MAX_PIPELINED_BYTES:
            self.flow.resume_reading()  # behind a request that is being served; else nobody would notice a departure

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        _lost(self)

    def shutdown(self) -> None:
        if not self.transport.is_closing():  # closing twice makes asyncio forget the TLS connection, and never end it
            super().shutdown()
        _end_soon(self)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's signature
        # After its colon, h11's message quotes the offending line, which may hold a credential.
        _refuse(self, InvalidRequestError(str(sys.exc_info()[1]).partition(":")[0]))

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: the request is answered 501 and logged there."""
