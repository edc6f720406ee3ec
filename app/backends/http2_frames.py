"""What is told apart before `h2` sees it: the frames in which an origin says that it is about to leave. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes

from app.backends.errors import OriginProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_FRAME_BYTES = 16_384
"""Payload of a frame, the least that RFC 9113 section 6.5.2 allows to announce."""

MAX_IDLE_FRAMES = 10_000
"""PING, SETTINGS, empty DATA and the like in a row, with nothing of an answer between them. Each costs up to 12 us."""

_FRAME_HEAD_BYTES = 9
_DATA, _HEADERS, _GOAWAY, _WINDOW_UPDATE = 0, 1, 7, 8
_GOAWAY_BYTES = 8
_STREAM_MASK = 0x7FFF_FFFF


@dataclass(frozen=True, slots=True)
class GoAway:
    """A GOAWAY frame. Source: RFC 9113 section 6.8."""

    last_stream: int
    """Streams above were not and will not be processed; those below go on to their end."""
    code: int


class FrameSplitter:
    """Cuts GOAWAY frames out of a stream of frames.

    `h2` takes one for the end of the connection and refuses every frame after it. But an orderly origin, nginx at its
    `keepalive_requests` for one, sends it and then the rest of the answers it has begun.
    """

    __slots__ = ("_idle", "_pending")

    def __init__(self) -> None:
        self._pending = b""
        self._idle = 0

    def feed(self, data: bytes) -> Iterator[bytes | GoAway]:
        """Yield whole frames, as many at once as there are, and GOAWAY frames by themselves.

        Raises:
            OriginProtocolError: a frame is too large, a GOAWAY frame too short, or too many frames say nothing.

        """
        data = self._pending + data
        self._pending = b""
        start = position = 0
        while len(data) - position >= _FRAME_HEAD_BYTES:
            length = int.from_bytes(data[position : position + 3], "big")
            end = position + _FRAME_HEAD_BYTES + length
            if length > MAX_FRAME_BYTES:  # `h2` would gather all of it first
                raise OriginProtocolError("the origin broke HTTP/2: a frame is too large")
            if end > len(data):
                break
            kind = data[position + 3]
            if kind == _HEADERS or (kind == _DATA and length):
                self._idle = 0
            elif kind != _WINDOW_UPDATE:  # of which a long upload needs many
                self._idle += 1
                if self._idle > MAX_IDLE_FRAMES:
                    raise OriginProtocolError("the origin broke HTTP/2: too many frames that say nothing")
            if kind == _GOAWAY:
                if start < position:
                    yield data[start:position]
                yield _go_away(data[position + _FRAME_HEAD_BYTES : end])
                start = end
            position = end
        self._pending = data[position:]
        if start < position:
            yield data[start:position]


def _go_away(payload: bytes) -> GoAway:
    if len(payload) < _GOAWAY_BYTES:
        raise OriginProtocolError("the origin broke HTTP/2: a GOAWAY frame is too short")
    return GoAway(int.from_bytes(payload[:4], "big") & _STREAM_MASK, int.from_bytes(payload[4:8], "big"))


def error_name(code: int) -> str:
    """Return an error code as RFC 9113 section 7 calls it."""
    try:
        return ErrorCodes(code).name
    except ValueError:
        return f"error {code:#x}"
