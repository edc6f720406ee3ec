"""Request mirroring: copies for another backend, sent beside the requests and never in their way."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.backends.errors import OriginError
from app.backends.exchange import in_one_part
from app.heads import VIA
from config.policy.mirror import MAX_BODY_BYTES
from config.policy.normalisation import write_authority
from middleware.context import CONTEXT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from app.backends.table import BackendTable
    from config.attributes import RawHeaders
    from config.policy.mirror import Mirror
    from middleware.context import RequestContext

MAX_IN_FLIGHT = 64
"""Copies of one process that are on their way; beyond, they are dropped: a slow mirror must not fill the memory."""
DEADLINE_SECONDS = 10.0
MAX_ANSWER_BYTES = 1024 * 1024
"""Answer that is read so that its connection can be used again; of a longer one the connection is closed."""
_REPORT_SECONDS = 60.0
_MAX_REPORTED = 1024

logger = logging.getLogger("egress")


@dataclass(frozen=True, slots=True)
class Copy:
    """A request as policy left it. No credential of the gateway's is in it: those are added after it was taken."""

    method: str
    target: str
    headers: RawHeaders
    """Without `Host` and framing."""
    body: bytes | None = None
    """None: the request has no body."""


class MirrorSender:
    """Sends copies, each in a task of its own. What becomes of one never reaches the request it was taken of."""

    def __init__(
        self,
        backends: BackendTable,
        *,
        clock: Callable[[], float] = time.monotonic,
        deadline: float = DEADLINE_SECONDS,
        max_in_flight: int = MAX_IN_FLIGHT,
    ) -> None:
        """Prepare; nothing runs before the first copy.

        Args:
            backends: the transports.
            clock: tells when a failure was last reported. Unit: seconds.
            deadline: from asking for a connection to the end of the answer. Unit: seconds.
            max_in_flight: copies that may be on their way.

        """
        self._backends = backends
        self._clock = clock
        self._deadline = deadline
        self._max_in_flight = max_in_flight
        self._tasks: set[asyncio.Task[None]] = set()
        self._reported: dict[str, tuple[float, int]] = {}
        """Name of a mirror to the moment of its last report, and what failed since."""
        self._closed = False

    def send(self, mirrors: Iterable[Mirror], copy: Copy) -> None:
        """Begin to send a copy to each of the mirrors; one for which there is no room is dropped."""
        for mirror in mirrors:
            if self._closed:
                return
            if len(self._tasks) >= self._max_in_flight:
                self._report(mirror, "too many copies are on their way")
                continue
            task = asyncio.create_task(self._send(mirror, copy))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Give up the copies that are on their way, and take no more."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, mirror: Mirror, copy: Copy) -> None:
        try:
            async with asyncio.timeout(self._deadline):
                await self._exchange(mirror, copy)
        except OriginError as error:
            self._report(mirror, str(error))
        except Exception as error:  # noqa: BLE001  reported, without a text that may quote the request
            self._report(mirror, type(error).__name__)

    async def _exchange(self, mirror: Mirror, copy: Copy) -> None:
        host = mirror.authority or write_authority(mirror.upstream.host).encode()
        headers: RawHeaders = [(b"host", host), *copy.headers, VIA]
        if copy.body is not None:
            headers.append((b"content-length", b"%d" % len(copy.body)))
        body = in_one_part(copy.body) if copy.body else None
        response = await self._backends.transport(mirror.upstream).exchange(copy.method, copy.target, headers, body)
        try:
            left = MAX_ANSWER_BYTES
            while left > 0 and (part := await response.read()):
                left -= len(part)
        finally:
            response.close()

    def _report(self, mirror: Mirror, reason: str) -> None:
        """Log a failure, at most once a minute for each mirror."""
        now = self._clock()
        last, unreported = self._reported.get(mirror.name, (None, 0))
        if last is not None and now - last < _REPORT_SECONDS:
            self._reported[mirror.name] = (last, unreported + 1)
            return
        if len(self._reported) >= _MAX_REPORTED:  # of configurations long gone
            self._reported.clear()
        self._reported[mirror.name] = (now, 0)
        facts = {"mirror": mirror.name, "error": reason, "unreported": unreported}
        logger.warning("a copy could not be sent", extra=facts)


@dataclass(frozen=True, slots=True)
class MirrorRequests:
    """Take copies of the requests that a route mirrors, as the forwarding application reads them."""

    app: ASGIApp
    sender: MirrorSender
    draw: Callable[[], float] = random.random
    """Gives a number from 0 to below 1 for each mirror: below its share, the request is copied."""

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        context: RequestContext = scope[CONTEXT]
        mirrors = [mirror for mirror in context.routed()[0].mirrors if self.draw() < mirror.share]
        if not mirrors:
            return self.app(scope, receive, send)
        # Taken before the backend's credentials are added: they are for the backend alone.
        headers = list(context.headers)
        if not context.chunked and not context.content_length:
            body = None if context.content_length is None else b""
            self.sender.send(mirrors, Copy(context.method, context.target, headers, body))
            return self.app(scope, receive, send)
        if (context.content_length or 0) > MAX_BODY_BYTES:
            _skip(context)
            return self.app(scope, receive, send)
        return self.app(scope, self._copying(context, mirrors, headers, receive), send)

    def _copying(
        self, context: RequestContext, mirrors: list[Mirror], headers: RawHeaders, receive: Receive
    ) -> Receive:
        """Return a `receive` that keeps the body aside, and sends the copy once the whole of it has come."""
        method, target = context.method, context.target
        parts: list[bytes] = []
        size = 0
        copying = True

        async def receive_and_copy() -> Message:
            nonlocal size, copying
            message = await receive()
            if not copying or message["type"] != "http.request":
                return message
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > MAX_BODY_BYTES:
                copying = False
                parts.clear()
                _skip(context)
            else:
                parts.append(part)
                if not message.get("more_body", False):
                    copying = False
                    self.sender.send(mirrors, Copy(method, target, headers, b"".join(parts)))
            return message

        return receive_and_copy


def _skip(context: RequestContext) -> None:
    logger.debug("a request is too large to be copied", extra={"decision_id": context.decision_id})
