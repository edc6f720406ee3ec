"""Sends spans to the collector: OTLP/HTTP in batches, from a thread of its own.

Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp. The SDK's `BatchSpanProcessor` would cost 3 us a request
more, counts nothing that it drops, logs every drop, and cannot end within a deadline.
"""

from __future__ import annotations

import gzip
import logging
import random
import ssl
import threading
import time
from collections import deque
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple

import httpx

from app import __version__
from app.telemetry.otlp import rejected_spans

if TYPE_CHECKING:
    from app.telemetry.otel_settings import ExportSettings
    from app.telemetry.otlp import Envelope

logger = logging.getLogger("egress")

CLOSE_SECONDS = 2.0
"""How long the end waits for the collector, as for the access log: several batches where it answers, and where it does
not, the traces of the last seconds are worth less than an end within an orchestrator's grace period."""
_RETRYABLE = frozenset({429, 502, 503, 504})
"""OTLP/HTTP, "Retryable Response Codes"."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
"""Seconds between tries, doubled each time."""
_LONGEST_RETRY_AFTER = 300.0
_MAX_RESPONSE_BYTES = 1 << 16
"""More than any collector says; the rest is not read."""
_QUIET_SECONDS = 60.0
"""A collector that comes and goes is told of at most this often."""


class _Outcome(NamedTuple):
    """The result of one try."""

    problem: str = ""
    """Empty: the collector took the batch."""
    retry: bool = False
    retry_after: float | None = None
    rejected: int = 0


class SpanExporter:
    """Queues encoded spans and sends them in batches. Traffic never waits for it."""

    def __init__(self, settings: ExportSettings, envelope: Envelope) -> None:
        self._settings = settings
        self._envelope = envelope
        self._spans: deque[bytes] = deque()  # its two ends are safe to use from two threads
        self._news = threading.Event()
        self._closing = threading.Event()
        self._deadline = float("inf")
        self._overflowed = 0
        self._lost = 0
        self._failures = 0
        self._resume = 0.0
        self._log = _StateLog(settings)
        self.exported = 0
        """Spans that the collector took."""
        self._thread = threading.Thread(target=self._run, name="span-export", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Spans that were lost: the queue was full, or the collector did not take them."""
        return self._overflowed + self._lost

    @property
    def waiting(self) -> int:
        """Spans in the queue."""
        return len(self._spans)

    def put(self, spans: tuple[bytes, ...]) -> None:
        """Take the spans of one request. Never blocks."""
        waiting = len(self._spans) + len(spans)
        if waiting > self._settings.max_queue:
            self._overflowed += len(spans)
            return
        self._spans.extend(spans)
        if waiting >= self._settings.max_batch and not self._news.is_set():
            self._news.set()

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Send what is waiting, if the collector takes it in time."""
        self._deadline = time.monotonic() + seconds
        self._closing.set()
        self._news.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        settings = self._settings
        headers = dict(settings.headers) | {
            "content-type": "application/x-protobuf",
            "user-agent": f"egress-gateway/{__version__}",
        }
        if settings.gzip:
            headers["content-encoding"] = "gzip"
        # Without TLS a context that trusts nobody, as loading the system's roots takes 20 ms.
        tls = settings.tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Only the variables of OpenTelemetry count, not HTTP_PROXY: the gateway calls nobody through a proxy.
        with httpx.Client(verify=tls, trust_env=False, headers=headers) as client:
            while not self._closing.is_set():
                full = self._news.wait(settings.delay)
                self._news.clear()
                # Woken for a full batch, what is left over goes with the next one.
                self._send_waiting(client, at_least=settings.max_batch if full else 1)
            self._send_waiting(client, at_least=1)
        self._lost += len(self._spans)
        self._spans.clear()

    def _send_waiting(self, client: httpx.Client, at_least: int) -> None:
        while len(self._spans) >= at_least and time.monotonic() < self._deadline:
            batch = [self._spans.popleft() for _ in range(min(len(self._spans), self._settings.max_batch))]
            try:
                taken = self._deliver(client, self._envelope.wrap(batch), len(batch))
            except Exception:
                logger.exception("unexpected error in the export of traces")
                taken = False
            if not taken:
                self._lost += len(batch)
                if self._closing.is_set():
                    break  # it will not take the others in time either
        self._log.overflowed(self._overflowed)

    def _deliver(self, client: httpx.Client, body: bytes, spans: int) -> bool:
        """Try until the collector takes the batch, refuses it, or its time is up."""
        give_up = time.monotonic() + self._settings.batch_timeout
        if self._settings.gzip:
            body = gzip.compress(body, mtime=0)
        while True:
            # The pause may be an earlier batch's: a collector that asks for rest gets it.
            self._closing.wait(max(self._resume - time.monotonic(), 0.0))
            outcome = self._post(client, body)
            if not outcome.problem:
                self._failures, self._resume = 0, 0.0
                rejected = min(outcome.rejected, spans)  # a collector may say anything
                self.exported += spans - rejected
                self._lost += rejected
                self._log.working(self.dropped, rejected)
                return True
            self._log.failing(outcome)
            if not outcome.retry:
                return False
            self._resume = time.monotonic() + self._pause(outcome)
            if self._closing.is_set() or self._resume > give_up:
                return False

    def _pause(self, outcome: _Outcome) -> float:
        self._failures += 1
        if outcome.retry_after is not None:
            return min(outcome.retry_after, _LONGEST_RETRY_AFTER)
        pause = min(_FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10), _LONGEST_PAUSE)
        return pause * random.uniform(0.8, 1.2)  # noqa: S311  spreads the tries of many gateways

    def _post(self, client: httpx.Client, body: bytes) -> _Outcome:
        timeout = min(self._settings.timeout, max(self._deadline - time.monotonic(), 0.001))
        try:
            with client.stream("POST", self._settings.url, content=body, timeout=timeout) as response:
                status, answer = response.status_code, b""
                # Read to its end, so that the connection can be used again.
                for part in response.iter_raw():
                    answer += part
                    if len(answer) > _MAX_RESPONSE_BYTES:
                        break
        except httpx.TransportError as error:
            return _Outcome(f"{type(error).__name__}: {error}", retry=True)
        if response.is_success:
            return _Outcome(rejected=rejected_spans(answer))
        wait = _seconds(response.headers.get("retry-after", ""))
        return _Outcome(f"it answered {status}", status in _RETRYABLE, wait)


def _seconds(retry_after: str) -> float | None:
    """Read `Retry-After`: seconds or a date (RFC 9110 section 10.2.3)."""
    if retry_after.isascii() and retry_after.isdecimal():
        return float(retry_after)
    try:
        return max(parsedate_to_datetime(retry_after).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return None


class _StateLog:
    """Tells when the export begins to fail, works again, or loses spans: one line a change."""

    def __init__(self, settings: ExportSettings) -> None:
        self._settings = settings
        self._failing = False
        self._told: dict[str, float] = {}
        self._overflowed = 0

    def failing(self, outcome: _Outcome) -> None:
        if not self._failing and self._due("failing"):
            self._failing = True
            waiting = f"up to {self._settings.max_queue} spans wait, further ones are dropped"
            effect = waiting if outcome.retry else "such batches are dropped; check the URL and what listens there"
            logger.warning("traces cannot be exported to %s: %s; %s", self._settings.place, outcome.problem, effect)

    def working(self, dropped: int, rejected: int) -> None:
        if self._failing:
            self._failing = False
            logger.warning("traces are exported again to %s; %d spans were lost so far", self._settings.place, dropped)
        if rejected and self._due("rejected"):
            logger.warning("%s rejected %d spans of a batch", self._settings.place, rejected)

    def overflowed(self, spans: int) -> None:
        """Tell of a queue that is too short for the traffic; while the export fails that has been said."""
        lost, self._overflowed = spans - self._overflowed, spans
        if lost and not self._failing and self._due("overflowed"):
            logger.warning("%d spans were dropped: the queue is full; raise OTEL_BSP_MAX_QUEUE_SIZE", lost)

    def _due(self, what: str) -> bool:
        now = time.monotonic()
        if now - self._told.get(what, float("-inf")) < _QUIET_SECONDS:
            return False
        self._told[what] = now
        return True
