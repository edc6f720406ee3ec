"""A caller that sends bytes as they are written and reads answers strictly."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from tests.conformance.harness.certificates import KeyPair

TIMEOUT_SECONDS = 30.0
BODYLESS = frozenset({204, 304})


class TruncatedError(Exception):
    """The connection ended before the answer did."""


@dataclass(slots=True)
class Answer:
    """An answer as it came."""

    status: int
    headers: list[tuple[str, str]]
    """Names lower-cased, in their order."""
    body: bytes = b""
    interim: list[int] = field(default_factory=list)
    """1xx answers before this one."""

    @property
    def text(self) -> str:
        return self.body.decode()

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def value(self, name: str) -> str:
        values = self.values(name)
        assert len(values) == 1, f"{name} occurs {len(values)} times in {self.headers}"
        return values[0]


def client_context(ca: Path, identity: KeyPair | None) -> ssl.SSLContext:
    """Return a context that verifies the gateway and shows an identity."""
    context = ssl.create_default_context(cafile=str(ca))
    if identity:
        context.load_cert_chain(identity.certificate, identity.key)
    return context


class Caller:
    """One mTLS connection to a gateway."""

    def __init__(
        self,
        port: int,
        context: ssl.SSLContext,
        *,
        session: ssl.SSLSession | None = None,
        receive_buffer_bytes: int | None = None,
    ) -> None:
        plain = socket.socket()
        try:
            if receive_buffer_bytes:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
            plain.settimeout(TIMEOUT_SECONDS)
            plain.connect(("127.0.0.1", port))
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock = context.wrap_socket(
                plain, server_hostname="localhost", session=session, suppress_ragged_eofs=False
            )
        except BaseException:
            plain.close()
            raise
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    @property
    def address(self) -> str:
        """This end, as the access log writes it."""
        host, port = self.sock.getsockname()
        return f"{host}:{port}"

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def ask(
        self, target: str, *fields: str, method: str = "GET", host: str = "api.github.com", body: bytes = b""
    ) -> Answer:
        """Send a plain request and read its answer."""
        self.send(request(target, *fields, method=method, host=host, body=body))
        return self.read(method)

    def read(self, method: str = "GET") -> Answer:
        """Read one answer.

        Raises:
            TruncatedError: the connection ended first, orderly or not.

        """
        interim = []
        while True:
            answer = self.read_head()
            if answer.status >= 200:
                break
            interim.append(answer.status)
        answer.interim = interim
        if method == "HEAD" or answer.status in BODYLESS:
            return answer
        if answer.values("transfer-encoding") == ["chunked"]:
            while part := self.read_chunk():
                answer.body += part
        elif lengths := answer.values("content-length"):
            answer.body = self.read_exactly(int(lengths[0]))
        else:
            answer.body = self.read_to_end()
        return answer

    def read_head(self) -> Answer:
        status_line, *lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")[:-2]
        version, status, *_ = status_line.split(" ", 2)
        assert version == "HTTP/1.1", status_line
        pairs = [line.partition(":") for line in lines]
        return Answer(int(status), [(name.lower(), value.strip()) for name, _, value in pairs])

    def read_chunk(self) -> bytes:
        """Return one chunk, or nothing at the end of the body."""
        size = int(self._until(b"\r\n"), 16)
        data = self.read_exactly(size)
        assert self._until(b"\r\n") == b"\r\n", "no line end after a chunk, or a trailer field"
        return data

    def read_exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._receive()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def take_buffered(self) -> bytes:
        """Return what was read with the head, for who reads on from the socket itself."""
        data, self._buffer = self._buffer, b""
        return data

    def read_to_end(self) -> bytes:
        """Return everything up to an orderly end of TLS."""
        try:
            while part := self.sock.recv(65_536):
                self._buffer += part
        except (ssl.SSLError, OSError) as error:
            raise TruncatedError(str(error)) from error
        data, self._buffer = self._buffer, b""
        return data

    def is_ended(self) -> bool:
        """Tell whether the gateway has ended the connection and sent nothing more; waits for it."""
        self.sock.settimeout(5.0)
        try:
            return not self._buffer and not self.sock.recv(1)
        except TimeoutError:
            return False
        except (ssl.SSLError, OSError):
            return True

    def _until(self, end: bytes) -> bytes:
        while (at := self._buffer.find(end)) < 0:
            self._receive()
        at += len(end)
        data, self._buffer = self._buffer[:at], self._buffer[at:]
        return data

    def _receive(self) -> None:
        try:
            data = self.sock.recv(65_536)
        except TimeoutError:
            raise
        except (ssl.SSLError, OSError) as error:
            raise TruncatedError(f"{error}, after {self._buffer[:200]!r}") from error
        if not data:
            raise TruncatedError(f"the gateway ended the connection after {self._buffer[:200]!r}")
        self._buffer += data


def request(target: str, *fields: str, method: str = "GET", host: str = "api.github.com", body: bytes = b"") -> bytes:
    """Return a request's bytes; nothing in it is checked or escaped."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
