"""An HTTP/2 origin on loopback that answers as a script says, frame by frame."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived
from h2.settings import SettingCodes, Settings

from app.cli.certificates import Leaf
from tests.support.origins import serving
from tests.support.tls import server_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    from h2.events import Event

    from tests.support.origins import Downstream, Origin


def http2_context(*protocols: str) -> ssl.SSLContext:
    context = server_context(Leaf("origin", names=("origin.test",)))
    context.set_alpn_protocols(list(protocols) or ["h2"])
    return context


@dataclass
class Http2Side:
    """The origin's side of one connection."""

    downstream: Downstream
    h2: H2Connection
    events: list[Event] = field(default_factory=list)
    """Every event so far."""
    unread: list[Event] = field(default_factory=list)

    @property
    def number(self) -> int:
        return self.downstream.number

    async def flush(self) -> None:
        await self.downstream.send(self.h2.data_to_send())

    async def next(self, kind: type[Any]) -> Any:
        """Return the next event of a kind; others are passed over."""
        while True:
            while self.unread:
                event = self.unread.pop(0)
                if isinstance(event, kind):
                    return event
            data = await self.downstream.reader.read(65536)
            if not data:
                raise ConnectionError
            found = self.h2.receive_data(data)
            self.events += found
            self.unread += found
            await self.flush()

    async def request(self) -> tuple[int, dict[bytes, bytes]]:
        """Wait for a request; return its stream and fields."""
        event = await self.next(RequestReceived)
        return event.stream_id, dict(event.headers)

    async def answer(self, stream: int, body: bytes = b"ok", status: int = 200, *more: tuple[str, str]) -> None:
        self.h2.send_headers(stream, [(":status", str(status)), *more], end_stream=not body)
        if body:
            self.h2.send_data(stream, body, end_stream=True)
        await self.flush()

    async def send(self, data: bytes) -> None:
        """Send frames that `h2` would not."""
        await self.flush()
        await self.downstream.send(data)

    async def until_closed(self) -> None:
        with contextlib.suppress(ConnectionError):
            await self.next(type(None))


@asynccontextmanager
async def serving_http2(
    script: Callable[[Http2Side], Awaitable[None]], tls: ssl.SSLContext | None = None, **settings: int
) -> AsyncIterator[Origin]:
    """Run a script for every connection; `settings` are those of SETTINGS, in lower case."""

    async def serve(downstream: Downstream) -> None:
        h2 = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        values = {SettingCodes[name.upper()]: value for name, value in settings.items()}
        h2.local_settings = Settings(client=False, initial_values=values)
        h2.initiate_connection()
        side = Http2Side(downstream, h2)
        await side.flush()
        await script(side)

    async with serving(serve, tls or http2_context()) as origin:
        yield origin


def goaway(last_stream: int, code: int = 0) -> bytes:
    return b"\0\0\x08\x07\0\0\0\0\0" + last_stream.to_bytes(4, "big") + code.to_bytes(4, "big")


async def sleep_a_little() -> None:
    """Let what is on its way arrive."""
    for _ in range(20):
        await asyncio.sleep(0.002)
