"""Whether the benchmark finds out that spans are missing."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from app.telemetry.otel_settings import ALWAYS, tracing_settings
from tests.benchmarks.collector import count_spans
from tests.benchmarks.options import ROOT
from tests.benchmarks.traces import RATIOS, Collector, Spans, environment, expected

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SAMPLED, NOT_SAMPLED = "0" * 32, "0" * 16 + "f" * 16
"""Trace ids, of which a ratio of 1 % takes the first."""
SERVER, CLIENT, INTERNAL = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_INTERNAL


def export(*kinds: Span.SpanKind.ValueType) -> bytes:
    spans = [Span(kind=kind) for kind in kinds]
    scope = ResourceSpans(scope_spans=[ScopeSpans(spans=spans)])
    body: bytes = ExportTraceServiceRequest(resource_spans=[scope]).SerializeToString()
    return body


def line(trace_id: str | None, decision: str = "allow") -> bytes:
    return json.dumps({"trace_id": trace_id, "decision": decision}).encode() + b"\n"


@contextmanager
def collecting() -> Iterator[Collector]:
    command = [sys.executable, "-m", "tests.benchmarks.collector"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield Collector(int(process.stdout.readline()))
        finally:
            process.kill()


def send(collector: Collector, path: str, body: bytes, kind: str = "application/x-protobuf") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", collector.port, timeout=30.0)
    try:
        connection.request("POST", path, body, {"content-type": kind})
        return connection.getresponse().status
    finally:
        connection.close()


def test_spans_are_counted_by_kind() -> None:
    assert count_spans(export(SERVER, CLIENT, SERVER, INTERNAL)) == Counter(server=2, client=1, other=1)


def test_a_denied_request_has_one_span_and_another_two() -> None:
    lines = [line(SAMPLED), line(NOT_SAMPLED), line(NOT_SAMPLED, "deny"), line(None, "deny")]

    assert expected(lines, "on") == Spans(server=3, client=2)
    assert expected(lines, "1%") == Spans(server=1, client=1)


def test_requests_without_trace_ids_are_a_fault() -> None:
    with pytest.raises(ValueError, match="no trace id"):
        expected([line(None)], "on")


@pytest.mark.parametrize("otel", ["1%", "on"])
def test_the_gateway_understands_its_variables(otel: str) -> None:
    settings = tracing_settings(environment(otel, "http://127.0.0.1:4318/x"))

    assert settings is not None
    assert settings.export.url == "http://127.0.0.1:4318/x/v1/traces"
    assert settings.sampling.bound == pytest.approx(RATIOS[otel] * ALWAYS)
    assert settings.sampling.parent_based


def test_a_missing_span_is_a_fault(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_bytes(line(SAMPLED) + line(SAMPLED, "deny"))
    with collecting() as collector:
        assert send(collector, "/a/v1/traces", export(SERVER, CLIENT)) == 200
        assert collector.fault("a", log, "on") == "spans: 2 + 1 were made, 1 + 1 came"

        assert send(collector, "/a/v1/traces", export(SERVER)) == 200
        collector.wait("a", log, "on")
        assert collector.fault("a", log, "on") is None

        assert send(collector, "/b/v1/traces", export(INTERNAL)) == 200
        assert "other" in str(collector.fault("b", log, "on"))


def test_the_collector_takes_exports_of_traces_only() -> None:
    with collecting() as collector:
        assert send(collector, "/a/v1/metrics", export(SERVER)) == 404
        assert send(collector, "/a/v1/traces", b"{}", "application/json") == 415
        assert send(collector, "/a/v1/traces", b"\xff") == 400
        assert collector.received("a") == Spans(0, 0)
