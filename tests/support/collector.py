"""A trace collector whose answers a test writes down, and what OTLP requests say."""

from __future__ import annotations

import gzip
import queue
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ssl import SSLContext

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

WAIT_SECONDS = 30
"""Until a test that waits for the exporter fails."""


class Answer(NamedTuple):
    """What the collector says to one export."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    raw: bytes | None = None
    """Sent instead of an HTTP answer."""
    held: bool = False
    """Not sent before the collector is released."""


class Received(NamedTuple):
    """One export."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def resource_spans(self) -> ResourceSpans:
        body = gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body
        result: ResourceSpans
        [result] = ExportTraceServiceRequest.FromString(body).resource_spans
        return result

    @property
    def spans(self) -> list[Span]:
        [scope] = self.resource_spans.scope_spans
        return list(scope.spans)


class Collector:
    """Answers in the order given; the last answer repeats."""

    def __init__(self, server: ThreadingHTTPServer, scheme: str) -> None:
        self.url = f"{scheme}://localhost:{server.server_address[1]}"
        self.answers = [Answer()]
        self.released = threading.Event()
        self._received: queue.Queue[Received] = queue.Queue()

    def next(self) -> Received:
        """Wait for the next export."""
        return self._received.get(timeout=WAIT_SECONDS)

    @property
    def idle(self) -> bool:
        """Tell whether every export was looked at."""
        return self._received.empty()

    def answer(self, received: Received) -> Answer:
        """Take an export."""
        self._received.put(received)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def collecting(tls: SSLContext | None = None) -> Iterator[Collector]:
    """Run a collector on the loopback interface."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = collector.answer(Received(self.path, headers, body))
            if answer.held:
                collector.released.wait(WAIT_SECONDS)
            if answer.raw is not None:
                self.wfile.write(answer.raw)
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in (*answer.headers, ("content-length", str(len(answer.body)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name in the base class
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # exporters that leave are what some tests are about

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    collector = Collector(server, "http" if tls is None else "https")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield collector
    finally:
        collector.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def plain(value: AnyValue) -> Any:
    """Return an attribute's value as Python has it."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(item) for item in value.array_value.values]
    return getattr(value, kind) if kind else None


def attributes_of(pairs: Any) -> dict[str, Any]:
    """Return attributes as a dict; each stands once."""
    listed: list[KeyValue] = list(pairs)
    result = {pair.key: plain(pair.value) for pair in listed}
    assert len(result) == len(listed)
    return result
