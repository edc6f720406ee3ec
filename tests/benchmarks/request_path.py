"""The whole path of a request in one process, without sockets and TLS: what of its cost is this project's own code.

A caller's bytes go through uvicorn's protocol, the layers of the workshop's manifests, and a connection to an origin
whose transport answers by itself. So the same work is done every time, and it can be counted.
"""

from __future__ import annotations

import asyncio
import gc
import os
import ssl
import sys
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast
from unittest.mock import patch

import uvloop
from uvicorn import Config, Server
from uvicorn.server import ServerState

from app.backends.connection import OriginConnection
from app.backends.pool import ConnectionPool
from app.factory import create_app
from app.listeners import uvicorn_hook
from app.listeners.uvicorn_hook import SERVER_CONFIG
from config.settings import Settings
from tests.benchmarks.processes import clean_environment
from tests.support.asgi import lifespan
from tests.support.tls import TEAM_A, svid

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
    from types import FrameType

Result = TypeVar("Result")

WORKSHOP = Path(__file__).parents[2] / "deploy" / "workshop"
REQUEST = (
    b"GET /repos/octocat/Hello-World HTTP/1.1\r\nHost: api.github.com\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n"
    b"X-Caller-Identity: evil\r\nX-Internal-Debug: 1\r\n\r\n"
)
NOTHING: Mapping[str, str] = MappingProxyType({})
WARM_REQUESTS = 20
"""Until what is made once is made."""
COUNTED_REQUESTS = 51
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 1024\r\n\r\n" + b"x" * 1024


class _Tls:
    """The part of a finished handshake that a listener reads."""

    def getpeercert(self, *, binary_form: bool) -> bytes:
        assert binary_form
        return ssl.PEM_cert_to_DER_cert(svid(TEAM_A))

    def version(self) -> str:
        return "TLSv1.3"


class _Transport(asyncio.Transport):
    """Takes what is written, and tells nobody."""

    def __init__(self, **extra: Any) -> None:
        super().__init__({"peername": ("127.0.0.1", 40000), "sockname": ("127.0.0.1", 8443), **extra})
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class _OriginTransport(_Transport):
    """Answers every request."""

    connection: OriginConnection

    def write(self, data: Any) -> None:  # noqa: ARG002  every request is answered alike
        asyncio.get_running_loop().call_soon(self._answer)

    def _answer(self) -> None:
        self.connection.get_buffer(len(ANSWER))[: len(ANSWER)] = ANSWER
        self.connection.buffer_updated(len(ANSWER))


class RequestPath:
    """A caller's connection to a gateway in this process."""

    def __init__(self, protocol: Any, transport: _Transport, log: Path) -> None:
        self._protocol = protocol
        self._transport = transport
        self._log = log
        self._requests = 0

    async def request(self) -> bytes:
        """Send one request, and return what was written back."""
        written = self._transport.written
        written.clear()
        self._requests += 1
        self._protocol.data_received(REQUEST)
        while not written or not self._protocol.cycle.response_complete:  # noqa: ASYNC110  an event is more work
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # the end of the application's task
        return b"".join(written)

    async def logged(self) -> None:
        """Wait until the access log's thread has written the line of every request, and let go of it."""
        while self._log.read_bytes().count(b"\n") < self._requests:  # noqa: ASYNC110  a thread writes it
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.005)


async def _connect(pool: ConnectionPool) -> OriginConnection:
    """Stand in for the dial and the handshake."""
    connection = OriginConnection(pool._buffer, pool._ended)
    transport = _OriginTransport()
    transport.connection = connection
    connection.connection_made(transport)
    return connection


@asynccontextmanager
async def request_path(
    manifests: Path = WORKSHOP, environment: Mapping[str, str] = NOTHING
) -> AsyncIterator[RequestPath]:
    """Start the gateway.

    Args:
        manifests: what it is configured with.
        environment: its `OTEL_*` variables.

    """
    with (
        tempfile.TemporaryDirectory() as directory,
        patch.object(ConnectionPool, "_connect", _connect),
        patch.dict(os.environ, {**clean_environment(), **environment}, clear=True),
    ):
        log = Path(directory, "access.log")
        app = create_app(Settings(config=(str(manifests),), access_log=str(log), status_listen=None))
        config = Config(cast("Any", app), http="httptools", log_config=None, lifespan="on", interface="asgi3")
        config.load()
        server = Server(config)
        server.lifespan = config.lifespan_class(config)
        uvicorn_hook._prepare(server)
        state = server.lifespan.state
        state.pop(SERVER_CONFIG)  # there is no TLS here that could be checked
        async with lifespan(app, state):
            transport = _Transport(ssl_object=_Tls(), sslcontext=object())
            make = cast("Any", config.http_protocol_class)
            protocol = make(config=config, server_state=ServerState(), app_state=state)
            protocol.connection_made(transport)
            yield RequestPath(protocol, transport, log)
            protocol.connection_lost(None)


@dataclass(frozen=True, slots=True)
class Steps:
    """What one request takes of the interpreter."""

    instructions: int
    """Bytecode instructions."""
    calls: int
    """Calls of Python functions, and resumptions of coroutines."""


class _Counter:
    """Counts what this thread does outside of this module; the tracer that was there before is put back."""

    def __init__(self) -> None:
        self.instructions = self.calls = 0
        self._before: Any = None

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename == __file__:
            return None
        if event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            self.calls += 1
        elif event == "opcode":
            self.instructions += 1
        return self._trace


@contextmanager
def no_collector() -> Iterator[None]:
    """Keep the garbage collector, and what others do when it runs, out of what is counted."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


async def _counted(path: RequestPath) -> Steps:
    for _ in range(WARM_REQUESTS):
        await path.request()
    counters = []
    with no_collector():
        for _ in range(COUNTED_REQUESTS):
            with _Counter() as counter:
                await path.request()
            counters.append(counter)
    # The median: now and then one request wakes the access log's thread, or is the first of its second.
    return Steps(
        median_low(counter.instructions for counter in counters), median_low(counter.calls for counter in counters)
    )


def run(
    use: Callable[[RequestPath], Awaitable[Result]],
    manifests: Path = WORKSHOP,
    environment: Mapping[str, str] = NOTHING,
) -> Result:
    """Start a gateway on an event loop of its own, use it, and end both."""

    async def started() -> Result:
        async with request_path(manifests, environment) as path:
            assert (await path.request()).startswith(b"HTTP/1.1 200 OK\r\n")
            return await use(path)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(started())


def count(manifests: Path = WORKSHOP, environment: Mapping[str, str] = NOTHING) -> Steps:
    """Return what one request takes, its log line included."""
    return run(_counted, manifests, environment)


async def _microseconds(path: RequestPath) -> float:
    """Return the best of some rounds."""
    rounds = []
    for _ in range(15):
        began = time.process_time()
        for _ in range(1000):
            await path.request()
        rounds.append((time.process_time() - began) * 1000)
    return min(rounds)


def microseconds() -> float:
    """Return the processor time of one request: sockets, TLS and the caller left out."""
    return run(_microseconds)


if __name__ == "__main__":
    steps = count()
    print(
        f"{microseconds():.1f} us, {steps.instructions} bytecode instructions, {steps.calls} calls of Python functions"
    )
