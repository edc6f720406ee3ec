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
        self._sink.write(access_line(scope, context))

    def record_refused(self, connection: Connection, problem: GatewayError, gateway: str) -> str:
        """Log a request that the parser refused, so that no scope exists, and return its decision id."""
        decision_id = new_uuid()
        known = {
            "time": _timestamp(time.time())[1:-1],
            "level": "warning",
            "request_id": new_uuid(),
            "decision_id": decision_id,
            "gateway": gateway,
            "src.addr": connection.peername,
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


_TEMPLATE = "{" + ", ".join(f'"{name}": %s' for name in FIELDS) + "}\n"
_quoted = json.encoder.encode_basestring_ascii
_known = functools.lru_cache(maxsize=4096)(_quoted)
"""The same for what stands in many lines: names of the configuration, hosts, callers."""


def access_line(scope: Scope, context: RequestContext) -> bytes:
    """Return the line of a request: what python-json-logger writes for a record of these fields.

    The query is not among them: it may hold secrets.
    """
    attributes, route, decision = context.attributes, context.route, context.decision
    allowed = decision.allowed if decision else not context.reason
    upstream_seconds = context.upstream_seconds
    # Why policy decided so; a request that policy let through can still fail for another reason.
    reason = decision.reason if decision and not (allowed and context.reason) else context.reason
    values = (
        _timestamp(context.start_time),
        '"warning"' if context.reason or context.error else '"info"',
        f'"{context.request_id}"',
        f'"{context.decision_id}"',
        _known(context.snapshot.gateway),
        _known(route.name) if route else "null",
        _known(route.backend.name) if route and route.backend else "null",
        _known(context.endpoint) if context.endpoint else "null",
        _quoted(context.connection.peername),
        _known(context.peer.uri) if context.peer else "null",
        _known(scope["method"]),
        _known(attributes.host) if attributes else "null",
        _quoted(attributes.path if attributes else _refused_path(target_of(scope))),
        _known(f"HTTP/{scope['http_version']}"),
        context.status or "null",
        context.bytes_in,
        context.bytes_out,
        round((time.perf_counter() - context.started) * 1000, 3),
        "null" if upstream_seconds is None else round(upstream_seconds * 1000, 3),
        '"allow"' if allowed else '"deny"',
        f'"{reason}"' if reason else "null",
        _known(decision.rule) if decision and decision.rule else "null",
        _quoted(context.error) if context.error else "null",
    )
    line = (_TEMPLATE % values).encode()
    return line if len(line) <= select.PIPE_BUF else encode(json.loads(line))


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
