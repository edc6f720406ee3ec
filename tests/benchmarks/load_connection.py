"""One keep-alive connection of the load generator: one request at a time, every answer verified."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable

BUFFER_BYTES = 256 * 1024
MAX_HEAD_BYTES = 64 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_BUFFER = memoryview(bytearray(BUFFER_BYTES))
"""Shared by all connections: what is read is used before the next read."""
_UPLOAD = bytes(BUFFER_BYTES)


class Connection(asyncio.BufferedProtocol):
    """A caller's connection.

    Args:
        request: the request's head, and the body if it has one that is small.
        upload_bytes: size of the body that follows.
        expected_bytes: size of the body that must come back.
        done: called after each whole answer.
        failed: called with what is wrong; the connection is not used any more.

    """

    def __init__(
        self,
        request: bytes,
        upload_bytes: int,
        expected_bytes: int,
        done: Callable[[Connection], None],
        failed: Callable[[Connection, str], None],
    ) -> None:
        self._request = request
        self._upload_bytes = upload_bytes
        self._expected_bytes = expected_bytes
        self._done = done
        self._failed = failed
        self._transport: asyncio.Transport
        self._pending = b""
        self._left_bytes = 0
        self._unsent_bytes = 0
        self._paused = False
        self._busy = False
        self._ended = False
        self.asked_at = 0.0
        """For whoever measures latency."""
        self.received_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def ask(self) -> None:
        """Send the request."""
        self._busy = True
        if not self._upload_bytes:
            self._transport.write(self._request)
            return
        first = min(self._upload_bytes, BUFFER_BYTES)
        self._transport.write(self._request + _UPLOAD[:first])
        self._unsent_bytes = self._upload_bytes - first
        self._send()

    def close(self) -> None:
        """End the connection without calling anybody."""
        self._ended = True
        self._transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  asyncio's signature
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        if self._ended:
            return
        self.received_bytes += nbytes
        if not self._left_bytes:
            self._read_head(self._pending + bytes(_BUFFER[:nbytes]))
        else:
            self._left_bytes -= nbytes
            self._finish_if_whole()

    def eof_received(self) -> None:
        self._fail("the connection was ended")

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the connection was lost: {exc}" if exc else "the connection was closed")

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._send()

    def _send(self) -> None:
        while self._unsent_bytes and not self._paused:
            part = _UPLOAD[: min(self._unsent_bytes, BUFFER_BYTES)]
            self._unsent_bytes -= len(part)
            self._transport.write(part)

    def _read_head(self, data: bytes) -> None:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._pending = data
            if len(data) > MAX_HEAD_BYTES:
                self._fail("an endless head")
            return
        self._pending = b""
        if not self._busy:
            self._fail(f"an answer that was not asked for: {data[:60]!r}")
            return
        if data[9:12] != b"200":
            self._fail(f"{data.partition(b'%c%c' % (13, 10))[0].decode('latin-1')}: {data[end + 4 : end + 124]!r}")
            return
        length = _LENGTH.search(data, 0, end + 2)
        if length is None or int(length[1]) != self._expected_bytes:
            self._fail(f"not a body of {self._expected_bytes} bytes: {data[:end]!r}")
            return
        self._left_bytes = end + 4 + self._expected_bytes - len(data)
        self._finish_if_whole()

    def _finish_if_whole(self) -> None:
        if self._left_bytes < 0:
            self._fail(f"{-self._left_bytes} bytes too many")
        elif self._left_bytes == 0:
            if self._unsent_bytes:
                self._fail("an answer before the request was whole")
                return
            self._busy = False
            self._done(self)

    def _fail(self, reason: str) -> None:
        if not self._ended:
            self._ended = True
            self._transport.abort()
            self._failed(self, reason)
