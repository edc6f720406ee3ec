from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from app import __version__
from app.cli.certificates import Leaf
from app.telemetry import span_export
from app.telemetry.otel_settings import tracing_settings
from app.telemetry.otlp import Envelope, span
from app.telemetry.span_export import SpanExporter
from tests.support.collector import Answer, Collector, attributes_of, collecting
from tests.support.tls import MESH, authority, server_context

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENVELOPE = Envelope({"service.name": "test"}, "scope", "1", "https://schema.test")
BAD, DOWN = Answer(400), Answer(503)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_export, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(span_export, "_LONGEST_PAUSE", 0.01)


@contextmanager
def exporting(url: str, **variables: Any) -> Iterator[SpanExporter]:
    """Run an exporter that sends what it gets, unless the variables say otherwise."""
    settings = tracing_settings(
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_BSP_SCHEDULE_DELAY": "1",
            **{f"OTEL_{name}": str(value) for name, value in variables.items()},
        }
    )
    assert settings is not None
    exporter = SpanExporter(settings.export, ENVELOPE)
    yield exporter
    exporter.close()


def named(*names: str) -> tuple[bytes, ...]:
    return tuple(span(Span(name=name).SerializeToString()) for name in names)


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().partition(" ")[2] for record in caplog.records if record.name == "egress"]


def test_spans_are_sent_without_waiting_for_the_end(collector: Collector) -> None:
    with exporting(collector.url, EXPORTER_OTLP_HEADERS="api-key=k") as exporter:
        exporter.put(named("one", "two"))
        received = collector.next()

        assert received.path == "/v1/traces"
        assert [item.name for item in received.spans] == ["one", "two"]
        assert attributes_of(received.resource_spans.resource.attributes) == {"service.name": "test"}
        assert received.headers["content-type"] == "application/x-protobuf"
        assert received.headers["user-agent"] == f"egress-gateway/{__version__}"
        assert received.headers["api-key"] == "k"
        assert "content-encoding" not in received.headers
    assert (exporter.exported, exporter.dropped) == (2, 0)


def test_a_batch_may_be_compressed(collector: Collector) -> None:
    with exporting(collector.url, EXPORTER_OTLP_COMPRESSION="gzip") as exporter:
        exporter.put(named("one"))
        received = collector.next()

    assert received.headers["content-encoding"] == "gzip"
    assert [item.name for item in received.spans] == ["one"]


def test_a_full_batch_does_not_wait(collector: Collector) -> None:
    with exporting(collector.url, BSP_SCHEDULE_DELAY=3_600_000, BSP_MAX_EXPORT_BATCH_SIZE=2) as exporter:
        exporter.put(named("one"))
        exporter.put(named("two", "three"))

        assert [item.name for item in collector.next().spans] == ["one", "two"]
        assert collector.idle
    assert [item.name for item in collector.next().spans] == ["three"]


def test_the_end_sends_what_is_waiting(collector: Collector) -> None:
    with exporting(collector.url, BSP_SCHEDULE_DELAY=3_600_000, BSP_MAX_EXPORT_BATCH_SIZE=2) as exporter:
        exporter.put(named("one"))

    assert [item.name for item in collector.next().spans] == ["one"]
    assert exporter.exported == 1


def test_a_full_queue_drops_and_counts_and_says_so_once(collector: Collector, caplog: pytest.LogCaptureFixture) -> None:
    with exporting(
        collector.url, BSP_SCHEDULE_DELAY=3_600_000, BSP_MAX_QUEUE_SIZE=3, BSP_MAX_EXPORT_BATCH_SIZE=3
    ) as exporter:
        for _ in range(3):
            exporter.put(named("one", "two"))

    assert (exporter.exported, exporter.dropped) == (2, 4)
    assert messages(caplog) == ["spans were dropped: the queue is full; raise OTEL_BSP_MAX_QUEUE_SIZE"]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_collector_that_asks_to_try_again_gets_the_same_batch(collector: Collector, status: int) -> None:
    collector.answers = [Answer(status), Answer(status, (("retry-after", "0"),)), Answer()]
    with exporting(collector.url) as exporter:
        exporter.put(named("one"))
        tries = [collector.next() for _ in range(3)]

    assert {item.body for item in tries} == {tries[0].body}
    assert (exporter.exported, exporter.dropped) == (1, 0)


@pytest.mark.parametrize("status", [301, 400, 401, 404, 413, 500, 501])
def test_a_batch_that_is_refused_is_dropped_and_the_next_one_is_sent(collector: Collector, status: int) -> None:
    collector.answers = [Answer(status), Answer()]
    with exporting(collector.url) as exporter:
        exporter.put(named("one"))
        collector.next()
        exporter.put(named("two"))
        assert [item.name for item in collector.next().spans] == ["two"]

    assert (exporter.exported, exporter.dropped) == (1, 1)


def test_a_batch_is_given_up_when_its_time_is_over(collector: Collector) -> None:
    collector.answers = [DOWN, Answer()]
    with exporting(collector.url, BSP_EXPORT_TIMEOUT=1) as exporter:
        # The pause is longer than the batch's time.
        collector.answers[0] = Answer(503, (("retry-after", "1"),))
        exporter.put(named("one"))
        collector.next()
        exporter.put(named("two"))
        assert [item.name for item in collector.next().spans] == ["two"]

    assert (exporter.exported, exporter.dropped) == (1, 1)


