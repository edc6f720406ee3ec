"""The body of a request, taken out of its stream of messages and put back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from middleware.errors import CallerIdleError, DownstreamClosedError

if TYPE_CHECKING:
    from starlette.types import Message, Receive

    from middleware.context import RequestContext


IDLE_SECONDS: Final = 30.0
"""`EGRESS_BODY_IDLE_TIMEOUT`, where nobody says otherwise."""


async def read_body(
    receive: Receive, context: RequestContext, limit: int, idle_seconds: float = IDLE_SECONDS
) -> tuple[bytes, bool]:
    """Read a body until it ends, or until more than `limit` bytes of it are there.

    Args:
        receive: where it comes from.
        context: the request's record.
        limit: bytes.
        idle_seconds: that the caller may wait between two parts. Nobody else looks: the request is not forwarded yet.

    Returns:
        What was read, and whether more is to come.

    Raises:
        CallerIdleError: the caller waits for too long.
        DownstreamClosedError: the caller left.

    """
    parts: list[bytes] = []
    size, more = 0, True
    while more and size <= limit:
        part, more = await _next_part(receive, idle_seconds)
        parts.append(part)
        size += len(part)
        context.bytes_in = size
    return b"".join(parts), more


async def discard_body(receive: Receive, context: RequestContext, idle_seconds: float = IDLE_SECONDS) -> int:
    """Take a body to its end, keep nothing of it, and return its size.

    Raises:
        CallerIdleError: the caller waits for too long between two parts.
        DownstreamClosedError: the caller left.

    """
    size, more = 0, True
    while more:
        part, more = await _next_part(receive, idle_seconds)
        size += len(part)
        context.bytes_in = size
    return size


def put_back(
    body: bytes, receive: Receive, context: RequestContext, *, more: bool = False, bytes_in: int = 0
) -> Receive:
    """Return a `receive` that gives `body` first, and then what is to come.

    Args:
        body: the first part.
        receive: where the rest comes from.
        context: the request's record.
        more: whether the body goes on.
        bytes_in: what the record starts from when the part is handed out, as whoever takes it counts it.

    """
    kept: Message | None = {"type": "http.request", "body": body, "more_body": more}

    async def replay() -> Message:
        nonlocal kept
        if kept is not None:
            message, kept = kept, None
            context.bytes_in = bytes_in
            return message
        return await receive()

    return replay


async def _next_part(receive: Receive, idle_seconds: float) -> tuple[bytes, bool]:
    try:
        async with asyncio.timeout(idle_seconds) as limit:
            message = await receive()
    except TimeoutError:
        if not limit.expired():
            raise
        raise CallerIdleError(f"the caller sent nothing of its body for {idle_seconds:g} s") from None
    if message["type"] == "http.disconnect":
        raise DownstreamClosedError("the caller left within its request")
    return message.get("body", b""), message.get("more_body", False)
