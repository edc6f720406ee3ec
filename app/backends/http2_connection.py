"""One HTTP/2 connection to an origin (RFC 9113): many exchanges at once, each with its own flow control."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    InformationalResponseReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import H2Error, StreamClosedError
from h2.settings import SettingCodes, Settings

from app.backends.errors import OriginProtocolError, OriginRefusedError, OriginWriteError
from app.backends.http2_frames import MAX_FRAME_BYTES, FrameSplitter, GoAway, error_name
from app.backends.http2_stream import Http2Stream
from app.backends.http2_wire import Http2Wire
from app.backends.response import MAX_HEAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from h2.events import Event

MAX_STREAMS = 100
"""Exchanges at once on one connection, where the origin allows as many. Source: RFC 9113 section 6.5.2."""
STREAM_WINDOW_BYTES = 256 * 1024
"""Undelivered body of one exchange, from which on the origin must wait."""
_CONNECTION_WINDOW_BYTES = MAX_STREAMS * STREAM_WINDOW_BYTES
"""As much as all streams together: a caller that does not read holds up nobody else."""
_DEFAULT_WINDOW_BYTES = 65_535


class Http2Connection(Http2Wire):
    """Carries exchanges until the origin or the pool ends it."""

    def __init__(self, buffer: bytearray, on_change: Callable[[Http2Connection], None]) -> None:
        """Wait for the transport; `on_change` is called when there may be more or less room, and at the end."""
        super().__init__(buffer)
        self.made_at = self.loop.time()
        self.idle_since = self.made_at
        """When the last exchange ended. Both in the event loop's time, in seconds."""
        self.began = 0
        """Exchanges so far."""
        self.reserved = 0
        """Exchanges that will begin: their places are taken."""
        self._on_change = on_change
        self._streams: dict[int, Http2Stream] = {}
        self._frames = FrameSplitter()
        self._early: bytes | None = b""
        """What came before the preface was sent, which nothing may precede. None: it was."""
        self._retiring = False
        self._ready: asyncio.Future[None] = self.loop.create_future()
        # Fields are checked in `request_fields`; checking within the encoder could leave its state half changed.
        self._h2 = H2Connection(
            H2Configuration(
                client_side=True,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._h2.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
                SettingCodes.MAX_FRAME_SIZE: MAX_FRAME_BYTES,
                SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEAD_BYTES,
            },
        )

    def start(self) -> None:
        """Send the preface: not before the origin is known to be the one that was asked for."""
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_CONNECTION_WINDOW_BYTES - _DEFAULT_WINDOW_BYTES)
        self._flush()
        early, self._early = self._early, None
        self._receive(early or b"")

    @property
    def is_idle(self) -> bool:
        """Whether it carries nothing, and nobody is about to use it."""
        return not self._streams and not self.reserved

    @property
    def is_retiring(self) -> bool:
        """Whether no exchange may begin any more."""
        return self._retiring or not self.is_open

    @property
    def has_room(self) -> bool:
        """Whether another exchange may begin."""
        limit = min(MAX_STREAMS, self._h2.remote_settings.max_concurrent_streams)
        return not self.is_retiring and len(self._streams) + self.reserved < limit

    async def ready(self) -> None:
        """Wait for the origin's SETTINGS, which say how many exchanges it takes.

        Raises:
            OriginProtocolError: it is no HTTP/2.

        """
        await self._ready

    def retire(self) -> None:
        """Begin no exchange any more, and close once the last one has ended."""
        self._retiring = True
        if self.is_idle:
            self.abort()

    def begin(self, method: str, fields: list[tuple[bytes, bytes]], *, has_body: bool) -> Http2Stream:
        """Start an exchange.

        Raises:
            OriginRefusedError: there is no room for it; nothing was sent.

        """
        if self.is_retiring:
            raise OriginRefusedError("the origin takes no more requests on this connection")
        try:
            number = self._h2.get_next_available_stream_id()
            self._h2.send_headers(number, fields, end_stream=not has_body)
        except H2Error as error:
            raise OriginRefusedError(f"the origin takes no more requests: {type(error).__name__}") from error
        self.began += 1
        stream = self._streams[number] = Http2Stream(self, number, method, sent=not has_body)
        self._flush()
        return stream

    def acknowledge(self, stream: Http2Stream, amount: int) -> None:
        """Let the origin send as much again, on the stream and on the connection."""
        if not self.is_closed:
            self._h2.acknowledge_received_data(amount, stream.number)
            self._flush()

    async def send(self, stream: Http2Stream, data: bytes) -> None:
        """Send a part of a body, as fast as the origin takes it.

        Raises:
            OriginWriteError: it takes no more.

        """
        left = memoryview(data)
        while left:
            room = self._room(stream)
            if room <= 0:
                stream.writer = self.loop.create_future()
                await stream.writer
                continue
            self._h2.send_data(stream.number, left[:room].tobytes())
            self._flush()
            left = left[room:]
            if left:
                await asyncio.sleep(0)  # the window is everybody's: one frame each in turn

    def finish(self, stream: Http2Stream) -> None:
        """End a request that had a body.

        Raises:
            OriginWriteError: the origin does not want its end any more.

        """
        self._room(stream)
        self._h2.end_stream(stream.number)
        stream.sent = True
        self._flush()

    def release(self, stream: Http2Stream) -> None:
        """End an exchange. One that has not come to its end is reset."""
        if self._streams.pop(stream.number, None) is None or self.is_closed:
            return
        if stream.body:
            self._h2.acknowledge_received_data(len(stream.body), stream.number)
            stream.body.clear()
        if not (stream.sent and stream.is_complete):
            with suppress(StreamClosedError):  # the origin reset it
                self._h2.reset_stream(stream.number, ErrorCodes.CANCEL)
        self.idle_since = self.loop.time()
        self._flush()
        self._changed()

    def _room(self, stream: Http2Stream) -> int:
        """Return how many bytes of a body may be sent now."""
        if self.is_closed or stream.is_complete or stream.error is not None:
            raise OriginWriteError("the origin takes no more of the request's body")
        if self._write_paused:
            return 0
        try:
            return min(self._h2.local_flow_control_window(stream.number), self._h2.max_outbound_frame_size)
        except H2Error as error:
            raise OriginWriteError("the origin has ended the stream") from error

    def _receive(self, data: bytes) -> None:
        if self._early is not None:
            self._early += data
            if len(self._early) > MAX_HEAD_BYTES:
                self._break("the origin broke HTTP/2: too much before a request")
            return
        try:
            for part in self._frames.feed(data):
                if isinstance(part, GoAway):
                    self._on_go_away(part)
                else:
                    for event in self._h2.receive_data(part):
                        self._on_event(event)
        except OriginProtocolError as error:
            self._break(str(error))
        except H2Error as error:
            self._break(f"the origin broke HTTP/2: {type(error).__name__}")
        self._flush()

    def _on_event(self, event: Event) -> None:
        match event:
            case RemoteSettingsChanged():
                if not self._ready.done():
                    self._ready.set_result(None)
                self._wake_writers()
                self._changed()
            case WindowUpdated(stream_id=0):
                self._wake_writers()
            case DataReceived():
                self._on_data(event)
            case _:
                # Events of no stream have none; those of an exchange that has ended here are of no use.
                stream = self._streams.get(getattr(event, "stream_id", None) or 0)
                if stream is not None:
                    self._on_stream_event(stream, event)

    def _on_data(self, event: DataReceived) -> None:
        """Keep a body's part. Padding is acknowledged at once, the rest when it is taken."""
        stream = self._streams.get(event.stream_id)
        used = len(event.data) if stream is not None and stream.error is None else 0
        if event.flow_controlled_length > used:
            self._h2.acknowledge_received_data(event.flow_controlled_length - used, event.stream_id)
        if used and stream is not None:
            stream.on_data(event.data)

    def _on_stream_event(self, stream: Http2Stream, event: Event) -> None:
        match event:
            case WindowUpdated():
                stream.wake_writer()
            case ResponseReceived():
                stream.on_head(event.headers)
            case InformationalResponseReceived():
                stream.on_interim(event.headers)
            case StreamEnded():
                stream.on_end()
            case StreamReset():
                self._on_reset(stream, int(event.error_code))
            case _:
                pass  # trailers are dropped, priorities not kept

    def _on_reset(self, stream: Http2Stream, code: int) -> None:
        kind = OriginRefusedError if code == ErrorCodes.REFUSED_STREAM else OriginProtocolError
        stream.fail(kind(f"the origin reset the stream: {error_name(code)}"))

    def _on_go_away(self, frame: GoAway) -> None:
        """Begin nothing more here; what the origin has begun goes on.

        The others are not reset: the origin has never heard of them, and nginx takes that for a protocol error.
        """
        self._retiring = True
        for number in [number for number in self._streams if number > frame.last_stream]:
            error = OriginRefusedError(f"the origin is about to leave: {error_name(frame.code)}")
            self._streams.pop(number).fail(error)
        self._changed()

    def _flush(self) -> None:
        self._write(self._h2.data_to_send())

    def _end(self, error: OriginProtocolError) -> None:
        """Free whoever waits for this connection, once."""
        if self.is_closed:
            return
        self.is_closed = True
        for stream in list(self._streams.values()):
            stream.fail(error)
        self._streams.clear()
        if not self._ready.done():
            self._ready.set_exception(error)
            self._ready.exception()  # nobody may be waiting for it
        self._changed()

    def _wake_writers(self) -> None:
        for stream in self._streams.values():
            stream.wake_writer()

    def _changed(self) -> None:
        self._on_change(self)
