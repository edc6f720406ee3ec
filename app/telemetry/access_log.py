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
from middleware.errors import NetworkDeniedError
from middleware.moments import new_uuid

if TYPE_CHECKING:
    from starlette.types import Scope

    from app.telemetry.sinks import LineSink
    from middleware.context import Connection, RequestContext
    from middleware.errors import GatewayError


MAX_LOGGED_PATH = 512
"""Bytes of a path that was refused; a canonical one is logged whole."""


MAX_LOGGED_METHOD = 64
"""Characters of a method, which h11 bounds by the head only."""
MAX_LONG_VALUE = 200
"""Characters that are kept of a value in a line that would be longer than a pipe takes at once."""


class AccessLog:
    """Makes the line of a request and hands it to the sink."""

    def __init__(self, sink: LineSink) -> None:
        self._sink = sink

    def record(self, scope: Scope, context: RequestContext) -> None:
        """Log a request that has ended, or was aborted."""
        self._sink.write(access_line(scope, context))

    def record_refused(self, connection: Connection, problem: GatewayError, gateway: str) -> str:
        """Log a request or connection that was refused before any scope existed, and return its decision id."""
        decision_id = new_uuid()
        known = {
            "time": _timestamp(time.time())[1:-1],
            "level": "warning",
            "request_id": new_uuid(),
            "decision_id": decision_id,
            "gateway": gateway,
            "src.addr": connection.peername,
            "src.identity": _identity(connection),
            "http.status": None if isinstance(problem, NetworkDeniedError) else int(problem.status),
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
    "shadow",
    "retry.attempt",
    "error",
    "trace_id",
    "span_id",
)
"""Every line has these, in this order; null where nothing is known."""


_quoted = json.encoder.encode_basestring_ascii
_known = functools.lru_cache(maxsize=4096)(_quoted)
"""The same for what stands in many lines."""
_OF_ONE_REQUEST = {
    "time": "%s",
    "request_id": '"%s"',
    "decision_id": '"%s"',
    "src.addr": "%s",
    "src.identity": "%s",
    "http.path": "%s",
    "bytes_in": "%d",
    "bytes_out": "%d",
    "duration_ms": "%s",
    "upstream_ms": "%s",
    "error": "%s",
    "trace_id": "%s",
    "span_id": "%s",
}
"""Fields with a value of their own in every line, and how it is put in."""
_SHARED = tuple(name for name in FIELDS if name not in _OF_ONE_REQUEST)


@functools.lru_cache(maxsize=4096)
def _template(*shared: Any) -> str:
    """Return the line with the values of `_SHARED`, which many requests have in common, written out."""
    known = {name: json.dumps(value).replace("%", "%%") for name, value in zip(_SHARED, shared, strict=True)}
    return "{" + ", ".join(f'"{name}": {_OF_ONE_REQUEST.get(name) or known[name]}' for name in FIELDS) + "}\n"


def access_line(scope: Scope, context: RequestContext) -> bytes:
    """Return the line of a request: what python-json-logger writes for a record of these fields.

    The query is not among them: it may hold secrets.
    """
    attributes, route, decision = context.attributes, context.route, context.decision
    error, trace, upstream_seconds = context.error, context.trace, context.upstream_seconds
    backend = context.choice[0] if context.choice else route.backend if route else None
    template = _template(
        "warning" if context.reason or error else "info",
        context.snapshot.gateway,
        route.name if route else None,
        backend.name if backend else None,
        context.endpoint,
        scope["method"][:MAX_LOGGED_METHOD],
        attributes.host if attributes else None,
        "HTTP/" + scope["http_version"],
        context.status,
        "allow" if context.is_allowed else "deny",
        context.verdict or None,
        decision.rule if decision else None,
        context.shadow or None,
        context.attempts or None,
    )
    values = (
        _timestamp(context.start_time),
        context.request_id,
        context.decision_id,
        _quoted(context.connection.peername),
        _known(context.peer.uri) if context.peer else "null",
        _quoted(attributes.path if attributes else logged_path(scope, context)),
        context.bytes_in,
        context.bytes_out,
        int((time.perf_counter() - context.started) * 1e6) / 1000,  # `round` to three digits takes ten times as long
        "null" if upstream_seconds is None else int(upstream_seconds * 1e6) / 1000,
        _quoted(error) if error else "null",
        _quoted(trace.trace_id) if trace else "null",
        _quoted(trace.span_id) if trace else "null",
    )
    line = (template % values).encode()
    return line if len(line) <= select.PIPE_BUF else encode(json.loads(line))


def logged_path(scope: Scope, context: RequestContext) -> str:
    """Return a request's path; of a target that was not judged, without its query and an absolute form's userinfo."""
    if context.attributes is not None:
        return context.attributes.path
    path = target_of(scope).partition(b"?")[0].partition(b"#")[0]
    if path[:1] != b"/":
        _, absolute, rest = path.partition(b"://")
        if absolute:
            _, slash, path = rest.partition(b"/")
            path = slash + path
        else:  # CONNECT's authority form, or nonsense
            path = path.rpartition(b"@")[2]
    return path[:MAX_LOGGED_PATH].decode("latin-1")


def _identity(connection: Connection) -> str | None:
    """Return who a connection belongs to, for a request that never reached the identity layer."""
    chain = connection.tls.get("client_cert_chain") if connection.tls else None
    try:
        return peer_from_certificate(chain[0]).uri if chain else None
    except InvalidSvidError:
        return None


def encode(fields: dict[str, Any]) -> bytes:
    """Return the line: what python-json-logger writes for a record with these fields."""
    line = _line(fields)
    if len(line) <= select.PIPE_BUF:
        return line
    # Several workers may share a pipe, where only a write of this size stays in one piece.
    short = {name: _shortened(value) if name != "src.identity" else value for name, value in fields.items()}
    return _line(short)


def _line(fields: dict[str, Any]) -> bytes:
    return f"{json.dumps(fields)}\n".encode()


def _shortened(value: Any) -> Any:
    return f"{value[:MAX_LONG_VALUE]}..." if isinstance(value, str) and len(value) > MAX_LONG_VALUE else value


@functools.lru_cache(maxsize=16)
def _second(unix_seconds: int) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _timestamp(unix_seconds: float) -> str:
    """Return a time, quoted. Source: RFC 3339."""
    second = int(unix_seconds)
    return f'"{_second(second)}.{int((unix_seconds - second) * 1000):03d}Z"'
