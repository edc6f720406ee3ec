"""Through a proxy to an origin: the CONNECT exchange of RFC 9110 section 9.3.6, on a socket that is connected."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from app.backends.errors import OriginConnectError
from config.policy.normalisation import write_authority

if TYPE_CHECKING:
    import socket

MAX_HEAD_BYTES = 16_384
"""Of a proxy's answer. Its fields are not used."""

_HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}")
_READ_BYTES = 4096
_END = b"\r\n\r\n"
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?")
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")


class ConnectHead:
    """The head of a proxy's answer to CONNECT, as its bytes arrive. No I/O."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> bool:
        """Take bytes, and tell whether the tunnel is open.

        Only a 2xx opens it. Nobody has asked the origin for anything yet, so that what follows the head is no answer
        of its either: such a proxy cannot be told from one that answers for the origin.

        Raises:
            OriginConnectError: the proxy refused, or broke HTTP. The message holds nothing of what it sent but the
                status.

        """
        self._data += data
        head, end, rest = self._data.partition(_END)
        if len(head) > MAX_HEAD_BYTES:
            raise OriginConnectError("its answer to CONNECT is too large")
        if not end:
            return False
        line, *fields = head.split(b"\r\n")
        status = _STATUS_LINE.fullmatch(line)
        if status is None or not all(map(_FIELD.fullmatch, fields)):
            raise OriginConnectError("its answer to CONNECT is no HTTP")
        if not status[1].startswith(b"2"):
            raise OriginConnectError(f"it answered CONNECT with {status[1].decode()}")
        if rest:
            raise OriginConnectError("it sent more than its answer to CONNECT")
        return True


def connect_request(host: str, port: int) -> bytes:
    """Return the request for a tunnel to an origin.

    Raises:
        OriginConnectError: the host could not be written without breaking HTTP.

    """
    if not _HOST.fullmatch(host):
        raise OriginConnectError("the origin's host cannot be asked for with CONNECT")
    authority = write_authority(host, port)
    return f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode("ascii")


async def open_tunnel(sock: socket.socket, host: str, port: int) -> None:
    """Ask the proxy at the other end for a connection to an origin; the caller sets the deadline.

    Raises:
        OriginConnectError: it does not give one.

    """
    loop = asyncio.get_running_loop()
    request, head = connect_request(host, port), ConnectHead()
    try:
        await loop.sock_sendall(sock, request)
        while True:
            data = await loop.sock_recv(sock, _READ_BYTES)
            if not data:
                raise OriginConnectError("it closed the connection where its answer to CONNECT was due")
            if head.feed(data):
                return
    except OSError as error:
        raise OriginConnectError(f"it ended the connection: {type(error).__name__}") from error
