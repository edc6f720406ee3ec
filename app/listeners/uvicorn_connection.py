"""What both of uvicorn's protocols lack: the connection described, refusals answered as agreed, a departure told."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from middleware.context import CONNECTION, Connection
from middleware.errors import GatewayError
from middleware.problems import answer

if TYPE_CHECKING:
    import asyncio

    from uvicorn.protocols.http.h11_impl import H11Protocol
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    from middleware.context import Departure

REFUSED = "egress.refused"
"""Key in the lifespan's `scope["state"]`: a function that logs a request which the parser refused.

It takes the connection and the problem, and returns the decision id.
"""

ADMIT = "egress.admit"
"""Key in the lifespan's `scope["state"]`: a function that judges a connection before anything of it is read.

It raises the `GatewayError` for which the connection is closed.
"""

READ_BUFFER = "egress.read_buffer"
"""Key in the lifespan's `scope["state"]`: a `bytearray` that connections read into."""
READ_BUFFER_BYTES = 256 * 1024
IDLE_CLOSE_SECONDS = 2.0
"""How long an idle caller may take to confirm the end of TLS when the gateway ends; asyncio would give it 30 s."""
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


def describe(
    protocol: HttpToolsProtocol | H11Protocol, transport: asyncio.Transport, departure: Departure
) -> Connection:
    """Describe a connection that was just made, and close it at once if it may not be."""
    address, port = protocol.client or ("", 0)
    local_address, local_port = protocol.server or ("", 0)
    ssl_object = transport.get_extra_info("ssl_object")
    transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
    connection = Connection(
        address=address,
        port=port,
        local_address=local_address,
        local_port=local_port or 0,
        scheme="https" if ssl_object else "http",
        tls=tls_extension(ssl_object) if ssl_object else None,
        abort=transport.abort,
        departure=departure,
    )
    try:
        protocol.app_state[ADMIT](connection)
    except GatewayError as problem:
        protocol.app_state[REFUSED](connection, problem)
        transport.pause_reading()
        transport.close()
        end_soon(protocol)
    return connection


def refuse(protocol: HttpToolsProtocol | H11Protocol, problem: GatewayError) -> None:
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


def lost(protocol: HttpToolsProtocol | H11Protocol) -> None:
    """Tell the request that is being served that its caller left."""
    connection: Connection = protocol.app_state[CONNECTION]
    if connection.departure is not None:
        connection.departure.happened()


def end_soon(protocol: HttpToolsProtocol | H11Protocol) -> None:
    """Cut off a caller that was told of the end and does not confirm it: most read nothing while they are idle."""
    if protocol.transport.is_closing():
        protocol.loop.call_later(IDLE_CLOSE_SECONDS, protocol.transport.abort)
