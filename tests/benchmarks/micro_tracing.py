"""What tracing costs a request, in microseconds of CPU of all threads. Compare figures of one run only.

`python -m tests.benchmarks.micro_tracing`
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import multiprocessing
import time
from typing import TYPE_CHECKING

from app.telemetry.spans import Exchange
from app.telemetry.tracing import open_tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    from app.telemetry.tracing import Tracing

ROUNDS = 5
REQUESTS = 20_000
BURST = 250
"""Requests between two pauses, in which the exporter's thread gets the processor."""
PAUSE_SECONDS = 0.005
FIELDS = [(b"host", b"api.github.com"), *((b"x-field-%d" % number, b"value") for number in range(10))]
TRACED = [*FIELDS, (b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    writer.close()


def _collect(port: Connection) -> None:
    """Take every export. A process of its own, so that its work is not counted."""

    async def serve() -> None:
        server = await asyncio.start_server(_answer, "127.0.0.1", 0, limit=1 << 24)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


@contextlib.contextmanager
def _collector() -> Iterator[str]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_collect, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()


def _exchange(number: int) -> Exchange:
    """Return a request of one of 50 callers' connections; every path is another."""
    return Exchange(
        "GET",
        "https",
        "1.1",
        "api.github.com",
        8443,
        200,
        "egress/github",
        "spiffe://cluster.local/ns/team-a/sa/team-a",
        True,  # noqa: FBT003  a field
        "allow_matched",
        "egress/rbac#0",
        "",
        False,  # noqa: FBT003  a field
        "egress/github",
        "140.82.121.6:443",
        "https",
        "api.github.com",
        443,
        f"/repos/octocat/{number}",
        "6fa459ea-ee8a-4ca4-894e-db77e160355e",
        "10.0.3.7",
        40_000 + number % 50,
        1_700_000_000.5,
        0.01,
        0.001,
        0.008,
    )


def _request(tracing: Tracing | None, headers: list[tuple[bytes, bytes]]) -> Callable[[int], None]:
    def request(number: int) -> None:
        trace = tracing.start(headers) if tracing else None
        if tracing and trace and trace.sampled:
            tracing.finish(trace, _exchange(number))

    return request


def _microseconds(request: Callable[[int], None], finish: Callable[[], None]) -> float:
    """Return the CPU time of a request, the rest of the process's work included; the pauses' cost is taken off."""

    def measured(call: Callable[[int], None]) -> float:
        began = time.process_time()
        for number in range(REQUESTS):
            call(number)
            if number % BURST == 0:
                time.sleep(PAUSE_SECONDS)
        finish()
        return (time.process_time() - began) / REQUESTS * 1e6

    bare = min(measured(lambda _: None) for _ in range(ROUNDS))
    return min(measured(request) for _ in range(ROUNDS)) - bare


def main() -> None:
    """Print the table."""
    with _collector() as url:
        base = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_BSP_MAX_QUEUE_SIZE": "100000",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        ratio = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}
        cases: list[tuple[str, dict[str, str], list[tuple[bytes, bytes]]]] = [
            ("off", {"OTEL_SDK_DISABLED": "true"}, FIELDS),
            ("not sampled", {"OTEL_TRACES_SAMPLER": "always_off"}, FIELDS),
            ("not sampled, with traceparent", {"OTEL_TRACES_SAMPLER": "always_off"}, TRACED),
            ("1 % sampled", ratio | {"OTEL_TRACES_SAMPLER_ARG": "0.01"}, FIELDS),
            ("recorded and exported", {}, FIELDS),
            ("recorded and exported, with traceparent", {}, TRACED),
            ("recorded and exported, gzip", {"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}, FIELDS),
        ]
        for name, variables, headers in cases:
            tracing = open_tracing(base | variables)
            figure = _microseconds(_request(tracing, headers), _flush(tracing))
            print(f"{name:42} {figure:8.2f} us", f"{tracing.exporter.dropped} spans lost" if tracing else "")
            if tracing:
                tracing.close()


def _flush(tracing: Tracing | None) -> Callable[[], None]:
    """Return what waits until everything is exported, so that its cost is counted."""

    def flush() -> None:
        for _ in itertools.takewhile(lambda _: tracing and tracing.exporter.waiting, itertools.count()):
            time.sleep(0.01)

    return flush


if __name__ == "__main__":
    main()
