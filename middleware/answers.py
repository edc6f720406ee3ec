"""Answers that the gateway gives in the place of a backend, and that are no errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.policy.headers import DECISION_ID
from middleware.moments import http_date

if TYPE_CHECKING:
    from starlette.types import Send

    from config.attributes import RawHeaders
    from middleware.context import RequestContext


async def send_empty_answer(context: RequestContext, send: Send, status: int, headers: RawHeaders) -> None:
    """Answer without a body.

    Args:
        context: the request's record.
        send: the caller's side.
        status: one whose answers may have a length.
        headers: fields beside the date, the length and the decision's id.

    """
    own: RawHeaders = [
        (b"content-length", b"0"),
        (DECISION_ID, context.decision_id.encode()),
        (b"date", http_date()),
    ]
    context.status = status
    await send({"type": "http.response.start", "status": status, "headers": headers + own})
    await send({"type": "http.response.body", "body": b""})
