"""ASGI without a server: a lifespan that the test holds, and requests whose every message it writes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from middleware.context import CONNECTION, TARGET, Connection
from tests.support.tls import TEAM_A, svid

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from starlette.types import ASGIApp, Message


@asynccontextmanager
async def lifespan(app: ASGIApp, state: dict[str, Any] | None = None) -> AsyncIterator[list[Message]]:
    """Start an application and end it; what it said about it is the list."""
    incoming: asyncio.Queue[Message] = asyncio.Queue()
    said: list[Message] = []
    answered = asyncio.Event()

    async def send(message: Message) -> None:
        said.append(message)
        answered.set()

    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {} if state is None else state}
    incoming.put_nowait({"type": "lifespan.startup"})

    async def main() -> None:
        try:
            await app(scope, incoming.get, send)
        finally:
            answered.set()

    task = asyncio.create_task(main())
    await answered.wait()
    try:
        yield said
    finally:
        incoming.put_nowait({"type": "lifespan.shutdown"})
        await task


class Call:
    """One request: the test puts what the caller sends, and reads what was answered."""

    def __init__(  # noqa: PLR0913  a request has that many parts
        self,
        app: ASGIApp,
        method: str = "GET",
        target: bytes = b"/",
        headers: Iterable[tuple[bytes, bytes]] = ((b"host", b"origin.test"),),
        *,
        chain: Iterable[str] | None = None,
        version: str = "1.1",
    ) -> None:
        self.sent: list[Message] = []
        self.received: asyncio.Queue[Message] = asyncio.Queue()
        self.aborted = 0
        self.room = asyncio.Event()
        """Cleared: the caller does not read, and `send` waits."""
        self.room.set()
        self._app = app
        tls = {"client_cert_chain": [svid(TEAM_A)] if chain is None else list(chain), "client_cert_error": None}
        path, _, query = target.partition(b"?")
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": version,
            "method": method,
            "scheme": "https",
            "path": path.decode("latin-1"),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": list(headers),
            "client": ("192.0.2.7", 1234),
            "server": ("127.0.0.1", 8443),
            "state": {
                CONNECTION: Connection("192.0.2.7", 1234, "127.0.0.1", 8443, "https", tls, self._abort),
                TARGET: target,
            },
        }

    def _abort(self) -> None:
        self.aborted += 1

    def body(self, part: bytes, *, more: bool = False) -> None:
        """Let the caller send a part of its body."""
        self.received.put_nowait({"type": "http.request", "body": part, "more_body": more})

    def leave(self) -> None:
        """Let the caller close its connection."""
        self.received.put_nowait({"type": "http.disconnect"})

    async def run(self) -> None:
        """Make the request and wait for its end."""
        await self._app(self.scope, self.received.get, self._send)

    def start(self) -> asyncio.Task[None]:
        """Make the request in a task."""
        return asyncio.create_task(self.run())

    async def _send(self, message: Message) -> None:
        await self.room.wait()
        self.sent.append(message)

    @property
    def status(self) -> int | None:
        """Status of the answer, if it has begun."""
        return self.sent[0]["status"] if self.sent else None

    @property
    def headers(self) -> dict[bytes, bytes]:
        """Header fields of the answer."""
        return dict(self.sent[0]["headers"])

    @property
    def content(self) -> bytes:
        """The answer's body so far."""
        return b"".join(message.get("body", b"") for message in self.sent[1:])

    @property
    def is_complete(self) -> bool:
        """Whether the answer came to a clean end."""
        return len(self.sent) > 1 and not self.sent[-1].get("more_body", False)
