"""Response policies: what the caller is told, by an origin or by this gateway."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.attributes import MAX_BODY_BYTES, ResponseAttributes
from config.cel import EvaluationError
from config.policy.body import without_description
from config.policy.headers import DECISION_ID
from middleware.context import CONTEXT
from middleware.errors import GatewayError, ResponseTooLargeError
from middleware.framing import NO_CONTENT, NO_LENGTH
from middleware.transformations import choose

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from config.attributes import RawHeaders, RequestAttributes
    from config.policy.body import BodyBuffer
    from config.policy.transformation import Transform
    from config.snapshot import Route
    from middleware.context import RequestContext

MAX_DISCARDED_BYTES = 64 * 1024
"""Of a body that is replaced and of known length: it is taken, so that the connection can be used again."""
_STATUS = re.compile(rb"[2-5][0-9]{2}")
_JOINED = frozenset({b"vary"})
"""Lists that several parties write to: what the origin says stays true."""


class _ReplacedError(BaseException):
    """The answer needs no more of what is being sent: whoever sends it may stop. No error, and not to be caught."""


@dataclass(frozen=True, slots=True)
class ResponsePolicyMiddleware:
    """Apply the route's response header modifiers, then `transformation.response`, then the queued header fields.

    It stands outside of the layer that answers errors, so that local answers come through here too. Nothing of an
    answer is held but where its route buffers answers, or an expression reads their bodies.
    """

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer(scope, send)
        try:
            await self.app(scope, receive, answer.send)
        except _ReplacedError:
            await answer.finish()


class _Answer:
    """One answer on its way out: passed on, held until its body is known, or discarded for another one."""

    __slots__ = (
        "_buffer",
        "_context",
        "_ends_soon",
        "_head",
        "_limit",
        "_parts",
        "_ready",
        "_scope",
        "_send",
        "_size",
        "_transform",
    )

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._context: RequestContext = scope[CONTEXT]
        self._head: tuple[int, RawHeaders] | None = None
        """Of an answer that is held."""
        self._ready: tuple[Message, bytes] | None = None
        """Head and body that are sent once the answer that they replace has ended."""

    def send(self, message: Message) -> Awaitable[None]:
        """Take what the layers inside, or the origin, answer."""
        if message["type"] == "http.response.start":
            # A second one follows an answer of which nothing was sent: the origin failed while it was held.
            self._head = self._ready = None
            context = self._context
            route, attributes = context.route, context.attributes
            if route is None or attributes is None or not route.rewrites_responses:
                return self._send_head(message["status"], message["headers"])
            return self._begin(message, route, attributes)
        if self._ready is not None:
            return self._discard(message)
        if self._head is not None:
            return self._hold(message)
        return self._send(message)

    async def finish(self) -> None:
        """Send the answer that replaces another one."""
        if self._ready is None:
            raise RuntimeError("there is no answer to replace the other one")
        (start, body), self._ready = self._ready, None
        await self._send_head(start["status"], start["headers"])
        self._context.bytes_out = len(body)
        await self._send({"type": "http.response.body", "body": body})

    def _send_head(self, status: int, headers: RawHeaders) -> Awaitable[None]:
        queued = self._context.queued_headers
        if queued:
            headers = with_queued(headers, queued)
        self._context.status = status
        return self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _begin(self, message: Message, route: Route, attributes: RequestAttributes) -> None:
        """Judge a head: whether the answer must be held before the next one can be made."""
        self._context.status = None  # nothing is out: whatever goes wrong now can still be answered
        status, headers = message["status"], message["headers"]
        if route.response_headers is not None:
            headers = route.response_headers.apply(headers)
        self._transform = transform = _transform(self._scope, route, attributes)
        self._head = status, headers
        self._parts: list[bytes] = []
        self._size = 0
        buffer = route.buffer.response if route.buffer is not None and not _is_local(headers) else None
        reads = transform is not None and transform.reads_response_body
        length = next((int(value) for name, value in headers if name == b"content-length"), None)
        self._ends_soon = length is not None and length <= MAX_DISCARDED_BYTES
        if self._scope["method"] == "HEAD" or status in NO_CONTENT:
            await self._rewrite(attributes, b"", is_whole=True, more=True)
            return
        if buffer is not None and length is not None and length > buffer.max_bytes:
            self._refuse_unless_open(buffer)
            buffer = buffer if reads else None  # it would not become whole
        self._buffer = buffer
        self._limit = MAX_BODY_BYTES if buffer is None else buffer.max_bytes
        if not reads and buffer is None:
            await self._rewrite(attributes, None, is_whole=False, more=True)

    def _refuse_unless_open(self, buffer: BodyBuffer) -> None:
        if not buffer.fails_open:
            self._head = None
            raise ResponseTooLargeError(f"an answer of more than {buffer.max_bytes} bytes")

    async def _hold(self, message: Message) -> None:
        """Keep a part of the body until the answer is whole, or larger than it may be."""
        part, more = message.get("body", b""), message.get("more_body", False)
        self._parts.append(part)
        self._size += len(part)
        is_larger = self._size > self._limit
        if more and not is_larger:
            return
        if is_larger and self._buffer is not None:
            self._refuse_unless_open(self._buffer)
        _, attributes = self._context.routed()
        await self._rewrite(attributes, b"".join(self._parts), is_whole=not is_larger, more=more)

    async def _rewrite(self, attributes: RequestAttributes, held: bytes | None, *, is_whole: bool, more: bool) -> None:
        """Make the new head, and the new body where there is one; send them, or wait for the end of the old one.

        Args:
            attributes: of the request.
            held: what is there of the body; none where nobody asked for it.
            is_whole: whether that is all of it.
            more: whether further messages of the old answer follow.

        """
        if self._head is None:
            raise RuntimeError("an answer is rewritten before it began")
        (old_status, headers), self._head = self._head, None
        status, body, transform = old_status, None, self._transform
        if transform is not None:
            seen = held if held is None or is_whole else held[: self._limit]
            attributes.response = ResponseAttributes(old_status, headers, seen, is_whole)
            status, headers, body = _transformed(transform, attributes, old_status, headers)
        is_head = self._scope["method"] == "HEAD"
        if status in NO_CONTENT and (body is not None or old_status not in NO_CONTENT):
            body = b""
        is_length_known = held is not None and is_whole and not more
        if body is not None or (status in NO_LENGTH) != (old_status in NO_LENGTH) or is_length_known:
            # The old length is no longer true, or was never told.
            headers = [pair for pair in headers if pair[0] != b"content-length"]
            if status not in NO_LENGTH and not is_head:
                length = len(held or b"") if body is None else len(body)
                headers.append((b"content-length", b"%d" % length))
        if body is not None and not is_head:
            self._ready = {"type": "http.response.start", "status": status, "headers": headers}, body
            if not more:
                await self.finish()
            return
        await self._send_head(status, headers)
        if held or not more:
            await self._send({"type": "http.response.body", "body": held or b"", "more_body": more})

    async def _discard(self, message: Message) -> None:
        """Take what is left of an answer that is replaced, if it is little.

        Raises:
            _ReplacedError: it is not, or nobody can tell. To close the connection to the origin costs less than to wait
                for a stream.

        """
        if not message.get("more_body", False):
            await self.finish()
            return
        if not self._ends_soon:
            raise _ReplacedError


def _is_local(headers: RawHeaders) -> bool:
    return any(name == DECISION_ID for name, _ in headers)


def _transform(scope: Scope, route: Route, attributes: RequestAttributes) -> Transform | None:
    if route.transformation is None:
        return None
    response, attributes.response = attributes.response, None  # conditions are asked of the request alone
    try:
        rewrites = choose(scope, route.transformation, attributes)
    except GatewayError:
        # The condition does not compile. The request itself is answered 500 for that; what is given here is an earlier
        # refusal, of which nothing is lost by leaving it as it is.
        return None
    finally:
        attributes.response = response
    return None if rewrites is None else rewrites.response


def _transformed(
    transform: Transform, attributes: RequestAttributes, status: int, headers: RawHeaders
) -> tuple[int, RawHeaders, bytes | None]:
    """Return status, header fields and, where it is replaced, body of an answer. A status that fails stays."""
    transform.note(attributes)
    for header in transform.pseudo:
        value = header.evaluate(attributes)
        if value is not None and _STATUS.fullmatch(value):
            status = int(value)
    body: bytes | None = None
    if transform.body is not None:
        try:
            body = transform.body.content(attributes)
        except EvaluationError:
            body = b""
        headers = without_description(headers)
    return status, transform.headers.apply(headers, attributes), body


def with_queued(headers: Sequence[tuple[bytes, bytes]], queued: RawHeaders) -> RawHeaders:
    """Return the fields of an answer with those that layers queued for it, which replace those of the same name."""
    replaced = {name for name, _ in queued} - _JOINED
    return [pair for pair in headers if pair[0] not in replaced] + queued
