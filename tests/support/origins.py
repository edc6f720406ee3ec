"""Origins on loopback that answer as a script says, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator


@dataclass
class Origin:
    """What a scripted origin has seen."""

    port: int = 0
    accepted: int = 0
    """Connections, those that failed the TLS handshake left out."""
    ended: int = 0
    """Connections that the gateway has closed while the script waited for that."""
    heads: list[bytes] = field(default_factory=list)
    """Request heads, in the order in which they came."""


@dataclass
class Downstream:
    """The origin's side of one connection."""

    origin: Origin
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int
    """Counted from 1."""

    async def head(self) -> bytes:
        """Read a request head; it fails at the end of the connection."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.origin.heads.append(head)
        return head

    async def send(self, data: bytes) -> None:
        """Write, as fast as it is read."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes = b"ok", *, more: bytes = b"") -> None:
        """Read a request without body and answer it."""
        await self.head()
        await self.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b%b" % (len(body), body, more))

    async def until_closed(self) -> None:
        """Wait until the gateway closes the connection."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass
        self.origin.ended += 1

    def reset(self) -> None:
        """Lose the connection: with a TCP reset, not with an orderly end."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@asynccontextmanager
async def serving(
    script: Callable[[Downstream], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[Origin]:
    """Run a script for every connection; it is closed when the script ends."""
    origin = Origin()
    tasks: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []
    failures: list[Exception] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        origin.accepted += 1
        try:
            await script(Downstream(origin, reader, writer, origin.accepted))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the gateway left: most scripts go on asking until then
        except Exception as error:  # noqa: BLE001  raised by the test below
            failures.append(error)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        task = asyncio.create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    origin.port = server.sockets[0].getsockname()[1]
    try:
        yield origin
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:  # a task that was cancelled before its first step has closed nothing
            with contextlib.suppress(AttributeError):  # asyncio's transports have no loop once they have closed
                writer.transport.abort()
            # The waiter itself was cancelled where the task that waited for it was.
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
    for failure in failures:
        raise failure


@contextmanager
def serving_in_thread(
    script: Callable[[Downstream], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> Iterator[Origin]:
    """Do the same beside a test that has no event loop."""
    started, ready = threading.Event(), []
    failures: list[BaseException] = []

    async def main() -> None:
        done = asyncio.Event()
        async with serving(script, tls) as origin:
            ready.append((origin, asyncio.get_running_loop(), done))
            started.set()
            await done.wait()

    def target() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:  # noqa: BLE001  raised by the test below
            failures.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=target)
    thread.start()
    started.wait()
    try:
        if ready:
            yield ready[0][0]
    finally:
        if ready:
            _, loop, done = ready[0]
            loop.call_soon_threadsafe(done.set)
        thread.join()
    for failure in failures:
        raise failure


async def echo(downstream: Downstream) -> None:
    """Answer every request with what arrived: its line, header fields and body."""
    while True:
        head = await downstream.head()
        line, *fields = head.decode("latin-1").split("\r\n")[:-2]
        headers = [entry.split(": ", 1) for entry in fields]
        body = b""
        named = {name: value for name, value in headers}  # noqa: C416  pairs are lists, as JSON has them
        if "content-length" in named:
            body = await downstream.reader.readexactly(int(named["content-length"]))
        elif "transfer-encoding" in named:
            while size := int(await downstream.reader.readline(), 16):
                body += await downstream.reader.readexactly(size)
                await downstream.reader.readline()
            await downstream.reader.readline()
        answer = json.dumps({"line": line, "headers": headers, "body": body.decode("latin-1")}).encode()
        content = b"" if line.startswith("HEAD ") else answer
        await downstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(answer), content))
