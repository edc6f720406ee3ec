"""Traces of the gateway in a run: how it is told to make them, and whether all of them came."""

from __future__ import annotations

import http.client
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

RATIOS = {"off": 0.0, "1%": 0.01, "on": 1.0}
"""What `--otel` takes, and which share of the requests is recorded."""
QUEUE_SPANS = 200_000
"""A span that is dropped costs nothing, and would make the figure of those that are not look good."""
DELAY_SECONDS = 1.0
WAIT_SECONDS = 20.0
"""How long what waits in a gateway's queue may take to come."""
NOTE = "traces: {sampler}, OTLP/HTTP to a collector on the other cores, a queue of {queue:,} spans"
TRACE_IDS = 1 << 64
"""The sampler by ratio looks at the lower 64 bits of a trace's id."""


class Spans(NamedTuple):
    """How many spans there are of a run's requests."""

    server: int
    client: int


def environment(otel: str, url: str) -> dict[str, str]:
    """Return the variables that make a gateway trace."""
    sampler = {"OTEL_TRACES_SAMPLER": "parentbased_always_on"}
    if otel != "on":
        sampler = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": str(RATIOS[otel])}
    return sampler | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_BSP_MAX_QUEUE_SIZE": str(QUEUE_SPANS),
        "OTEL_BSP_SCHEDULE_DELAY": str(int(DELAY_SECONDS * 1000)),
    }


def note(otel: str) -> str:
    return NOTE.format(sampler=environment(otel, "")["OTEL_TRACES_SAMPLER"], queue=QUEUE_SPANS) + (
        f", {otel} of the requests" if otel != "on" else ""
    )


def expected(access_lines: Iterable[bytes], otel: str) -> Spans:
    """Return which spans the requests of an access log have: by the trace ids that stand there, to the last one.

    Raises:
        ValueError: a request was answered without a trace id: the gateway makes no traces.

    """
    server = client = 0
    for text in access_lines:
        line = json.loads(text)
        allowed = line["decision"] == "allow"
        if line["trace_id"] is None:
            if allowed:
                raise ValueError("a request has no trace id")
        elif int(line["trace_id"][16:], 16) < RATIOS[otel] * TRACE_IDS:
            server += 1
            client += allowed  # it went to the origin
    return Spans(server, client)


@dataclass(frozen=True, slots=True)
class Collector:
    """The collector's process, as the benchmark sees it."""

    port: int

    def url(self, name: str) -> str:
        """Return the endpoint for a gateway."""
        return f"http://127.0.0.1:{self.port}/{name}"

    def received(self, name: str) -> Spans:
        """Return what came from a gateway.

        Raises:
            ValueError: spans came that are neither SERVER nor CLIENT.

        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10.0)
        try:
            connection.request("GET", f"/{name}")
            counts = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        spans = Spans(counts.pop("server", 0), counts.pop("client", 0))
        if counts:
            raise ValueError(f"there are {counts} among the spans")
        return spans

    def wait(self, name: str, log: Path, otel: str) -> None:
        """Wait for what a gateway has yet to send; what it cannot send in time, its end would throw away."""
        deadline = time.monotonic() + WAIT_SECONDS
        with suppress(ValueError, OSError):
            while self.received(name) != _wanted(log, otel) and time.monotonic() < deadline:
                time.sleep(DELAY_SECONDS / 4)

    def fault(self, name: str, log: Path, otel: str) -> str | None:
        """Tell what is wrong with the spans of a gateway that has ended, if anything is."""
        try:
            received, wanted = self.received(name), _wanted(log, otel)
        except (ValueError, OSError) as error:
            return f"spans: {error}"
        if received == wanted:
            return None
        return f"spans: {wanted.server} + {wanted.client} were made, {received.server} + {received.client} came"


def _wanted(log: Path, otel: str) -> Spans:
    with log.open("rb") as lines:
        return expected((line for line in lines if line.endswith(b"}\n")), otel)
