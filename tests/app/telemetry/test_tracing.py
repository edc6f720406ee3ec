from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import sampling
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context
from oteltap import OtelTapHttpProtobufReceiver, OtelTapHttpProtobufReceiverSettings

from app import __version__
from app.telemetry.otel_settings import OtelSettingError, TracingSettings, tracing_settings
from app.telemetry.tracing import Tracing, open_tracing
from tests.app.telemetry.exchanges import ALLOWED, DENIED
from tests.support.collector import WAIT_SECONDS, attributes_of, collecting

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from app.telemetry.span_export import SpanExporter

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADERS = [(b"host", b"origin.test"), (b"traceparent", f"00-{TRACE_ID}-{SPAN_ID}-01".encode())]


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)


class Ids(IdGenerator):
    """Makes the ids that a test wants."""

    def __init__(self, trace_id: int = 1) -> None:
        self.trace_id = trace_id

    def generate_span_id(self) -> int:
        return 0xABC

    def generate_trace_id(self) -> int:
        return self.trace_id


class Sink:
    """Keeps what would be exported."""

    def __init__(self) -> None:
        self.spans: list[bytes] = []

    def put(self, spans: tuple[bytes, ...]) -> None:
        self.spans += spans


def tracing(ids: IdGenerator | None = None, **variables: str) -> Tracing:
    settings = tracing_settings({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", **variables})
    assert isinstance(settings, TracingSettings)
    return Tracing(settings, cast("SpanExporter", Sink()), ids or Ids())


def test_a_request_without_a_parent_begins_a_trace() -> None:
    trace = tracing().start([(b"host", b"origin.test")])

    assert (trace.trace_id, trace.span_id, trace.parent_id) == ("0" * 31 + "1", "0000000000000abc", "")
    assert (trace.flags, trace.tracestate, trace.sampled) == (3, "", True)


def test_a_callers_trace_is_continued() -> None:
    trace = tracing().start([*HEADERS, (b"tracestate", b"a=1")])

    assert (trace.trace_id, trace.span_id, trace.parent_id) == (TRACE_ID, "0000000000000abc", SPAN_ID)
    assert (trace.flags, trace.tracestate, trace.sampled) == (1, "a=1", True)


def test_without_a_propagator_a_callers_trace_is_not_continued() -> None:
    trace = tracing(OTEL_PROPAGATORS="none").start(HEADERS)

    assert (trace.trace_id, trace.parent_id) == ("0" * 31 + "1", "")


def test_a_trace_that_is_not_sampled_has_ids_and_no_spans() -> None:
    quiet = tracing(OTEL_TRACES_SAMPLER="always_off")

    trace = quiet.start(HEADERS)
    quiet.finish(trace, ALLOWED)

    assert (trace.trace_id, trace.flags, trace.sampled) == (TRACE_ID, 0, False)
    assert cast("Sink", quiet.exporter).spans == []


SAMPLERS: dict[str, Any] = {
    "always_on": lambda _: sampling.ALWAYS_ON,
    "always_off": lambda _: sampling.ALWAYS_OFF,
    "traceidratio": sampling.TraceIdRatioBased,
    "parentbased_always_on": lambda _: sampling.DEFAULT_ON,
    "parentbased_always_off": lambda _: sampling.DEFAULT_OFF,
    "parentbased_traceidratio": sampling.ParentBasedTraceIdRatio,
}
RATES = st.sampled_from([0.0, 1.0, 0.5, 0.01, 1e-18]) | st.floats(0, 1)
EDGES = st.sampled_from([0, 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, round(0.01 * 2**64) - 1, round(0.01 * 2**64)])
LOW, HIGH = EDGES | st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1)


@given(st.sampled_from(sorted(SAMPLERS)), RATES, LOW, HIGH, st.none() | st.booleans())
def test_the_samplers_decide_as_the_sdks_do(
    name: str,
    rate: float,
    low: int,
    high: int,
    parent_sampled: bool | None,  # noqa: FBT001  drawn by hypothesis
) -> None:
    trace_id = high << 64 | low or 1
    context, headers = None, []
    if parent_sampled is not None:
        parent = SpanContext(trace_id, 1, is_remote=True, trace_flags=TraceFlags(parent_sampled))
        context = set_span_in_context(NonRecordingSpan(parent))
        headers = [(b"traceparent", f"00-{trace_id:032x}-{1:016x}-{parent_sampled:02x}".encode())]

    theirs = SAMPLERS[name](rate).should_sample(context, trace_id, "GET").decision.is_sampled()
    ours = tracing(Ids(trace_id), OTEL_TRACES_SAMPLER=name, OTEL_TRACES_SAMPLER_ARG=repr(rate)).start(headers)

    assert ours.sampled is theirs
    assert ours.trace_id == f"{trace_id:032x}"


def test_off_is_nothing() -> None:
    assert open_tracing({}) is None


def test_a_variable_that_cannot_be_used_stops_the_start() -> None:
    with pytest.raises(OtelSettingError, match="OTEL_EXPORTER_OTLP_PROTOCOL=grpc is not supported"):
        open_tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})


def test_while_tracing_is_off_nothing_of_opentelemetry_is_imported() -> None:
    program = (
        "import sys; from app.telemetry.tracing import open_tracing; assert open_tracing({}) is None;"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert result.stdout == "[]\n"


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "egress-gateway"),
        ({"OTEL_SERVICE_NAME": "edge"}, "edge"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=edge,team=a%20b"}, "edge"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=other", "OTEL_SERVICE_NAME": "edge"}, "edge"),
    ],
)
def test_the_resource_is_the_sdks(variables: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        opened = open_tracing()
        assert opened is not None
        opened.finish(opened.start(HEADERS), DENIED)
        opened.close()
        received = collector.next()

    resource = attributes_of(received.resource_spans.resource.attributes)
    assert resource["service.name"] == name
    assert resource["service.version"] == __version__
    assert resource["telemetry.sdk.language"] == "python"
    assert resource.get("team") == ("a b" if "team" in str(variables) else None)
    [scope] = received.resource_spans.scope_spans
    assert (scope.scope.name, scope.scope.version) == ("egress-gateway", __version__)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


def test_a_real_receiver_reads_both_spans(free_port: int) -> None:
    async def received() -> list[Span]:
        settings = OtelTapHttpProtobufReceiverSettings(http_port=free_port)
        async with OtelTapHttpProtobufReceiver(settings) as receiver:
            wanted = [
                asyncio.ensure_future(receiver.await_trace(is_kind, WAIT_SECONDS))
                for is_kind in (lambda span: span.kind == 2, lambda span: span.kind == 3)
            ]
            await asyncio.sleep(0)  # so that both wait before the spans come
            opened = open_tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port}"})
            assert opened is not None
            opened.finish(opened.start(HEADERS), ALLOWED)
            await asyncio.to_thread(opened.close)
            assert (opened.exporter.exported, opened.exporter.dropped) == (2, 0)
            return list(await asyncio.gather(*wanted))

    server, client = asyncio.run(received())

    assert (server.name, client.name) == ("GET egress/github", "GET")
    assert server.trace_id.hex() == client.trace_id.hex() == TRACE_ID
    assert server.parent_span_id.hex() == SPAN_ID
    assert client.parent_span_id == server.span_id
    assert attributes_of(server.attributes)["egress.rule"] == "egress/rbac#0"
    assert attributes_of(client.attributes)["url.full"] == "https://api.github.com/repos/octocat"
