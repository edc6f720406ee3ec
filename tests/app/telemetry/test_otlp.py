from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from app.telemetry.otlp import Envelope, TextAttribute, any_value, attributes, rejected_spans, span, text, varint
from tests.support.collector import attributes_of

INT64 = st.integers(-(2**63), 2**63 - 1)
SCALARS = st.one_of(st.text(), st.booleans(), INT64, st.floats(allow_nan=False))


@given(st.dictionaries(st.text(), SCALARS | st.lists(SCALARS)))
def test_attributes_are_read_back_by_the_generated_classes(values: dict[str, object]) -> None:
    decoded = Resource.FromString(attributes(b"\x0a", values))

    assert attributes_of(decoded.attributes) == {key: value for key, value in values.items() if value != ""}


def test_a_value_of_another_type_is_sent_as_text() -> None:
    assert any_value(b"x") == any_value("b'x'")


def test_what_is_not_known_is_left_out() -> None:
    assert attributes(b"\x0a", {"a": None, "b": ""}) == b""


@given(st.text(max_size=20), st.text(max_size=20_000))
def test_an_attribute_with_a_prepared_key_is_the_same_as_any_other(key: str, value: str) -> None:
    encoded = TextAttribute(b"\x4a", key).encode(text(value))

    [decoded] = Span.FromString(encoded).attributes
    assert (decoded.key, decoded.value.string_value) == (key, value)


def test_text_that_utf_8_cannot_say_does_not_cost_the_batch() -> None:
    assert text("a\ud800b") == b"a?b"


@given(st.integers(0, 2**64 - 1))
def test_a_varint_is_protobufs(number: int) -> None:
    assert ExportTracePartialSuccess.FromString(b"\x08" + varint(number)).rejected_spans % 2**64 == number


@given(st.lists(st.binary(max_size=300).map(lambda name: Span(trace_id=name)), max_size=5))
def test_the_envelope_carries_resource_scope_and_spans(spans: list[Span]) -> None:
    envelope = Envelope({"service.name": "x", "n": 1}, "scope", "1.0", "https://schema.test")

    request = ExportTraceServiceRequest.FromString(envelope.wrap(span(item.SerializeToString()) for item in spans))

    [resource_spans] = request.resource_spans
    [scope_spans] = resource_spans.scope_spans
    assert attributes_of(resource_spans.resource.attributes) == {"service.name": "x", "n": 1}
    assert (scope_spans.scope.name, scope_spans.scope.version) == ("scope", "1.0")
    assert scope_spans.schema_url == "https://schema.test"
    assert list(scope_spans.spans) == spans


@given(st.integers(0, 2**63 - 1), st.text())
def test_rejected_spans_are_read(count: int, message: str) -> None:
    partial = ExportTracePartialSuccess(rejected_spans=count, error_message=message)

    assert rejected_spans(ExportTraceServiceResponse(partial_success=partial).SerializeToString()) == count


@pytest.mark.parametrize(
    "response", [b"", b"{}", b"\x0a", b"\x0a\x02\x08", b"\x0a\x0c\x08" + b"\xff" * 11, b"\x08" + b"\xff" * 40 + b"\x01"]
)
def test_garbage_rejects_no_span(response: bytes) -> None:
    assert rejected_spans(response) == 0


@given(st.binary(max_size=100))
def test_no_response_breaks_the_reader(response: bytes) -> None:
    assert rejected_spans(response) >= 0


def test_a_negative_number_is_twos_complement() -> None:
    decoded = KeyValue.FromString(b"\x12" + varint(len(any_value(-1))) + any_value(-1))

    assert decoded.value.int_value == -1


def test_a_double_is_little_endian() -> None:
    assert any_value(1.5) == b"\x21" + struct.pack("<d", 1.5)
