"""The catch-all route: send the request to the route's backend, stream both ways."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from app.attempts import Attempts
from app.backends.errors import OriginConnectError, OriginError, OriginRequestError
from app.caller import Caller
from app.heads import answer_head, request_head
from middleware.context import CONTEXT
from middleware.errors import (
    InvalidRequestError,
    UpstreamAbortedError,
    UpstreamConnectError,
    UpstreamProtocolError,
)

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from app.attempts import Means
    from app.backends.exchange import Response
    from app.caller import IdleWatch
    from middleware.context import RequestContext


@dataclass(frozen=True, slots=True)
class Forward:
    """Send the request to its route's backend and stream the answer back.

    Only a body that may have to be sent again is buffered.
    """

    means: Means
    idle: IdleWatch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context: RequestContext = scope[CONTEXT]
        route, attributes = context.routed()
        caller = Caller(receive, context, self.idle)
        try:
            upstream = route.upstream
            if upstream is None or route.backend is None:
                response = await Attempts(context, caller, self.means).exchange()
            else:  # the short way: nothing but one attempt, without a limit
                transport = self.means.backends.transport(upstream)
                headers = request_head(context, route.backend.authority, attributes.host, context.headers)
                body = caller.body() if context.chunked or context.content_length else None
                if body is None:
                    caller.watch()
                began = time.perf_counter()
                context.upstream_offset = began - context.started
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
            caller.reraise()
            raise
        finally:
            caller.close()


async def _answer(response: Response, context: RequestContext, caller: Caller, send: Send) -> None:
    """Pass the answer on, as fast as the caller takes it."""
    context.status = status = response.status
    headers = answer_head(status, response.headers, response.fields)
    caller.sending_since = monotonic()
    await send({"type": "http.response.start", "status": status, "headers": headers})
    is_head_out = False  # servers write a head together with the first part of the body
    while True:
        part = response.take()
        ended = response.has_ended
        if not part and not ended:
            if not is_head_out:
                is_head_out = True
                await send({"type": "http.response.body", "body": b"", "more_body": True})
            caller.awaiting_since, caller.sending_since = monotonic(), None
            await response.wait()
            caller.awaiting_since, caller.sending_since = None, monotonic()
            continue
        is_head_out = True
        context.bytes_out += len(part)
        if ended:
            # The server reports the end of its own answer as a disconnect: nobody may listen for one any more.
            caller.listen_no_more()
            await send({"type": "http.response.body", "body": part})
            return
        await send({"type": "http.response.body", "body": part, "more_body": True})
        caller.sending_since = monotonic()
