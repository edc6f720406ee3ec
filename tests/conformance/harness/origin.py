"""An origin that keeps every request as it arrived, and answers as it is told."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import BufferedReader
    from pathlib import Path

    from tests.conformance.harness.certificates import KeyPair

MAX_HEAD_LINE = 65_536


@dataclass(slots=True)
class Received:
    """A request as the origin got it."""

    head: bytes
    """Request line and fields, with the empty line at the end."""
    method: str
    target: str
    headers: list[tuple[str, str]]
    """Names lower-cased, in their order."""
    body: bytes = b""

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


@dataclass(slots=True)
class Exchange:
    """One request and the connection to answer it on."""

    request: Received
    reader: BufferedReader
    sock: socket.socket
    closed: bool = False
    """Whether the handler ended the connection."""

    def read_body(self) -> bytes:
        """Return the whole body, whatever its framing."""
        self.request.body = b"".join(self.body_parts())
        return self.request.body

    def body_parts(self) -> Iterator[bytes]:
        """Yield the body as it comes."""
        if self.request.values("transfer-encoding") == ["chunked"]:
            while size := int(self.reader.readline(MAX_HEAD_LINE), 16):
                yield self._exactly(size)
                self.reader.readline(MAX_HEAD_LINE)
            while self.reader.readline(MAX_HEAD_LINE) not in {b"\r\n", b""}:
                pass
        elif lengths := self.request.values("content-length"):
            left = int(lengths[0])
            while left:
                part = self._exactly(min(left, MAX_HEAD_LINE))
                left -= len(part)
                yield part

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self, body: bytes, *fields: str, status: str = "200 OK") -> None:
        """Send a whole answer."""
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def end(self) -> None:
        """End the connection in order, TLS first."""
        self.closed = True
        with suppress(OSError):
            if isinstance(self.sock, ssl.SSLSocket):
                self.sock.unwrap()

    def reset(self) -> None:
        """End the connection without an orderly end of TLS."""
        self.closed = True
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def wait_for_the_end(self) -> None:
        """Return once the other side has closed the connection."""
        with suppress(OSError):
            while self.reader.read1(MAX_HEAD_LINE):
                pass
        self.closed = True

    def _exactly(self, size: int) -> bytes:
        data = self.reader.read(size)
        if len(data) < size:
            raise ConnectionError("the body was cut short")
        return data


def echo(exchange: Exchange) -> None:
    """Answer what was asked, as httpbingo.org does."""
    exchange.read_body()
    request = exchange.request
    headers: dict[str, list[str]] = {}
    for name, value in request.headers:
        headers.setdefault(name, []).append(value)
    document = {
        "method": request.method,
        "target": request.target,
        "headers": headers,
        "body": request.body.decode("latin-1"),
    }
    exchange.answer(json.dumps(document).encode(), "Content-Type: application/json")


@dataclass(slots=True)
class Origin:
    """A server on a loopback port, one thread a connection."""

    requests: list[Received] = field(default_factory=list)
    """Every request whose head arrived, in order."""
    handlers: dict[str, Callable[[Exchange], None]] = field(default_factory=dict)
    """Path to the function that answers; others are echoed."""
    handshakes: list[str] = field(default_factory=list)
    """The name that each finished TLS handshake asked for."""
    connections: int = 0
    """TCP connections so far."""
    port: int = 0

    def targets(self) -> list[str]:
        return [request.target for request in self.requests]

    def serve(self, listener: socket.socket, context: ssl.SSLContext | None, sockets: set[socket.socket]) -> None:
        """Accept until the listener is closed."""
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            sockets.add(connection)
            threading.Thread(target=self._connection, args=(connection, context, sockets), daemon=True).start()

    def _connection(self, plain: socket.socket, context: ssl.SSLContext | None, sockets: set[socket.socket]) -> None:
        plain.settimeout(60.0)
        # The other side ends connections as it likes; a broken body ends the handler in the same way.
        with suppress(OSError, ValueError), plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is None:
                self._exchanges(plain)
                return
            with context.wrap_socket(plain, server_side=True) as sock:
                sockets.discard(plain)
                sockets.add(sock)
                self.handshakes.append(getattr(sock, "asked_for", ""))
                self._exchanges(sock)
                sockets.discard(sock)

    def _exchanges(self, sock: socket.socket) -> None:
        with sock.makefile("rb") as reader:
            while self._exchange(reader, sock):
                pass

    def _exchange(self, reader: BufferedReader, sock: socket.socket) -> bool:
        lines = []
        while (line := reader.readline(MAX_HEAD_LINE)) not in {b"\r\n", b""}:
            lines.append(line)
        if not lines:
            return False
        method, target, _ = lines[0].decode("latin-1").split(" ")
        pairs = [line.decode("latin-1").partition(":") for line in lines[1:]]
        headers = [(name.lower(), value.strip()) for name, _, value in pairs]
        request = Received(b"".join(lines) + b"\r\n", method, target, headers)
        self.requests.append(request)
        exchange = Exchange(request, reader, sock)
        self.handlers.get(target.partition("?")[0], echo)(exchange)
        return not exchange.closed


def _remember_name(sock: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
    sock.asked_for = name or ""  # type: ignore[union-attr]


def _server_context(pair: KeyPair, callers: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    context.set_alpn_protocols(["http/1.1"])
    context.sni_callback = _remember_name
    if callers is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(callers)
    return context


@contextmanager
def running_origin(pair: KeyPair | None, callers: Path | None = None) -> Iterator[Origin]:
    """Run an origin.

    Args:
        pair: its certificate; none: it speaks plain HTTP.
        callers: authority of the certificates that it asks its callers for; none: it asks for none.

    """
    context = None if pair is None else _server_context(pair, callers)
    sockets: set[socket.socket] = set()
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        origin = Origin(port=listener.getsockname()[1])
        thread = threading.Thread(target=origin.serve, args=(listener, context, sockets), daemon=True)
        thread.start()
        try:
            yield origin
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(5.0)
            for sock in list(sockets):
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
