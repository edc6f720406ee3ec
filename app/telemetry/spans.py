"""The two spans of a request: SERVER for what the caller asked, CLIENT for what the origin was asked.

Source: the semantic conventions for HTTP spans, https://opentelemetry.io/docs/specs/semconv/http/http-spans/.
"""

from __future__ import annotations

import functools
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from app.telemetry.otlp import TextAttribute, attributes, delimited, span, text
from config.policy.normalisation import DEFAULT_PORT_OF, write_authority

if TYPE_CHECKING:
    from middleware.trace_context import Trace

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
"""The version of the semantic conventions that the attributes' names were checked with."""
KNOWN_METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"},
)
"""Methods that may stand in a span's name; others are `_OTHER` (attribute `http.request.method`)."""

CACHED = 1024
"""Encodings that are kept of what recurs, the least used giving way; 2 KiB each."""
_MAX_ORIGINAL_METHOD = 32
_SERVER_ERROR = 500
_CLIENT_ERROR = 400

# Span { trace_id = 1; span_id = 2; trace_state = 3; parent_span_id = 4; name = 5; kind = 6;
#        fixed64 start_time_unix_nano = 7; fixed64 end_time_unix_nano = 8; attributes = 9;
#        status = 15; fixed32 flags = 16; }
_TIMES_AND_FLAGS = struct.Struct("<BQBQHI").pack
_START, _END, _FLAGS = 0x39, 0x41, 0x0185
_ATTRIBUTE = b"\x4a"
_KIND_SERVER, _KIND_CLIENT = b"\x30\x02", b"\x30\x03"
_STATUS_ERROR = b"\x7a\x02\x18\x02"
# SpanFlags: whether the parent is remote is known; it is.
_PARENT_KNOWN, _PARENT_REMOTE = 0x100, 0x200

_PATH = TextAttribute(_ATTRIBUTE, "url.path")
_URL = TextAttribute(_ATTRIBUTE, "url.full")
_DECISION_ID = TextAttribute(_ATTRIBUTE, "egress.decision_id")


class Exchange(NamedTuple):
    """A request that has ended, in plain values.

    The fields up to `upstream_port` recur: requests that agree in them share one encoding.
    """

    method: str
    scheme: str
    http_version: str
    """`1.1`, as in the ASGI scope."""
    host: str
    """The host that policy saw; empty if the target was refused."""
    local_port: int
    status: int | None
    """Status sent to the caller; none if no answer began."""
    route: str
    """`namespace/name`; empty if there was none, as in the fields below."""
    caller: str
    """SPIFFE ID."""
    allowed: bool | None
    """None: no policy was asked."""
    reason: str
    rule: str
    error: str
    """Slug of what went wrong."""
    aborted: bool
    """The answer was cut off after it had begun."""
    backend: str
    endpoint: str
    """Address and port that was dialled; an IPv6 address stands in brackets."""
    upstream_scheme: str
    upstream_host: str
    upstream_port: int
    path: str
    """What follows a `?` or `#` never gets into a span."""
    decision_id: str
    address: str
    """The caller's, as the socket says."""
    port: int
    started: float
    """Unix time in seconds."""
    seconds: float
    """From `started` to the end of the answer."""
    upstream_offset: float | None
    """Seconds from `started` to asking for a connection to the origin; none if it was not asked."""
    upstream_seconds: float | None
    """Seconds that the origin took; none if it did not end by itself."""


_RECURRING = Exchange._fields.index("path")
_BLANK = ("", "", "", 0, 0.0, 0.0, None, None)
_ERROR_TYPE = "error.type"


class _Shape(NamedTuple):
    """What requests that agree in the recurring fields have in common, encoded."""

    server_name: bytes
    """Name and kind."""
    server: bytes
    """Attributes and status."""
    client_name: bytes
    client: bytes
    origin: bytes
    """Scheme and authority of `url.full`."""


