"""A CONNECT proxy that knows where hosts are without asking a name server."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

READ_BYTES = 65_536


@dataclass(slots=True)
class Proxy:
    """The proxy, and what it was asked."""

    places: Mapping[str, int]
    """`host:port` as it is asked for, to a port of this machine; all others are refused."""
    heads: list[bytes] = field(default_factory=list)
    """The head of every request."""
    port: int = 0
    sockets: set[socket.socket] = field(default_factory=set)

    def serve(self, listener: socket.socket) -> None:
        """Accept until the listener is closed."""
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.sockets.add(connection)
            threading.Thread(target=self._connection, args=(connection,), daemon=True).start()

    def _connection(self, caller: socket.socket) -> None:
        with suppress(OSError), caller:
            head = b""
            while b"\r\n\r\n" not in head:
                data = caller.recv(READ_BYTES)
                if not data:
                    return
                head += data
            self.heads.append(head)
            method, target, _ = head.decode("latin-1").split(" ", 2)
            port = self.places.get(target)
            if method != "CONNECT" or port is None:
                caller.sendall(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
                return
            with socket.create_connection(("127.0.0.1", port)) as origin:
                self.sockets.add(origin)
                caller.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_copy, args=(origin, caller), daemon=True)
                back.start()
                _copy(caller, origin)
                back.join(60.0)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(READ_BYTES):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def running_proxy(places: Mapping[str, int]) -> Iterator[Proxy]:
    """Run a proxy that leads to these places."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        proxy = Proxy(places, port=listener.getsockname()[1])
        thread = threading.Thread(target=proxy.serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(5.0)
            for sock in list(proxy.sockets):
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
