"""Answers a `GatewayError`; aborts the connection where an answer has already begun."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.policy.headers import DECISION_ID
from middleware.context import CONTEXT
from middleware.errors import DownstreamClosedError, GatewayError, ShuttingDownError
from middleware.moments import http_date

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from config.attributes import RawHeaders
    from middleware.context import RequestContext

_PROBLEM_JSON = "application/problem+json"
_GRPC_STATUS = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
"""HTTP to gRPC status. Source: grpc/doc/http-grpc-status-mapping.md."""
_GRPC_UNKNOWN = 2

logger = logging.getLogger("egress")


@dataclass(frozen=True, slots=True)
class ProblemMiddleware:
    """Turn errors into the answers of the contract: plain text, RFC 9457, or gRPC, as the caller reads it."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context: RequestContext = scope[CONTEXT]
        try:
            await self.app(scope, receive, send)
        except DownstreamClosedError as closed:
            context.error = str(closed)
            context.aborted = context.status is not None
        except GatewayError as problem:
            await _answer(problem, context, scope, send)
        except asyncio.CancelledError:
            # Only a server that ends cancels a request; the task ends here anyway.
            await _answer(ShuttingDownError("the time to drain was over"), context, scope, send)
        except Exception as error:  # noqa: BLE001  answered and logged
            # Without the exception's own text, which may quote a message.
            frames = traceback.extract_tb(error.__traceback__)[-12:]
            facts = {
                "decision_id": context.decision_id,
                "exception": type(error).__name__,
                "frames": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
            }
            logger.error("unexpected error", extra=facts)  # noqa: TRY400
            await _answer(GatewayError(f"unexpected {type(error).__name__}"), context, scope, send)


async def _answer(problem: GatewayError, context: RequestContext, scope: Scope, send: Send) -> None:
    context.reason = problem.reason
    context.error = str(problem)
    if context.status is not None:
        # Part of another answer is out. Only a broken connection tells the caller that it is not whole.
        context.aborted = True
        context.connection.abort()
        return
    status, headers, body = answer(problem, context.decision_id, scope["headers"])
    context.status = status
    if scope["method"] != "HEAD":
        context.bytes_out = len(body)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def answer(
    problem: GatewayError, decision_id: str, request_headers: Iterable[tuple[bytes, bytes]]
) -> tuple[int, RawHeaders, bytes]:
    """Return status, headers and body of a local answer, in the form that the caller asked for."""
    status = int(problem.status)
    own: RawHeaders = [(DECISION_ID, decision_id.encode()), (b"date", http_date())]
    own += problem.headers
    request_headers = list(request_headers)
    if any(
        name == b"content-type" and value.lower().startswith(b"application/grpc") for name, value in request_headers
    ):
        code = _GRPC_STATUS.get(status, _GRPC_UNKNOWN)
        grpc = [(b"grpc-status", b"%d" % code), (b"grpc-message", problem.body.encode())]
        return 200, [(b"content-type", b"application/grpc"), *grpc, (b"content-length", b"0"), *own], b""
    body, content_type = problem.body.encode(), b"text/plain; charset=utf-8"
    accept = b",".join(value for name, value in request_headers if name == b"accept")  # RFC 9110 section 5.3
    if _wants_problem_json(accept.decode("latin-1")):
        facts = {
            "type": f"urn:egress-gateway:{problem.reason}",
            "title": problem.body,
            "status": status,
            "reason": problem.reason,
            "decision_id": decision_id,
        }
        body, content_type = json.dumps(facts).encode(), _PROBLEM_JSON.encode()
    return status, [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), *own], body


def _wants_problem_json(accept: str) -> bool:
    """Tell whether `Accept` names RFC 9457's type with a weight above zero; a wildcard does not name it."""
    for entry in accept.split(","):
        media_type, *parameters = (part.strip().lower() for part in entry.split(";"))
        if media_type == _PROBLEM_JSON:
            weights = [part[2:] for part in parameters if part.startswith("q=")]
            try:
                return not weights or float(weights[0]) > 0
            except ValueError:
                return False
    return False
