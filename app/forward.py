"""The catch-all route: pick the backend, stream both ways."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.backends.errors import OriginConnectError, OriginError, OriginRequestError
from middleware.context import CONTEXT
from middleware.errors import (
    DownstreamClosedError,
    InvalidRequestError,
    NoValidBackendError,
    UpstreamAbortedError,
    UpstreamConnectError,
    UpstreamProtocolError,
)
from middleware.framing import HOP_BY_HOP, end_to_end
from middleware.moments import http_date
from middleware.problems import DECISION_ID

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

    from app.backends.table import BackendTable
    from app.backends.transport import OriginResponse
    from config.attributes import RawHeaders, RequestAttributes
    from config.snapshot import Backend
    from middleware.context import RequestContext

VIA = (b"via", b"1.1 egress-gateway")
"""RFC 9110 section 7.6.3. The version is the caller's, which is HTTP/1.1 or answered as such."""

_NOT_PASSED_ON = HOP_BY_HOP | {DECISION_ID}
"""Dropped from an origin's answer; the decision id, so that it cannot pass for one of the gateway's own."""
_NOT_PASSED_ON_BODYLESS = _NOT_PASSED_ON | {b"content-length"}
_NO_LENGTH = frozenset({204, 304})
"""Statuses whose `Content-Length` says nothing about this message; uvicorn would wait for such a body."""


@dataclass(frozen=True, slots=True)
class Forward:
    """Send the request to its route's backend and stream the answer back. Nothing is buffered whole."""

    backends: BackendTable

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context: RequestContext = scope[CONTEXT]
        route, attributes = context.routed()
        if route.backend is None:
            raise NoValidBackendError("the backend reference of this route dangles")
        transport = self.backends.transport(route.backend.upstream)
        caller = _Caller(receive, context)
        headers = _request_head(route.backend, attributes, context)
        body = caller.body() if context.chunked or context.content_length else None
        if body is None:
            caller.watch()
        began = time.perf_counter()
        context.upstream_offset = began - context.started
        try:
            response = await transport.exchange(context.method, context.target, headers, body)
            context.upstream_seconds = time.perf_counter() - began
            context.endpoint = response.endpoint
            try:
                await _answer(response, context, caller, send)
            finally:
                response.close()
        except OriginConnectError as error:
            raise UpstreamConnectError(str(error)) from error
        except OriginRequestError as error:  # h11 lets controls pass that policy's own values never hold
            raise InvalidRequestError(str(error)) from error
        except OriginError as error:
            kind = UpstreamProtocolError if context.status is None else UpstreamAbortedError
            raise kind(str(error)) from error
        except asyncio.CancelledError:
            caller.reraise_if_gone()
            raise
        finally:
            caller.close()


async def _answer(response: OriginResponse, context: RequestContext, caller: _Caller, send: Send) -> None:
    """Pass the answer on, as fast as the caller takes it."""
    status = response.status
    fields = response.fields
    dropped = _NOT_PASSED_ON_BODYLESS if status in _NO_LENGTH else _NOT_PASSED_ON
    headers = end_to_end(response.headers, fields, dropped)
    if b"date" not in fields:
        headers.append((b"date", http_date()))  # RFC 9110 section 6.6.1
    context.status = status
    await send({"type": "http.response.start", "status": status, "headers": headers})
    is_head_out = False  # servers write a head together with the first part of the body
    while True:
        part = response.take()
        ended = response.has_ended
        if not part and not ended:
            if not is_head_out:
                is_head_out = True
                await send({"type": "http.response.body", "body": b"", "more_body": True})
            await response.wait()
            continue
        is_head_out = True
        context.bytes_out += len(part)
        if ended:
            # The server reports the end of its own answer as a disconnect: nobody may listen for one any more.
            caller.close()
            await send({"type": "http.response.body", "body": part})
            return
        await send({"type": "http.response.body", "body": part, "more_body": True})


def _request_head(backend: Backend, attributes: RequestAttributes, context: RequestContext) -> RawHeaders:
    """Return the fields for the origin: `Host` and framing are this hop's own, the rest is what policy left."""
    result: RawHeaders = [
        (b"host", context.authority or backend.authority or _bracketed(attributes.host)),
        *context.headers,
        VIA,
    ]
    if context.chunked:
        result.append((b"transfer-encoding", b"chunked"))
    elif context.content_length is not None:
        result.append((b"content-length", b"%d" % context.content_length))
    return result


def _bracketed(host: str) -> bytes:
    return f"[{host}]".encode() if ":" in host else host.encode()


class _Caller:
    """The caller's side of one request: its body, and whether it is still there."""

    def __init__(self, receive: Receive, context: RequestContext) -> None:
        self._receive = receive
        self._context = context
        self._watch: asyncio.Task[None] | None = None
        self._gone = False
        # Our own listeners call back, at any moment: while an upload waits for the origin nobody asks `receive`.
        self._departure = departure = context.connection.departure
        if departure is not None:
            departure.callback = self._leave
        self._task = (departure and departure.task) or asyncio.current_task()

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the body's parts as they come; afterwards listen for the end of the connection."""
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise DownstreamClosedError("the caller left within its request")
            part: bytes = message.get("body", b"")
            self._context.bytes_in += len(part)
            more = message.get("more_body", False)
            yield part
        self.watch()

    def watch(self) -> None:
        """Cancel this request when the caller leaves, where only `receive` tells."""
        if self._departure is None:
            self._watch = asyncio.create_task(self._until_gone())

    def close(self) -> None:
        """Stop listening."""
        if self._departure is not None:
            self._departure.callback = None
        if self._watch is not None:
            self._watch.cancel()

    def reraise_if_gone(self) -> None:
        """Turn the cancellation of our own `watch` into what it means."""
        if self._gone and self._task is not None and self._task.uncancel() == 0:
            raise DownstreamClosedError("the caller left before its answer was complete") from None

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        self._gone = True
        if self._task is not None:
            self._task.cancel()