class SpanEncoder:
    """Encodes the spans of requests."""

    def __init__(self, known_methods: frozenset[str] = KNOWN_METHODS) -> None:
        self._known_methods = known_methods
        self._shape = functools.lru_cache(CACHED)(self._make_shape)
        self._peer = functools.lru_cache(CACHED)(_peer)

    def encode(self, trace: Trace, exchange: Exchange, client_span_id: int) -> tuple[bytes, ...]:
        """Return the SERVER span and, if the origin was asked, the CLIENT span, its child."""
        shape = self._shape(exchange[:_RECURRING])
        path = text(exchange.path.partition("?")[0].partition("#")[0])
        start = int(exchange.started * 1e9)
        end = start + int(exchange.seconds * 1e9)
        trace_id, span_id = bytes.fromhex(trace.trace_id), bytes.fromhex(trace.span_id)
        state = delimited(b"\x1a", text(trace.tracestate)) if trace.tracestate else b""
        flags = trace.flags | _PARENT_KNOWN
        if trace.parent_id:
            parent = b"\x22\x08" + bytes.fromhex(trace.parent_id)
            server_flags = flags | _PARENT_REMOTE
        else:
            parent, server_flags = b"", flags
        server = span(
            b"\x0a\x10%b\x12\x08%b%b%b%b%b%b%b%b%b"
            % (
                trace_id,
                span_id,
                state,
                parent,
                shape.server_name,
                _TIMES_AND_FLAGS(_START, start, _END, end, _FLAGS, server_flags),
                shape.server,
                self._peer(exchange.address, exchange.port),
                _PATH.encode(path),
                _DECISION_ID.encode(text(exchange.decision_id)),
            )
        )
        if exchange.upstream_offset is None:
            return (server,)
        start += int(exchange.upstream_offset * 1e9)
        if exchange.upstream_seconds is None:
            end = max(start, end)
        else:
            end = start + int(exchange.upstream_seconds * 1e9)
        client = span(
            b"\x0a\x10%b\x12\x08%b%b\x22\x08%b%b%b%b%b"
            % (
                trace_id,
                client_span_id.to_bytes(8, "big"),
                state,
                span_id,
                shape.client_name,
                _TIMES_AND_FLAGS(_START, start, _END, end, _FLAGS, flags),
                shape.client,
                _URL.encode(shape.origin + path),
            )
        )
        return server, client

    def _make_shape(self, recurring: tuple[Any, ...]) -> _Shape:
        exchange = Exchange._make((*recurring, *_BLANK))
        known = exchange.method in self._known_methods
        method = {
            "http.request.method": exchange.method if known else "_OTHER",
            "http.request.method_original": None if known else exchange.method[:_MAX_ORIGINAL_METHOD],
        }
        name = exchange.method if known else "HTTP"
        origin_host = exchange.upstream_host or exchange.host
        return _Shape(
            server_name=_named(f"{name} {exchange.route}" if exchange.route else name, _KIND_SERVER),
            server=_attributes(method | _server_attributes(exchange)),
            client_name=_named(name, _KIND_CLIENT),
            client=_attributes(method | _client_attributes(exchange, origin_host)),
            origin=text(f"{exchange.upstream_scheme}://{_authority(exchange, origin_host)}"),
        )


def _server_attributes(exchange: Exchange) -> dict[str, object]:
    status = exchange.status
    # An answer of 4xx is the caller's fault and no error of the server.
    failed = status is None or status >= _SERVER_ERROR or exchange.aborted
    return {
        "url.scheme": exchange.scheme,
        "server.address": exchange.host,
        "server.port": exchange.local_port,
        "network.protocol.version": exchange.http_version,
        "http.response.status_code": status,
        "http.route": exchange.route,
        "egress.caller": exchange.caller,
        "egress.decision": None if exchange.allowed is None else "allow" if exchange.allowed else "deny",
        "egress.reason": exchange.reason,
        "egress.rule": exchange.rule,
        "egress.backend": exchange.backend,
        _ERROR_TYPE: _error_type(exchange.error, status) if failed else None,
    }


def _client_attributes(exchange: Exchange, host: str) -> dict[str, object]:
    # An answer of the gateway's own says nothing about what the origin answered.
    status = exchange.status if exchange.aborted or not exchange.error else None
    failed = status is None or status >= _CLIENT_ERROR or exchange.aborted
    address, _, port = exchange.endpoint.rpartition(":")
    return {
        "server.address": host,
        "server.port": exchange.upstream_port or None,
        "network.peer.address": address.strip("[]"),
        "network.peer.port": int(port) if port.isdecimal() else None,
        "network.protocol.version": "1.1" if exchange.endpoint else None,
        "http.response.status_code": status,
        "egress.backend": exchange.backend,
        _ERROR_TYPE: _error_type(exchange.error, status) if failed else None,
    }


def _error_type(error: str, status: int | None) -> str:
    return error or (str(status) if status else "_OTHER")


def _attributes(values: dict[str, object]) -> bytes:
    status = _STATUS_ERROR if values[_ERROR_TYPE] else b""
    return attributes(_ATTRIBUTE, values) + status


def _named(name: str, kind: bytes) -> bytes:
    return delimited(b"\x2a", text(name)) + kind


def _authority(exchange: Exchange, host: str) -> str:
    return write_authority(host, exchange.upstream_port or None, DEFAULT_PORT_OF.get(exchange.upstream_scheme))


def _peer(address: str, port: int) -> bytes:
    values = {"client.address": address, "network.peer.address": address, "network.peer.port": port}
    return attributes(_ATTRIBUTE, values)
