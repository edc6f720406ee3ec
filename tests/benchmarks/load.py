"""The load generator: reads one job as JSON, writes what it measured as JSON. A process of its own.

It samples the proxy's processor time itself, at the first and the last answer that count, so that both ends of the
window are exact.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from typing import Literal

import uvloop

from tests.benchmarks.load_connection import Connection
from tests.benchmarks.processes import cpu_seconds, rss_bytes

GRACE_SECONDS = 20.0
"""How much longer than asked a job may take before its proxy counts as stuck."""
CONNECT_AT_ONCE = 16
MAX_ERRORS_TOLD = 5
SETTLE_SECONDS = 0.3
RSS_EVERY_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Job:
    """One measurement."""

    mode: Literal["closed", "open", "idle"]
    """As fast as answers come; at a fixed rate; or connections that do nothing after one request."""
    port: int
    server_name: str
    ca: str
    certificate: str
    key: str
    head: str
    """Request line and headers, blank line included."""
    upload_bytes: int
    expected_bytes: int
    connections: int
    pids: list[int]
    """The proxy's processes."""
    warm_seconds: float = 0.5
    seconds: float = 2.0
    rate: int = 300


@dataclass(slots=True)
class Result:
    """What was measured."""

    requests: int = 0
    seconds: float = 0.0
    proxy_cpu_seconds: float = 0.0
    generator_cpu_seconds: float = 0.0
    received_bytes: int = 0
    rss_before_bytes: int = 0
    rss_peak_bytes: int = 0
    rss_after_bytes: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    error_count: int = 0
    errors: list[str] = field(default_factory=list)


