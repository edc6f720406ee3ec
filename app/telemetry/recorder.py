"""What is kept of a finished request: its access line, and its spans if they are wanted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from app.telemetry.access_log import MAX_LOGGED_METHOD, logged_path
from app.telemetry.spans import Exchange

if TYPE_CHECKING:
    from starlette.types import Scope

    from app.telemetry.access_log import AccessLog
    from app.telemetry.tracing import Tracing
    from middleware.context import RequestContext


class Recorder:
    """Takes the record of every request at its end."""

    def __init__(self, access_log: AccessLog, tracing: Tracing | None) -> None:
        self._access_log = access_log
        self._tracing = tracing

    def __call__(self, scope: Scope, context: RequestContext) -> None:
        self._access_log.record(scope, context)
        trace = context.trace
        if self._tracing is not None and trace is not None and trace.sampled:
            self._tracing.finish(trace, _exchange(scope, context))


def _exchange(scope: Scope, context: RequestContext) -> Exchange:
    """Return what the spans of a request are made from."""
    attributes, route, decision, connection = context.attributes, context.route, context.decision, context.connection
    backend = route.backend if route else None
    upstream = backend.upstream if backend else None
    if context.choice is not None:
        backend, upstream = context.choice
    return Exchange(
        method=scope["method"][:MAX_LOGGED_METHOD],
        scheme=connection.scheme,
        http_version=scope["http_version"],
        host=attributes.host if attributes else "",
        local_port=connection.local_port,
        status=context.status,
        route=route.name if route else "",
        caller=context.peer.uri if context.peer else "",
        allowed=context.is_allowed,
        reason=context.verdict,
        rule=(decision.rule or "") if decision else "",
        error=context.reason or ("downstream_closed" if context.error else ""),
        aborted=context.aborted,
        backend=backend.name if backend else "",
        endpoint=context.endpoint or "",
        upstream_scheme="https" if upstream and upstream.tls else "http",
        upstream_host=upstream.host if upstream else "",
        upstream_port=upstream.port if upstream else 0,
        path=logged_path(scope, context),
        decision_id=context.decision_id,
        address=connection.address,
        port=connection.port,
        started=context.start_time,
        seconds=time.perf_counter() - context.started,
        upstream_offset=context.upstream_offset,
        upstream_seconds=context.upstream_seconds,
    )
