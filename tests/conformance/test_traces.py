"""Spans of the real process, as a collector receives them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.harness.certificates import ORIGIN_HOSTS, spiffe_id
from tests.conformance.harness.gateway import environment as variables_of
from tests.conformance.harness.gateway import running_gateway, start
from tests.support.collector import attributes_of, collecting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from tests.conformance.harness.certificates import KeyPair, Pki
    from tests.conformance.harness.gateway import Gateway
    from tests.conformance.harness.origin import Origin
    from tests.support.collector import Collector

TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"
SERVER, CLIENT = 2, 3


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture(scope="module")
def traced(
    pki: Pki, origin: Origin, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """Run a gateway that sends every span, soon."""
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "10"}
    origins = dict.fromkeys(ORIGIN_HOSTS, origin.port)
    with running_gateway(pki, tmp_path_factory.mktemp("traced"), origins, settings=settings) as running:
        yield running


def line(gateway: Gateway, identity: KeyPair, target: str, *fields: str) -> dict[str, Any]:
    """Send a request and return its access line."""
    request_id = str(uuid.uuid4())
    gateway.ask(identity, target, f"X-Request-Id: {request_id}", *fields)
    return gateway.access_line("request_id", request_id)


def received(collector: Collector, count: int) -> list[Span]:
    spans: list[Span] = []
    while len(spans) < count:
        spans += collector.next().spans
    assert len(spans) == count
    return sorted(spans, key=lambda span: span.kind)


def test_a_forwarded_request_has_a_server_and_a_client_span(traced: Gateway, pki: Pki, collector: Collector) -> None:
    logged = line(traced, pki.team_a, "/zen?token=hunter2", "Authorization: hunter2")

    server, client = received(collector, 2)
    assert (server.kind, client.kind) == (SERVER, CLIENT)
    assert server.name == f"GET {logged['route']}"
    assert (server.trace_id.hex(), server.span_id.hex()) == (logged["trace_id"], logged["span_id"])
    assert (client.trace_id, client.parent_span_id) == (server.trace_id, server.span_id)
    assert server.parent_span_id == b""
    assert server.start_time_unix_nano <= client.start_time_unix_nano <= client.end_time_unix_nano
    assert client.end_time_unix_nano <= server.end_time_unix_nano
    attributes = attributes_of(server.attributes)
    assert attributes["egress.caller"] == spiffe_id("team-a", "team-a")
    assert (attributes["egress.decision"], attributes["egress.rule"]) == ("allow", logged["rule"])
    assert attributes["egress.decision_id"] == logged["decision_id"]
    assert (attributes["http.response.status_code"], attributes["url.path"]) == (200, "/zen")
    assert "hunter2" not in f"{server}{client}"


def test_a_refused_request_has_a_server_span_only(traced: Gateway, pki: Pki, collector: Collector) -> None:
    logged = line(traced, pki.team_b, "/zen")

    (server,) = received(collector, 1)
    attributes = attributes_of(server.attributes)
    assert (attributes["egress.decision"], attributes["http.response.status_code"]) == ("deny", 403)
    assert attributes["egress.caller"] == spiffe_id("team-b", "team-b")
    assert server.span_id.hex() == logged["span_id"]


def test_the_callers_trace_goes_on_here_and_is_not_told_to_the_origin(
    traced: Gateway, pki: Pki, collector: Collector, origin: Origin
) -> None:
    before = len(origin.requests)
    logged = line(traced, pki.team_a, "/zen", f"Traceparent: {TRACEPARENT}", "Tracestate: vendor=hunter2")

    server, client = received(collector, 2)
    assert logged["trace_id"] == server.trace_id.hex() == client.trace_id.hex() == TRACE_ID
    assert server.parent_span_id.hex() == PARENT_ID
    (request,) = origin.requests[before:]
    assert request.values("traceparent") == request.values("tracestate") == []


def test_a_trace_that_its_caller_does_not_sample_is_not_recorded(
    traced: Gateway, pki: Pki, collector: Collector
) -> None:
    assert line(traced, pki.team_a, "/zen", f"Traceparent: {TRACEPARENT[:-1]}0")["trace_id"] == TRACE_ID
    sampled = line(traced, pki.team_a, "/zen")

    assert {span.trace_id.hex() for span in received(collector, 2)} == {sampled["trace_id"]}


def test_what_waits_is_sent_at_the_end(pki: Pki, origin: Origin, tmp_path: Path) -> None:
    with collecting() as collector:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "60000"}
        with running_gateway(pki, tmp_path, dict.fromkeys(ORIGIN_HOSTS, origin.port), settings=settings) as running:
            running.ask(pki.team_a, "/zen")
        assert len(received(collector, 2)) == 2


def test_without_a_collector_requests_are_served(pki: Pki, origin: Origin, tmp_path: Path) -> None:
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_BSP_SCHEDULE_DELAY": "1"}
    with running_gateway(pki, tmp_path, dict.fromkeys(ORIGIN_HOSTS, origin.port), settings=settings) as running:
        assert [running.ask(pki.team_a, "/zen").status for _ in range(20)] == [200] * 20


def test_a_variable_that_cannot_be_used_stops_the_start(pki: Pki, tmp_path: Path) -> None:
    variables = variables_of(pki, {}, []) | {
        "EGRESS_CONFIG": "deploy/workshop",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
    }
    process = start(tmp_path, variables)

    assert process.wait(20) == 3
    assert "OTEL_EXPORTER_OTLP_PROTOCOL" in (tmp_path / "stderr").read_text()
