"""uvicorn's request-response cycle with a send path for a proxy: the head leaves with the first part of the body."""

from __future__ import annotations

import asyncio
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from middleware.framing import NO_LENGTH, written_head

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from app.listeners.httptools_protocol import HttpToolsGatewayProtocol
    from config.attributes import RawHeaders

_STATUS_LINES = {
    status: b"HTTP/1.1 %d %b" % (status, HTTPStatus(status).phrase.encode() if status in set(HTTPStatus) else b"")
    for status in range(200, 600)
}
JOINED_BYTES = 64 * 1024
"""A part of a body that is larger is not copied behind the head."""


class GatewayCycle(RequestResponseCycle):
    """One request of a connection and its answer.

    uvicorn writes the head, every part and the end by themselves: three records and system calls for a small answer.
    Here the head waits for the first `http.response.body`, whatever that holds, as the ASGI specification allows.
    """

    # What a request begins with stands on the class: uvicorn assigns it all for each one.
    disconnected = False
    more_body = True
    response_started = False
    response_complete = False
    chunked_encoding = None
    expected_content_length = 0
    _waiting_bytes = 0
    _head = b""
    """What was not written yet."""
    task: asyncio.Task[None]
    """What runs the application."""
    _has_no_body = False
    """The answer to HEAD, whatever its fields say."""
    _until_close = False
    """The end of the connection is the end of the body: HTTP/1.0 knows no chunks (RFC 9112 section 6.1)."""

    def __init__(
        self, protocol: HttpToolsGatewayProtocol, scope: Any, *, keep_alive: bool, expects_continue: bool
    ) -> None:
        """Begin.

        Args:
            protocol: the connection's.
            scope: the request's.
            keep_alive: whether another request may follow.
            expects_continue: whether the caller waits for `100 Continue` before it sends its body.

        """
        self.scope = scope
        self.transport = protocol.transport
        self.flow = protocol.flow
        self.logger = protocol.logger
        self.on_response = protocol.on_response_complete
        self.tasks = protocol.tasks
        self.done = protocol.done
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = expects_continue
        self._parts: list[bytes] = []

    @cached_property
    def message_event(self) -> asyncio.Event:  # type: ignore[override]  # uvicorn makes one for each request
        """Set when there is something to `receive`; most requests never ask."""
        event = asyncio.Event()
        if self._parts or not self.more_body or self.disconnected or self.response_complete:
            event.set()
        return event

    def notify(self) -> None:
        """Wake whoever waits in `receive`."""
        if "message_event" in self.__dict__:
            self.message_event.set()

    def take_in(self, part: bytes) -> None:
        """Keep a part of the request's body until it is asked for, and read no more while much is kept."""
        self._parts.append(part)
        self._waiting_bytes += len(part)
        if self._waiting_bytes > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        self.notify()

    async def receive(self) -> Any:
        """Return the next part of the request's body as it was read, without uvicorn's copies, or the end."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        if not self.disconnected and not self.response_complete:
            self.flow.resume_reading()
            await self.message_event.wait()
            self.message_event.clear()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        parts, self._parts, self._waiting_bytes = self._parts, [], 0
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def run_asgi(self, app: Any) -> None:
        """Run the application. Its layers answer every error; one that gets here ends the connection."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:
            self.logger.exception("Exception in ASGI application")
        finally:
            if not self.response_complete and not self.transport.is_closing():
                self.transport.close()
            # Not by a callback of the task, which would be a further step of the event loop.
            self.tasks.discard(self.task)

    def send(self, message: Any) -> Awaitable[None]:  # type: ignore[override]  # an awaitable is what ASGI asks for
        """Write what the application answers; it waits only while the caller does not read."""
        if self.flow.write_paused and not self.disconnected:
            return self._send_later(message)
        self._send(message)
        return self.done

    async def _send_later(self, message: Any) -> None:
        await self.flow.drain()
        self._send(message)

    def _send(self, message: Any) -> None:
        if self.disconnected:
            return
        kind = message["type"]
        if kind == "http.response.body" and self.response_started and not self.response_complete:
            self._write(message.get("body", b""), more_body=message.get("more_body", False))
        elif kind == "http.response.start" and not self.response_started:
            self._head = self._start(message["status"], message["headers"])
            self.response_started = True
            self.waiting_for_100_continue = False
        else:
            raise RuntimeError(f"the ASGI message {kind!r} is out of place")

    def _start(self, status: int, headers: RawHeaders) -> bytes:
        """Return the head, and note how its body is framed. Names of the fields are lower-cased.

        Raises:
            BrokenHeadError: a field holds a control character, which could end it.

        """
        named = dict(headers)
        length, fields = named.get(b"content-length"), headers
        if self.scope["method"] == "HEAD":
            self._has_no_body = True
        elif length is not None:
            self.expected_content_length = int(length)
        elif status not in NO_LENGTH:
            self._until_close = self.scope["http_version"] == "1.0"
            self.chunked_encoding = not self._until_close
            if self.chunked_encoding:
                fields = [*headers, (b"transfer-encoding", b"chunked")]
        closes = b"connection" in named and b"close" in named[b"connection"].lower()
        if closes or self._until_close or (self.waiting_for_100_continue and self.more_body):
            # A caller that was refused without `100 Continue` may keep its body: nobody could tell what comes next.
            self.keep_alive = False
        if not self.keep_alive and not closes:
            fields = [*fields, (b"connection", b"close")]
        return written_head(_STATUS_LINES[status], fields)

    def _write(self, body: bytes, *, more_body: bool) -> None:
        """Write a part of the body, and the head before the first one."""
        data = self._framed(body, more_body=more_body)
        head, self._head = self._head, b""
        if head and len(data) <= JOINED_BYTES:
            data = head + data
        elif head:
            self.transport.write(head)
        if data:
            self.transport.write(data)
        if not more_body:
            self.response_complete = True
            self.notify()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()

    def _framed(self, body: bytes, *, more_body: bool) -> bytes:
        """Return a part of the body as it is written.

        Raises:
            RuntimeError: the body is not as long as the head says.

        """
        if self.chunked_encoding:
            data = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return data if more_body else data + b"0\r\n\r\n"
        if self._has_no_body:
            return b""
        if not self._until_close:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0 or (self.expected_content_length and not more_body):
                raise RuntimeError("the body of the response is not as long as its Content-Length")
        return body
