"""The TLS origin: cheap answers, and every request's headers checked. Prints its port; ends with its standard input.

`GET /repos/bytes/N` answers with N bytes, anything with a body is counted. What a proxy had to change in the request is
verified here: a missing or wrong header is answered 599, which the load generator counts as an error.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from typing import TYPE_CHECKING, cast

import httptools
import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable

IDENTITY = b"team-a/team-a"
FORWARDED_BY = b"agentgateway-egress"
BYTES = b"/repos/bytes/"
SENT = b"x-bench-sent"
"""Header with the number of body bytes that the load generator sent."""
PART = bytes(256 * 1024)
WATCHED = frozenset({b"x-caller-identity", b"x-forwarded-by", b"x-internal-debug", SENT, b"host"})


def fault(headers: list[tuple[bytes, bytes]], received_bytes: int, host: bytes) -> bytes | None:
    """Tell what is wrong with a request, given its watched headers."""
    values = dict(headers)
    wanted = {b"x-caller-identity": IDENTITY, b"x-forwarded-by": FORWARDED_BY, b"host": host}
    twice = len(values) != len(headers)
    if not twice and values.pop(SENT, b"0") == b"%d" % received_bytes and values == wanted:
        return None
    return f"with {received_bytes} bytes came {headers}".encode()


class OriginProtocol(asyncio.Protocol):
    """One connection from a proxy."""

    def __init__(self, host: bytes) -> None:
        self._host = host
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._received_bytes = 0
        self._left_bytes = 0
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def on_message_begin(self) -> None:
        self._url, self._headers, self._received_bytes = b"", [], 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in WATCHED:
            self._headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self._received_bytes += len(body)

    def on_message_complete(self) -> None:
        wrong = fault(self._headers, self._received_bytes, self._host)
        if wrong is not None:
            self._transport.write(b"HTTP/1.1 599 Wrong\r\ncontent-length: %d\r\n\r\n%b" % (len(wrong), wrong))
        elif self._url.startswith(BYTES):
            self._answer(int(self._url[len(BYTES) :]))
        else:
            self._answer(2)

    def _answer(self, size: int) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: %d\r\n\r\n" % size
        self._transport.write(head + PART[: min(size, len(PART))])
        self._left_bytes = size - min(size, len(PART))
        self._send()

    def _send(self) -> None:
        while self._left_bytes and not self._paused:
            part = PART[: min(self._left_bytes, len(PART))]
            self._left_bytes -= len(part)
            self._transport.write(part)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._send()


def protocol_factory(host: str) -> Callable[[], OriginProtocol]:
    return lambda: OriginProtocol(host.encode())


async def _serve(certificate: str, key: str, host: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol_factory(host), "127.0.0.1", 0, ssl=context, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    uvloop.run(_serve(*sys.argv[1:4]))
