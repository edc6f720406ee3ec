"""The socket's side of an HTTP/2 connection: what asyncio calls, and what is written."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from app.backends.errors import OriginProtocolError
from app.backends.tls import rest_of_stream

MAX_UNSENT_BYTES = 4 * 1024 * 1024
"""Heads, and answers to PING and SETTINGS, that an origin which does not read may leave here."""


class Http2Wire(asyncio.BufferedProtocol, ABC):
    """Reads into a buffer that the connections of an event loop may share, and writes as far as the origin reads."""

    def __init__(self, buffer: bytearray) -> None:
        self.endpoint = ""
        """Address and port that was dialled."""
        self.loop = asyncio.get_running_loop()
        self.received_bytes = 0
        """All that came so far."""
        self.is_closed = False
        self._write_paused = False
        self._view = memoryview(buffer)
        self._transport: asyncio.Transport | None = None

    @abstractmethod
    def _receive(self, data: bytes) -> None:
        """Handle bytes as they come."""

    @abstractmethod
    def _end(self, error: OriginProtocolError) -> None:
        """Note the end of the connection, once, and free whoever waits for it."""

    @abstractmethod
    def _wake_writers(self) -> None:
        """Let uploads look again whether they may go on."""

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport once TLS is up. Nothing is sent before the origin is known to be the one asked for."""
        self._transport = transport  # type: ignore[assignment]  # connection protocols get a Transport
        address = transport.get_extra_info("peername")
        self.endpoint = f"{address[0]}:{address[1]}" if address else ""

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  asyncio's signature
        """Lend the buffer until `buffer_updated`, which follows before anything else runs."""
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """Handle what was read."""
        self.received_bytes += nbytes
        self._receive(self._view[:nbytes].tobytes())

    def eof_received(self) -> bool:
        """Take what came before the end."""
        self._take_rest()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  what was lost is all that counts
        """Fail whoever waits."""
        self._take_rest()  # uvloop tells a protocol under TLS of no other end
        self._end(OriginProtocolError("the origin closed the connection within its answer"))
        self._transport = None

    def pause_writing(self) -> None:
        """Make uploads wait."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """Let uploads go on."""
        self._write_paused = False
        self._wake_writers()

    # for whoever uses it

    @property
    def is_made(self) -> bool:
        """Whether there is, or was, a transport, which owns the socket."""
        return self._transport is not None or self.is_closed

    @property
    def is_open(self) -> bool:
        """Whether bytes can be sent."""
        return not self.is_closed and self._transport is not None and not self._transport.is_closing()

    def abort(self) -> None:
        """Close at once. Safe to call at any time."""
        self._break("the connection was closed")

    def _write(self, data: bytes) -> None:
        if data and self._transport is not None and not self.is_closed:
            self._transport.write(data)
            if self._transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
                self._break("the origin does not read what it asks for")

    def _break(self, reason: str) -> None:
        if self._transport is not None and not self.is_closed:
            self._transport.abort()
        self._end(OriginProtocolError(reason))

    def _take_rest(self) -> None:
        """Take what TLS holds once the stream has ended."""
        if self.is_closed or self._transport is None:
            return
        if (ssl_object := self._transport.get_extra_info("ssl_object")) is not None:
            rest, _ = rest_of_stream(ssl_object)  # every answer says itself where it ends
            if rest:
                self.received_bytes += len(rest)
                self._receive(rest)
