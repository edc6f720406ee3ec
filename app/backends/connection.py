"""One keep-alive HTTP/1.1 connection to an origin."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from app.backends.errors import OriginProtocolError, OriginWriteError
from app.backends.response import ResponseReader
from app.backends.tls import rest_of_stream

if TYPE_CHECKING:
    from collections.abc import Callable

HIGH_WATER_BYTES = 64 * 1024
"""Undelivered response bytes from which on the origin is not read any more."""
READ_BUFFER_BYTES = 64 * 1024
"""Size of the buffer that connections read into."""


class OriginConnection(asyncio.BufferedProtocol):
    """Carries one exchange at a time.

    An exchange is `begin`, then `write` or `send` for the head and every part of the body, then `read_head`, then
    `read_body` until it is empty; both directions may run at once. A connection may be used again only if
    `is_reusable`: the answer was complete and not a byte more arrived. What is left on a connection would be the next
    caller's answer.

    It is a buffered protocol because of TLS: for any other, both event loops allocate 256 KiB for every read, which
    costs three system calls and more than all the rest of an exchange.
    """

    def __init__(self, buffer: bytearray, on_closed: Callable[[OriginConnection], None] | None = None) -> None:
        """Wait for the transport.

        Args:
            buffer: what bytes are read into, and parsed in at once; the connections of an event loop may share one.
            on_closed: called once, when the connection has ended in whatever way.

        """
        self.endpoint = ""
        """Address and port that was dialled."""
        self._transport: asyncio.Transport | None = None
        self.loop = asyncio.get_running_loop()
        self.made_at = self.loop.time()
        """The event loop's time when it was made, in seconds."""
        self._view = memoryview(buffer)
        self._on_closed = on_closed
        self._closed = False
        self._eof = False
        self._reader: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._write_paused = False
        self._read_paused = False
        self._response: ResponseReader | None = None
        self.has_answered = False
        """Whether any byte arrived since the exchange began."""

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport once TCP, and TLS where there is any, is up."""
        self._transport = transport  # type: ignore[assignment]  # connection protocols get a Transport
        address = transport.get_extra_info("peername")
        self.endpoint = f"{address[0]}:{address[1]}" if address else ""

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  asyncio's signature
        """Lend the buffer until `buffer_updated`, which follows before anything else runs."""
        return self._view  # asyncio fills slices of it, which of a `bytearray` would be copies

    def buffer_updated(self, nbytes: int) -> None:
        """Parse response bytes. Bytes that no exchange asked for end the connection."""
        self.has_answered = True
        response = self._response
        if response is None or response.is_complete:
            self.abort()
            return
        response.feed(self._view[:nbytes])
        if response.error is not None:
            self.abort()
        elif response.body_bytes > HIGH_WATER_BYTES and not self._read_paused and self._transport is not None:
            self._read_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """Note the end of input; if the origin announced it, it is the end of a body without a length."""
        self._take_rest(announced=True)
        self._end_of_input()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail whoever waits."""
        self._take_rest(announced=False)  # uvloop tells a protocol under TLS of no other end
        if exc is not None and self._response is not None and not self._response.is_complete:
            self._response.fail(OriginProtocolError(f"the connection was lost: {type(exc).__name__}"))
        self._end_of_input()
        self._ended()
        # Both event loops keep methods of this protocol: with its transport they would hold all that TLS takes.
        self._transport = None

    def pause_writing(self) -> None:
        """Make `send` wait."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """Let `send` go on."""
        self._write_paused = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    # the exchange

    @property
    def is_made(self) -> bool:
        """Whether there is, or was, a transport, which owns the socket."""
        return self._transport is not None or self._closed

    @property
    def is_reusable(self) -> bool:
        """Whether another exchange may follow."""
        response = self._response
        return (
            response is not None
            and response.is_complete
            and response.keep_alive
            and not response.body_bytes
            and response.error is None
            and not self._closed
            and not self._eof
        )

    @property
    def is_open(self) -> bool:
        """Whether an idle connection can still carry an exchange."""
        return not self._closed and not self._eof and self._transport is not None and not self._transport.is_closing()

    def begin(self, method: str) -> ResponseReader:
        """Start an exchange on an idle connection, and return what its answer will be read by."""
        if self._response is not None:
            self._response.close()
        self.has_answered = False
        self._response = response = ResponseReader(method)
        return response

    def write(self, data: bytes) -> None:
        """Write what is small, such as a head, without waiting.

        Raises:
            OriginWriteError: the connection has ended.

        """
        if self._closed or self._transport is None:
            raise OriginWriteError("the origin closed the connection")
        self._transport.write(data)

    async def send(self, data: bytes) -> None:
        """Write, and wait while the origin does not read.

        Raises:
            OriginWriteError: the connection has ended.

        """
        self.write(data)
        while self._write_paused and not self._closed:
            self._writable = self.loop.create_future()
            await self._writable
        if self._closed:
            raise OriginWriteError("the origin closed the connection")

    async def read_head(self) -> ResponseReader:
        """Return the response once the head of the final one is there.

        Raises:
            OriginProtocolError: it is malformed, too large, or does not come.

        """
        response = self._begun()
        while not response.has_head:
            if response.error is not None:
                raise response.error
            if self._closed or self._eof:
                raise OriginProtocolError("the origin closed the connection before its answer")
            self._reader = self.loop.create_future()
            await self._reader
        return response

    def take_body(self) -> bytes:
        """Return the part of the body that has come, empty if none has; the origin is read on."""
        data = self._begun().take()
        if self._read_paused and self._transport is not None:
            self._read_paused = False
            self._transport.resume_reading()
        return data

    async def wait_body(self) -> None:
        """Wait until there is something to take, or the answer has ended.

        Raises:
            OriginProtocolError: the body is malformed or cut short.

        """
        response = self._begun()
        # What follows a complete answer spoils the connection, not the answer: an error counts only before its end.
        while not response.body_bytes and not response.is_complete:
            if response.error is not None:
                raise response.error
            if self._closed or self._eof:
                raise OriginProtocolError("the origin closed the connection within its answer")
            self._reader = self.loop.create_future()
            await self._reader

    async def read_body(self) -> bytes:
        """Return the next part of the body; empty at its end.

        Raises:
            OriginProtocolError: the body is malformed or cut short.

        """
        await self.wait_body()
        return self.take_body()

    def fail(self, error: Exception) -> None:
        """Make the exchange end with an error of the request side."""
        self._begun().fail(error)
        self._wake()

    def abort(self) -> None:
        """Close at once. Safe to call at any time."""
        if not self._closed and self._transport is not None:
            self._transport.abort()
        self._ended()

    def _begun(self) -> ResponseReader:
        if self._response is None:
            raise RuntimeError("no exchange has begun on this connection")
        return self._response

    def _take_rest(self, *, announced: bool) -> None:
        """Take what came before the end of the stream; without TLS all of it has, and the end is what TCP says."""
        response = self._response
        if self._closed or self._transport is None or response is None or response.is_complete:
            return
        if (ssl_object := self._transport.get_extra_info("ssl_object")) is not None:
            rest, announced = rest_of_stream(ssl_object)
            if rest:
                self.has_answered = True
                response.feed(memoryview(rest))
        if announced:
            response.end()

    def _end_of_input(self) -> None:
        self._eof = True
        self._wake()

    def _ended(self) -> None:
        """Free whoever waits for this connection, once."""
        if self._closed:
            return
        self._closed = True
        if self._response is not None:
            self._response.close()
        self._wake()
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        if self._on_closed is not None:
            self._on_closed(self)

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
