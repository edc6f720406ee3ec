"""uvicorn's httptools protocol for a proxy: what it does not tell is published, what it refuses is answered as agreed.

Its request path is written anew: uvicorn parses the URL, checks every field with a regular expression and writes an
answer in three pieces, which together cost more than the gateway's policy. What a server is beside that - limits,
flow control, keep-alive, the end - stays uvicorn's.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import FlowControl, service_unavailable
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.listeners.response_cycle import GatewayCycle
from app.listeners.uvicorn_connection import MAX_PIPELINED, READ_BUFFER, describe, end_soon, lost, refuse
from middleware.context import CONNECTION, TARGET, Departure
from middleware.errors import (
    GatewayError,
    HttpVersionNotSupportedError,
    InvalidRequestError,
    MethodNotAllowedError,
)

if TYPE_CHECKING:
    from collections.abc import Sized

_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}) ([^ \r\n]+) HTTP/[0-9]\.[0-9]\r?\n")


class _BufferedReader(asyncio.BufferedProtocol):
    """Reads for a protocol into a buffer that all connections of the server share.

    For any other protocol under TLS, both event loops allocate 256 KiB for every read: see `OriginConnection`.
    """

    def __init__(self, protocol: HttpToolsGatewayProtocol, buffer: bytearray) -> None:
        self._protocol = protocol
        self._data_received = protocol.data_received
        self._view = memoryview(buffer)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  asyncio's signature
        """Lend the buffer until `buffer_updated`, which follows before anything else runs."""
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        self._data_received(self._view[:nbytes])

    def eof_received(self) -> None:
        self._protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)
        # Under TLS, both event loops keep this reader's methods: with the protocol they would hold all that TLS takes.
        del self._protocol, self._data_received

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()


class _Flow(FlowControl):
    """Reads nothing more while many requests wait: uvicorn reads on whenever one of them is answered."""

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        if self.read_paused and len(self._waiting) <= MAX_PIPELINED:
            super().resume_reading()


class HttpToolsGatewayProtocol(HttpToolsProtocol):
    """Reads requests, and starts the application for each."""

    _read: bytes | memoryview = b""
    """The bytes that were read last, while they are parsed: what a refused request is judged by."""
    _idle_since = 0.0
    """The event loop's time when the connection was made or its last answer ended, in seconds."""
    _served: GatewayCycle | None = None
    """The request that is being served; `cycle` is the one read last, which may be waiting behind it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)
        self._scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "scheme": self.scheme,
            "root_path": self.root_path,
            "client": self.client,
            "server": self.server,
        }
        self.done = self.loop.create_future()
        """What has nothing to wait for."""
        self.done.set_result(None)
        self._departure = Departure()
        # A new dict for this connection: the one uvicorn hands out is shared by all of them.
        self.app_state = {**self.app_state, CONNECTION: describe(self, transport, self._departure)}
        transport.set_protocol(_BufferedReader(self, self.app_state[READ_BUFFER]))
        self._idle_since = self.loop.time()
        self._watch_idle(self.timeout_keep_alive)  # a caller may never send a request, or not the whole of its head

    def data_received(self, data: bytes | memoryview) -> None:
        self._read = data
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return  # the request is answered 501 and logged there
        except httptools.HttpParserError as error:
            refuse(self, self._problem(error))

    # httptools callbacks

    def on_message_begin(self) -> None:
        self.url, self.headers = b"", []

    def on_header(self, name: bytes, value: bytes) -> None:
        # The parser leaves white space behind a value, which policy and origin would read differently.
        self.headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        parser, headers, target = self.parser, self.headers, self.url
        self.headers = []  # for trailer fields, which would be appended to the list that is the scope's
        fields = dict(headers)
        if b"transfer-encoding" in fields and any(
            name == b"transfer-encoding" and value.lower() != b"chunked" for name, value in headers
        ):
            # The parser would refuse most of these only after the request has begun.
            raise InvalidRequestError("a transfer coding other than chunked")
        version = parser.get_http_version()
        # What is judged is the target as it was received, which is published; this is what ASGI wants beside it.
        path, _, query = target.partition(b"?")
        text = path.decode("latin-1")
        scope = {
            **self._scope,
            "http_version": version,
            "method": parser.get_method().decode("ascii"),
            "path": self.root_path + (unquote(text) if "%" in text else text),
            "raw_path": path,
            "query_string": query,
            "headers": headers,
            "state": {**self.app_state, TARGET: target},
        }
        keep_alive = version != "1.0" and parser.should_keep_alive()
        expects = b"expect" in fields and version != "1.0" and fields[b"expect"].lower() == b"100-continue"
        before: Any = self.cycle  # none before the first request, whatever its annotation says
        self.cycle = cycle = GatewayCycle(self, scope, keep_alive=keep_alive, expects_continue=expects)
        app: Any = self.app
        if self.limit_concurrency is not None and (
            len(self.connections) >= self.limit_concurrency or len(self.tasks) >= self.limit_concurrency
        ):
            app = service_unavailable
        if before is None or before.response_complete:
            self._start_asgi_task(cycle, app)
            return
        self.pipeline.appendleft((cycle, app))
        if len(self.pipeline) > MAX_PIPELINED:
            self.flow.pause_reading()  # not sooner: else nobody would notice that the caller left

    def on_body(self, body: bytes) -> None:
        cycle: Any = self.cycle
        if not cycle.response_complete:
            cycle.take_in(body)

    def on_message_complete(self) -> None:
        cycle: Any = self.cycle
        cycle.more_body = False
        cycle.notify()

    # the connection

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._served = cycle
        task = self.loop.create_task(cycle.run_asgi(app))
        self.tasks.add(task)
        cycle.task = self._departure.task = task

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._watch_idle(self.timeout_keep_alive)

    def _watch_idle(self, seconds: float) -> None:
        """Look after a while whether the connection is idle: a timer for each request would cost more than its log."""
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        served = self._served
        if served is not None and not served.response_complete:
            return  # the end of that request looks again
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._watch_idle(left)
        else:
            super().timeout_keep_alive_handler()

    def connection_lost(self, exc: Exception | None) -> None:
        self.pipeline.clear()
        if self._served is not None and not self._served.response_complete:
            self._served.disconnected = True
            self._served.notify()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        lost(self)
        # They hold each other, and all that TLS takes; Python would look for such a cycle only now and then.
        self.cycle = self._served = self._departure.task = None  # type: ignore[assignment]

    def shutdown(self) -> None:
        if not self.transport.is_closing():  # closing twice makes asyncio forget the TLS connection, and never end it
            super().shutdown()
        end_soon(self)

    def _problem(self, error: BaseException | None) -> GatewayError:
        """Tell what was wrong with a request from the parser's error."""
        detail = str(error) or type(error).__name__
        line = _REQUEST_LINE.match(self._read)
        if isinstance(error, httptools.HttpParserInvalidMethodError) and line:
            return MethodNotAllowedError("a method that the parser does not know")
        if "version" in detail.lower() or (line and line[1] == b"PRI"):
            return HttpVersionNotSupportedError(detail)
        return InvalidRequestError(detail)