class Generator:
    """Runs one job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.result = Result()
        self._connections: list[Connection] = []
        self._idle: list[Connection] = []
        self._waiting: list[float] = []
        self._latencies: list[float] = []
        self._asked = 0
        self._total = 0
        self._loop = asyncio.get_running_loop()
        self._finished: asyncio.Future[None] = self._loop.create_future()
        self._warm_until = 0.0
        self._until: float | None = None
        self._first: tuple[float, float, float, int] = (0.0, 0.0, 0.0, 0)

    async def run(self) -> Result:
        job, result = self.job, self.result
        context = ssl.create_default_context(cafile=job.ca)
        context.load_cert_chain(job.certificate, job.key)
        result.rss_before_bytes = result.rss_peak_bytes = rss_bytes(job.pids)
        try:
            async with asyncio.timeout(job.warm_seconds + job.seconds + GRACE_SECONDS):
                for start in range(0, job.connections, CONNECT_AT_ONCE):
                    count = min(CONNECT_AT_ONCE, job.connections - start)
                    await asyncio.gather(*[self._connect(context) for _ in range(count)])
                await {"closed": self._closed, "open": self._open, "idle": self._stay}[job.mode]()
        except TimeoutError:
            self._error("the proxy is stuck")
        except OSError as error:
            self._error(f"no connection: {error}")
        result.rss_after_bytes = rss_bytes(job.pids)
        for connection in self._connections:
            connection.close()
        return result

    async def _connect(self, context: ssl.SSLContext) -> None:
        done = {"closed": self._next, "open": self._answered, "idle": self._rest}[self.job.mode]
        job = self.job
        _, connection = await self._loop.create_connection(
            lambda: Connection(job.head.encode(), job.upload_bytes, job.expected_bytes, done, self._failed),
            "127.0.0.1",
            job.port,
            ssl=context,
            server_hostname=job.server_name,
        )
        self._connections.append(connection)

    async def _closed(self) -> None:
        self._warm_until = time.perf_counter() + self.job.warm_seconds
        for connection in self._connections:
            connection.ask()
        sampler = self._loop.create_task(self._sample_rss())
        await self._finished
        sampler.cancel()

    def _next(self, connection: Connection) -> None:
        """Count an answer, and ask again until the time is up."""
        now = time.perf_counter()
        if self._until is None:
            if now >= self._warm_until:
                self._first = self._sample(now)
                self._until = now + self.job.seconds
        else:
            self.result.requests += 1
            if now >= self._until:
                self._finish(now)
                return
        connection.ask()

    def _sample(self, now: float) -> tuple[float, float, float, int]:
        received = sum(connection.received_bytes for connection in self._connections)
        return now, cpu_seconds(self.job.pids), time.process_time(), received

    def _finish(self, now: float) -> None:
        if self._finished.done():
            return
        result, first = self.result, self._first
        at, proxy, generator, received = self._sample(now)
        result.seconds, result.proxy_cpu_seconds = at - first[0], proxy - first[1]
        result.generator_cpu_seconds, result.received_bytes = generator - first[2], received - first[3]
        self._finished.set_result(None)

    async def _open(self) -> None:
        """Ask at fixed times, whether or not answers come; latency counts from the time that was set."""
        self._idle = list(self._connections)
        self._total = int(self.job.rate * (self.job.seconds + self.job.warm_seconds))
        near, far = socket.socketpair()
        start = time.perf_counter() + 0.05
        ticker = threading.Thread(target=_tick, args=(far, start, self.job.rate, self._total), daemon=True)
        self._loop.add_reader(near, self._due, near, start)
        ticker.start()
        warm = int(self.job.rate * self.job.warm_seconds)
        try:
            await self._finished
        finally:
            self._loop.remove_reader(near)
            near.close()
        latencies = sorted(self._latencies[warm:])
        self.result.requests = len(latencies)
        if latencies:
            self.result.p50_ms = latencies[len(latencies) // 2] * 1000
            self.result.p99_ms = latencies[len(latencies) * 99 // 100] * 1000

    def _due(self, near: socket.socket, start: float) -> None:
        for _ in near.recv(4096):
            self._waiting.append(start + self._asked / self.job.rate)
            self._asked += 1
        self._ask_waiting()

    def _ask_waiting(self) -> None:
        while self._waiting and self._idle:
            connection = self._idle.pop(0)
            connection.asked_at = self._waiting.pop(0)
            connection.ask()

    def _answered(self, connection: Connection) -> None:
        self._latencies.append(time.perf_counter() - connection.asked_at)
        self._idle.append(connection)
        self._ask_waiting()
        if len(self._latencies) == self._total and not self._finished.done():
            self._finished.set_result(None)

    async def _stay(self) -> None:
        """One request on each connection, then nothing."""
        for connection in self._connections:
            connection.ask()
            await self._finished
            if self.result.error_count:
                return
            self._finished = self._loop.create_future()
        await asyncio.sleep(SETTLE_SECONDS)

    def _rest(self, connection: Connection) -> None:  # noqa: ARG002  what a connection calls
        self.result.requests += 1
        self._finished.set_result(None)

    async def _sample_rss(self) -> None:
        while True:
            await asyncio.sleep(RSS_EVERY_SECONDS)
            self.result.rss_peak_bytes = max(self.result.rss_peak_bytes, rss_bytes(self.job.pids))

    def _failed(self, connection: Connection, reason: str) -> None:  # noqa: ARG002  what a connection calls
        self._error(reason)
        if not self._finished.done():
            self._finished.set_result(None)

    def _error(self, reason: str) -> None:
        self.result.error_count += 1
        if len(self.result.errors) < MAX_ERRORS_TOLD:
            self.result.errors.append(reason)


def _tick(far: socket.socket, start: float, rate: int, total: int) -> None:
    """Write a byte at each request's time: a thread sleeps to the microsecond, uvloop's timers to the millisecond."""
    with far:
        for number in range(total):
            time.sleep(max(0.0, start + number / rate - time.perf_counter()))
            try:
                far.send(b".")
            except OSError:
                return


async def _main(job: Job) -> Result:
    return await Generator(job).run()


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(_main(Job(**json.load(sys.stdin)))))))
