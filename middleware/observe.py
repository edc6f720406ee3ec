"""The outermost layer: makes the record of a request and hands it on at the end."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from middleware.context import CONTEXT, RequestContext, connection_of
from middleware.moments import new_uuid

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from config.attributes import RawHeaders
    from config.snapshot import Snapshot
    from middleware.trace_context import Trace

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


@dataclass(frozen=True, slots=True)
class ObserveMiddleware:
    """Record every request, aborted ones too."""

    app: ASGIApp
    snapshot: Snapshot
    """The configuration of every request that comes through here: each keeps it to its end."""
    record: Callable[[Scope, RequestContext], None]
    """Takes the finished record: the access log and the traces."""
    trace: Callable[[RawHeaders], Trace] | None = None
    """Begins a request's trace; none if traces are off."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fields = dict(scope["headers"])
        context = RequestContext(self.snapshot, connection_of(scope), fields)
        context.request_id = _request_id(fields)
        if self.trace is not None:
            context.trace = self.trace(scope["headers"])
        scope[CONTEXT] = context
        try:
            await self.app(scope, receive, send)
        except BaseException as error:
            context.error = context.error or f"ended by {type(error).__name__}"
            raise
        finally:
            self.record(scope, context)


def _request_id(fields: dict[bytes, bytes]) -> str:
    """Return the caller's `x-request-id` if it may stand in a log, else a new one."""
    sent = fields.get(b"x-request-id")
    return sent.decode() if sent is not None and _REQUEST_ID.fullmatch(sent) else new_uuid()
