"""One keep-alive HTTP/1.1 connection to an origin."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httptools

from app.backends.errors import OriginProtocolError, OriginWriteError
from app.backends.tls import is_end_announced

if TYPE_CHECKING:
    from config.attributes import RawHeaders

HIGH_WATER_BYTES = 64 * 1024
"""Undelivered response bytes from which on the origin is not read any more."""
MAX_HEAD_BYTES = 65_536
MAX_HEADER_FIELDS = 200
MAX_INTERIM_RESPONSES = 16
"""1xx answers before the real one."""

_FIRST_FINAL_STATUS = 200


@dataclass(slots=True)
class ResponseHead:
    """Status line and fields of a final response."""

    status: int
    headers: RawHeaders = field(default_factory=list)
    """Names lower-cased."""


class OriginConnection(asyncio.Protocol):
    """Carries one exchange at a time.

    An exchange is `send` for the head and every part of the body, then `read_head`, then `read_body` until it is
    empty; both directions may run at once. A connection may be used again only if `is_reusable`: the answer was
    complete and not a byte more arrived. What is left on a connection would be the next caller's answer.
    """

    def __init__(self) -> None:
        self.endpoint = ""
        """Address and port that was dialled."""
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._eof = False
        self._error: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._write_paused = False
        self._read_paused = False
        self._reset("")

    def _reset(self, method: str) -> None:
        """Prepare for the next response. The parser is a new one: its state may not outlive an exchange."""
        self.has_answered = False
        """Whether any byte arrived since the exchange began."""
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self) if method else None
        self._method = method
        self._head: ResponseHead | None = None
        self._headers: RawHeaders = []
        self._head_bytes = 0
        self._overhead_bytes = 0
        self._interim = 0
        self._delimited = False
        self._complete = False
        self._keep_alive = False
        self._body: list[bytes] = []
        self._body_bytes = 0

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport once TCP, and TLS where there is any, is up."""
        self._transport = transport  # type: ignore[assignment]  # connection protocols get a Transport
        address = transport.get_extra_info("peername")
        self.endpoint = f"{address[0]}:{address[1]}" if address else ""

    def data_received(self, data: bytes) -> None:
        """Parse response bytes. Bytes that no exchange asked for end the connection."""
        self.has_answered = True
        if self._parser is None or self._complete:
            self.abort()
            return
        self._overhead_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail("the origin switched protocols")
        except httptools.HttpParserError as error:
            self._fail(f"the origin broke HTTP: {type(error).__name__}")
        # The parser gathers a field, and a trailer, until its end: only what came in can bound it.
        if self._overhead_bytes > MAX_HEAD_BYTES and not self._complete:
            self._fail("the response head or a trailer is too large")
        if self._error is not None:
            self.abort()
        self._wake()

    def eof_received(self) -> bool:
        """Note the end of input; if the origin announced it, it is the end of a body without a length."""
        if self._head is not None and not self._delimited and self._error is None and is_end_announced(self._transport):
            self._complete = True  # RFC 9112 section 6.3, item 8
        self._end_of_input()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail whoever waits."""
        self._closed = True
        if exc is not None and not self._complete:
            self._fail(f"the connection was lost: {type(exc).__name__}")
        self._end_of_input()
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def pause_writing(self) -> None:
        """Make `send` wait."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """Let `send` go on."""
        self._write_paused = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    # httptools callbacks

    def on_message_begin(self) -> None:
        """Start of a message; a second one in the same exchange may only follow a 1xx."""
        if self._head is not None:
            self._fail("bytes after a complete answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a field, within bounds; trailer fields are dropped."""
        if self._head is not None:
            return
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > MAX_HEAD_BYTES or len(self._headers) >= MAX_HEADER_FIELDS:
            self._fail("the response head is too large")
            return
        self._headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """Hand out a final head; skip an interim one."""
        if self._parser is None or self._error is not None or self._head is not None:
            return
        status = self._parser.get_status_code()
        if status < _FIRST_FINAL_STATUS:
            self._interim += 1
            if status == 101 or status < 100 or self._interim > MAX_INTERIM_RESPONSES:  # noqa: PLR2004  Switching Protocols
                self._fail(f"status {status} or too many interim answers")
            self._headers = []
            return
        if status > 599:  # noqa: PLR2004  RFC 9110 section 15: 100 to 599
            self._fail(f"status {status}")
            return
        codings = [value.lower() for name, value in self._headers if name == b"transfer-encoding"]
        if codings not in ([], [b"chunked"]):
            self._fail("a transfer coding other than chunked")  # it was not asked for, and would reach the caller coded
            return
        self._head = ResponseHead(status, self._headers)
        self._overhead_bytes = 0
        self._delimited = bool(codings) or any(name == b"content-length" for name, _ in self._headers)
        if self._method == "HEAD":
            # The parser expects the body that the fields describe; none comes (RFC 9112 section 6.3).
            # It would swallow the first line of a chunked one, so that nobody could tell whether bytes are left over.
            self._keep_alive = self._parser.should_keep_alive() and not codings
            self._complete = True

    def on_body(self, data: bytes) -> None:
        """Queue body bytes, and stop reading while too many wait."""
        if self._complete:
            self._fail("bytes after a complete answer")
            return
        self._overhead_bytes = 0
        self._body.append(data)
        self._body_bytes += len(data)
        if self._body_bytes > HIGH_WATER_BYTES and not self._read_paused and self._transport is not None:
            self._read_paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """End of the message: of a final one, the answer is whole."""
        if self._head is not None and not self._complete and self._parser is not None:
            self._keep_alive = self._parser.should_keep_alive()
            self._complete = True

    # the exchange

    @property
    def is_made(self) -> bool:
        """Whether there is a transport, which owns the socket."""
        return self._transport is not None

    @property
    def is_reusable(self) -> bool:
        """Whether another exchange may follow."""
        whole = self._complete and not self._body and self._error is None
        return whole and self._keep_alive and not self._closed and not self._eof

    @property
    def is_open(self) -> bool:
        """Whether an idle connection can still carry an exchange."""
        return not self._closed and not self._eof and self._transport is not None and not self._transport.is_closing()

    def begin(self, method: str) -> None:
        """Start an exchange on an idle connection."""
        self._reset(method)

    async def send(self, data: bytes) -> None:
        """Write, and wait while the origin does not read.

        Raises:
            OriginWriteError: the connection has ended.

        """
        if self._closed or self._transport is None:
            raise OriginWriteError("the origin closed the connection")
        self._transport.write(data)
        while self._write_paused and not self._closed:
            self._writable = self._loop.create_future()
            await self._writable
        if self._closed:
            raise OriginWriteError("the origin closed the connection")

    async def read_head(self) -> ResponseHead:
        """Return the head of the final response.

        Raises:
            OriginProtocolError: it is malformed, too large, or does not come.

        """
        while self._head is None:
            if self._error is not None:
                raise self._error
            if self._closed or self._eof:
                raise OriginProtocolError("the origin closed the connection before its answer")
            await self._wait()
        return self._head

    async def read_body(self) -> bytes:
        """Return the next part of the body; empty at its end.

        Raises:
            OriginProtocolError: the body is malformed or cut short.

        """
        while not self._body:
            if self._complete:  # before the error: what follows a complete answer spoils the connection, not the answer
                return b""
            if self._error is not None:
                raise self._error
            if self._closed or self._eof:
                raise OriginProtocolError("the origin closed the connection within its answer")
            await self._wait()
        data = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self._body_bytes = 0
        if self._read_paused and self._transport is not None:
            self._read_paused = False
            self._transport.resume_reading()
        return data

    def abort(self) -> None:
        """Close at once. Safe to call at any time."""
        self._closed = True
        if self._transport is not None:
            self._transport.abort()
        self._wake()

    def _end_of_input(self) -> None:
        if self._eof:
            return
        self._eof = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """Make the exchange end with an error of the request side."""
        if self._error is None:
            self._error = error
        self._wake()

    def _fail(self, message: str) -> None:
        if self._error is None:
            self._error = OriginProtocolError(message)

    async def _wait(self) -> None:
        self._reader = self._loop.create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