def test_garbage_is_tried_again_and_then_given_up(collector: Collector, caplog: pytest.LogCaptureFixture) -> None:
    collector.answers = [Answer(raw=b"garbage\r\n\r\n"), Answer(raw=b""), Answer(body=b"\xff" * 200_000), Answer()]
    with exporting(collector.url) as exporter:
        exporter.put(named("one"))
        for _ in range(3):
            collector.next()
        exporter.put(named("two"))
        collector.next()

    assert (exporter.exported, exporter.dropped) == (2, 0)
    [failed, again] = messages(caplog)
    assert "cannot be exported to http://localhost:" in failed
    assert "RemoteProtocolError" in failed
    assert "are exported again to http://localhost:" in again


def test_nobody_listens_is_one_line_and_costs_the_traffic_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with collecting() as gone:
        pass
    with exporting(gone.url, BSP_MAX_QUEUE_SIZE=10, BSP_MAX_EXPORT_BATCH_SIZE=1, BSP_EXPORT_TIMEOUT=20) as exporter:
        for _ in range(50):
            exporter.put(named("one"))

    assert (exporter.exported, exporter.dropped) == (0, 50)
    [line] = messages(caplog)
    assert "ConnectError" in line


def test_one_line_a_change_not_one_a_batch(collector: Collector, caplog: pytest.LogCaptureFixture) -> None:
    collector.answers = [BAD, BAD, BAD, Answer(), Answer(), BAD, BAD, Answer()]
    with exporting(collector.url) as exporter:
        for _ in range(8):
            exporter.put(named("one"))
            collector.next()

    # The second failure comes within a minute of the first, which is not told again.
    assert [line.split(" http")[0] for line in messages(caplog)] == [
        "cannot be exported to",
        "are exported again to",
    ]
    assert {record.levelno for record in caplog.records if record.name == "egress"} == {logging.WARNING}


def test_spans_that_the_collector_rejects_are_counted(collector: Collector, caplog: pytest.LogCaptureFixture) -> None:
    partial = ExportTracePartialSuccess(rejected_spans=1, error_message="no")
    collector.answers = [Answer(body=ExportTraceServiceResponse(partial_success=partial).SerializeToString())]
    with exporting(collector.url) as exporter:
        exporter.put(named("one", "two"))

    assert (exporter.exported, exporter.dropped) == (1, 1)
    assert messages(caplog) == ["rejected 1 spans of a batch"]


def test_a_collector_that_never_answers_does_not_hold_up_the_end(collector: Collector) -> None:
    collector.answers = [Answer(held=True)]
    with exporting(collector.url) as exporter:
        exporter.put(named("one"))
        collector.next()
        exporter.close(0.01)

        assert exporter.exported == 0
        collector.released.set()


def test_what_the_end_cannot_send_is_counted(collector: Collector) -> None:
    collector.answers = [DOWN]
    with exporting(collector.url, BSP_SCHEDULE_DELAY=3_600_000, BSP_MAX_EXPORT_BATCH_SIZE=2) as exporter:
        exporter.put(named("one"))
        exporter.put(named("two", "three"))

    assert (exporter.exported, exporter.dropped) == (0, 3)


def test_an_unexpected_error_does_not_end_the_export(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    happened = threading.Event()

    def wrap(_: object) -> bytes:
        monkeypatch.undo()
        happened.set()
        raise ArithmeticError

    monkeypatch.setattr(ENVELOPE, "wrap", wrap)
    with exporting(collector.url) as exporter:
        exporter.put(named("one"))
        assert happened.wait(30)
        exporter.put(named("two"))

    assert (exporter.exported, exporter.dropped) == (1, 1)
    assert messages(caplog) == ["error in the export of traces"]


def test_the_proxy_variables_do_not_count(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with exporting(collector.url) as exporter:
        exporter.put(named("one"))

    assert exporter.exported == 1


def test_over_tls_the_collector_is_verified(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mesh, other = tmp_path / "mesh.pem", tmp_path / "other.pem"
    mesh.write_bytes(authority(MESH).pem()[0])
    other.write_bytes(authority("another").pem()[0])
    with collecting(server_context(Leaf("collector", names=("localhost",)))) as collector:
        with exporting(collector.url, EXPORTER_OTLP_CERTIFICATE=mesh) as trusting:
            trusting.put(named("one"))
        with exporting(collector.url, EXPORTER_OTLP_CERTIFICATE=other) as doubting:
            doubting.put(named("two"))

    assert (trusting.exported, doubting.exported) == (1, 0)
    assert "CERTIFICATE_VERIFY_FAILED" in messages(caplog)[0]


def test_retry_after_is_seconds_or_a_date() -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)

    assert span_export._seconds("7") == 7.0
    assert 3000 < (span_export._seconds(format_datetime(soon, usegmt=True)) or 0) <= 3600
    assert span_export._seconds("Thu, 01 Jan 1970 00:00:00 GMT") == 0.0
    for garbage in ("", "soon", "-1", "1.5", "٣", "Thu, 01 Jan 99999 00:00:00 GMT"):
        assert span_export._seconds(garbage) is None
