"""One HTTP/2 connection to an origin (RFC 9113): many exchanges at once, each with its own flow control."""

from __future__ import annotations

import asyncio
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
from app.backends.http2_frames import MAX_FRAME_BYTES, FrameSplitter, GoAway
from app.backends.http2_stream import Http2Stream
from app.backends.response import MAX_HEAD_BYTES
from app.backends.tls import rest_of_stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from h2.events import Event

MAX_STREAMS = 100
"""Exchanges at once on one connection, where the origin allows as many. Source: RFC 9113 section 6.5.2 recommends it."""
STREAM_WINDOW_BYTES = 256 * 1024
"""Undelivered body of one exchange, from which on the origin must wait."""
_CONNECTION_WINDOW_BYTES = MAX_STREAMS * STREAM_WINDOW_BYTES
"""As much as all streams together: a caller that does not read holds up nobody else."""
_DEFAULT_WINDOW_BYTES = 65_535
MAX_UNSENT_BYTES = 4 * 1024 * 1024
"""Heads, and answers to PING and SETTINGS, that an origin which does not read may leave here."""


class Http2Connection(asyncio.BufferedProtocol):
    """Carries exchanges until the origin or the pool ends it."""

    def __init__(self, buffer: bytearray, on_change: Callable[[Http2Connection], None]) -> None:
        """Wait for the transport.

        Args:
            buffer: what bytes are read into, and parsed in at once; the connections of an event loop may share one.
            on_change: called when there may be more or less room than before, and when the connection has ended.

        """
        self.endpoint = ""
        """Address and port that was dialled."""
        self.loop = asyncio.get_running_loop()
        self.made_at = self.loop.time()
        self.idle_since = self.made_at
        """When the last exchange ended. Both in the event loop's time, in seconds."""
        self.received_bytes = 0
        """All that came so far."""
        self.began = 0
        """Exchanges so far."""
        self.reserved = 0
        """Exchanges that will begin: their places are taken."""
        self.is_closed = False
        self._view = memoryview(buffer)
        self._on_change = on_change
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, Http2Stream] = {}
        self._frames = FrameSplitter()
        self._retiring = False
        self._write_paused = False
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

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the preface once TLS is up."""
        self._transport = transport  # type: ignore[assignment]  # connection protocols get a Transport
        address = transport.get_extra_info("peername")
        self.endpoint = f"{address[0]}:{address[1]}" if address else ""

    def start(self) -> None:
        """Send the preface: not before the origin is known to be the one that was asked for."""
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_CONNECTION_WINDOW_BYTES - _DEFAULT_WINDOW_BYTES)
        self._flush()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  asyncio's signature
        """Lend the buffer until `buffer_updated`, which follows before anything else runs."""
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """Handle frames."""
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

    # the connection

    @property
    def is_made(self) -> bool:
        """Whether there is, or was, a transport, which owns the socket."""
        return self._transport is not None or self.is_closed

    @property
    def is_idle(self) -> bool:
        """Whether it carries nothing, and nobody is about to use it."""
        return not self._streams and not self.reserved

    @property
    def is_retiring(self) -> bool:
        """Whether no exchange may begin any more."""
        return self._retiring or self.is_closed or self._transport is None or self._transport.is_closing()

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

    def abort(self) -> None:
        """Close at once. Safe to call at any time."""
        if self._transport is not None and not self.is_closed:
            self._transport.abort()
        self._end(OriginProtocolError("the connection was closed"))

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

    # what streams ask for

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
            try:
                self._h2.reset_stream(stream.number, ErrorCodes.CANCEL)
            except StreamClosedError:
                pass  # the origin reset it
        if not self._streams:
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

    # what arrives

    def _receive(self, data: bytes) -> None:
        self.received_bytes += len(data)
        try:
            for part in self._frames.feed(data):
                if isinstance(part, GoAway):
                    self._on_go_away(part)
                else:
                    for event in self._h2.receive_data(part):
                        self._on_event(event)
        except (H2Error, OriginProtocolError) as error:
            self._broken(f"the origin broke HTTP/2: {type(error).__name__}")
            return
        self._flush()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, RemoteSettingsChanged):
            if not self._ready.done():
                self._ready.set_result(None)
            self._wake_writers()
            self._changed()
            return
        if isinstance(event, WindowUpdated) and not event.stream_id:
            self._wake_writers()
            return
        stream = self._streams.get(getattr(event, "stream_id", 0) or 0)
        if isinstance(event, DataReceived):
            # Padding and empty frames are of no use to anybody; what is left is acknowledged when it is taken.
            used = len(event.data) if stream is not None and stream.error is None else 0
            if event.flow_controlled_length > used:
                self._h2.acknowledge_received_data(event.flow_controlled_length - used, event.stream_id)
            if used and stream is not None:
                stream.on_data(event.data)
        elif stream is None:
            return  # of an exchange that has ended here
        elif isinstance(event, WindowUpdated):
            stream.wake_writer()
        elif isinstance(event, ResponseReceived):
            stream.on_head(event.headers)
        elif isinstance(event, InformationalResponseReceived):
            stream.on_interim(event.headers)
        elif isinstance(event, StreamEnded):
            stream.on_end()
        elif isinstance(event, StreamReset):
            self._on_reset(stream, int(event.error_code))

    def _on_reset(self, stream: Http2Stream, code: int) -> None:
        kind = OriginRefusedError if code == ErrorCodes.REFUSED_STREAM else OriginProtocolError
        stream.fail(kind(f"the origin reset the stream: {_name(code)}"))

    def _on_go_away(self, frame: GoAway) -> None:
        """Begin nothing more here; what the origin has begun goes on."""
        self._retiring = True
        for number, stream in self._streams.items():
            if number > frame.last_stream:
                stream.fail(OriginRefusedError(f"the origin is about to leave: {_name(frame.code)}"))
        self._changed()

    def _take_rest(self) -> None:
        """Take what TLS holds once the stream has ended."""
        if self.is_closed or self._transport is None:
            return
        if (ssl_object := self._transport.get_extra_info("ssl_object")) is not None:
            rest, _ = rest_of_stream(ssl_object)  # every answer says itself where it ends
            if rest:
                self._receive(rest)

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and self._transport is not None and not self.is_closed:
            self._transport.write(data)
            if self._transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
                self._broken("the origin does not read what it asks for")

    def _broken(self, reason: str) -> None:
        if self._transport is not None and not self.is_closed:
            self._transport.abort()
        self._end(OriginProtocolError(reason))

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


def _name(code: int) -> str:
    """Return an error code as RFC 9113 section 7 calls it."""
    try:
        return ErrorCodes(code).name
    except ValueError:
        return f"error {code:#x}"
