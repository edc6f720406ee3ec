"""One JSON line for every request."""

from __future__ import annotations

import functools
import json
import select
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from middleware.certificate import InvalidSvidError, peer_from_certificate
from middleware.context import target_of
from middleware.moments import new_uuid

if TYPE_CHECKING:
    from starlette.types import Scope

    from app.telemetry.sinks import LineSink
    from middleware.context import Connection, RequestContext
    from middleware.errors import GatewayError


MAX_LOGGED_PATH = 512
"""Bytes of a path that was refused; a canonical one is logged whole."""


MAX_LONG_VALUE = 200
"""Characters that are kept of a value in a line that would be longer than a pipe takes at once."""


class AccessLog:
    """Makes the line of a request and hands it to the sink."""

    def __init__(self, sink: LineSink) -> None:
        self._sink = sink

    def record(self, scope: Scope, context: RequestContext) -> None:
        """Log a request that has ended, or was aborted."""
        self._sink.write(encode(access_fields(scope, context)))

    def record_refused(self, connection: Connection, problem: GatewayError, gateway: str) -> str:
        """Log a request that the parser refused, so that no scope exists, and return its decision id."""
        decision_id = new_uuid()
        known = {
            "time": _timestamp(time.time()),
            "level": "warning",
            "request_id": new_uuid(),
            "decision_id": decision_id,
            "gateway": gateway,
            "src.addr": _address(connection),
            "src.identity": _identity(connection),
            "http.status": int(problem.status),
            "bytes_in": 0,
            "bytes_out": len(problem.body),
            "duration_ms": 0.0,
            "decision": "deny",
            "reason": problem.reason,
            "error": str(problem),
        }
        self._sink.write(encode(dict.fromkeys(FIELDS) | known))
        return decision_id

    def close(self) -> None:
        """Write out what is waiting."""
        self._sink.close()


_quoted = json.encoder.encode_basestring_ascii

FIELDS = (
    "time",
    "level",
    "request_id",
    "decision_id",
    "gateway",
    "route",
    "backend",
    "endpoint",
    "src.addr",
    "src.identity",
    "http.method",
    "http.host",
    "http.path",
    "http.version",
    "http.status",
    "bytes_in",
    "bytes_out",
    "duration_ms",
    "upstream_ms",
    "decision",
    "reason",
    "rule",
    "error",
)
"""Every line has these, in this order; null where nothing is known."""


def access_fields(scope: Scope, context: RequestContext) -> dict[str, Any]:
    """Return the fields of a request's line, in their order. The query is not among them: it may hold secrets."""
    attributes, route, decision = context.attributes, context.route, context.decision
    allowed = decision.allowed if decision else not context.reason
    return {
        "time": _timestamp(context.start_time),
        "level": "warning" if context.reason or context.error else "info",
        "request_id": context.request_id,
        "decision_id": context.decision_id,
        "gateway": context.snapshot.gateway,
        "route": route.name if route else None,
        "backend": route.backend.name if route and route.backend else None,
        "endpoint": context.endpoint or None,
        "src.addr": _address(context.connection),
        "src.identity": context.peer.uri if context.peer else None,
        "http.method": scope["method"],
        "http.host": attributes.host if attributes else None,
        "http.path": attributes.path if attributes else _refused_path(target_of(scope)),
        "http.version": f"HTTP/{scope['http_version']}",
        "http.status": context.status,
        "bytes_in": context.bytes_in,
        "bytes_out": context.bytes_out,
        "duration_ms": round((time.perf_counter() - context.started) * 1000, 3),
        "upstream_ms": None if context.upstream_seconds is None else round(context.upstream_seconds * 1000, 3),
        "decision": "allow" if allowed else "deny",
        # Why policy decided so; a request that policy let through can still fail for another reason.
        "reason": context.reason if allowed and context.reason else _policy_reason(context),
        "rule": decision.rule if decision else None,
        "error": context.error or None,
    }


def _refused_path(target: bytes) -> str:
    """Return the path of a target that was not judged, without its query and the userinfo of an absolute form."""
    path = target.partition(b"?")[0].partition(b"#")[0]
    if path[:1] != b"/":
        _, slash, path = path.partition(b"://")[2].partition(b"/")
        path = slash + path
    return path[:MAX_LOGGED_PATH].decode("latin-1")


def _identity(connection: Connection) -> str | None:
    """Return who a connection belongs to, for a request that never reached the identity layer."""
    chain = connection.tls.get("client_cert_chain") if connection.tls else None
    try:
        return peer_from_certificate(chain[0]).uri if chain else None
    except InvalidSvidError:
        return None


def _policy_reason(context: RequestContext) -> str | None:
    return str(context.decision.reason) if context.decision else context.reason or None


def encode(fields: dict[str, Any]) -> bytes:
    """Return the line: what python-json-logger writes for a record with these fields."""
    line = _line(fields)
    if len(line) <= select.PIPE_BUF:
        return line
    # Several workers may share a pipe, where only a write of this size stays in one piece.
    short = {name: _shortened(value) if name != "src.identity" else value for name, value in fields.items()}
    return _line(short)


def _line(fields: dict[str, Any]) -> bytes:
    """Return what `json.dumps` gives for these flat fields, at half its cost."""
    parts = []
    for name, value in fields.items():
        kind = type(value)
        if value is None:
            text = "null"
        elif kind is str:
            text = _quoted(value)
        elif kind is int or kind is float:
            text = repr(value)
        else:
            text = json.dumps(value)
        parts.append(f'"{name}": {text}')
    return f"{{{', '.join(parts)}}}\n".encode()


def _shortened(value: Any) -> Any:
    return f"{value[:MAX_LONG_VALUE]}..." if isinstance(value, str) and len(value) > MAX_LONG_VALUE else value


@functools.lru_cache(maxsize=16)
def _second(unix_seconds: int) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _timestamp(unix_seconds: float) -> str:
    second = int(unix_seconds)
    return f"{_second(second)}.{int((unix_seconds - second) * 1000):03d}Z"


def _address(connection: Connection) -> str:
    host = f"[{connection.address}]" if ":" in connection.address else connection.address
    return f"{host}:{connection.port}"
