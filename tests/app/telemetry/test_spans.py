from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span, Status

from app.telemetry.spans import Exchange, SpanEncoder
from middleware.trace_context import Trace
from tests.app.telemetry.exchanges import ALLOWED, DENIED, SPIFFE_ID
from tests.support.collector import attributes_of

TRACE_ID, SPAN_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "b7ad6b7169203331"
ROOT = Trace(TRACE_ID, SPAN_ID, "", 3, "")
CLIENT_ID = 7
START = 1_700_000_000_500_000_000


def spans(exchange: Exchange, trace: Trace = ROOT, encoder: SpanEncoder | None = None) -> list[Span]:
    encoded = (encoder or SpanEncoder()).encode(trace, exchange, CLIENT_ID)
    return list(ScopeSpans.FromString(b"".join(encoded)).spans)


def server(exchange: Exchange) -> tuple[Span, dict[str, Any]]:
    span = spans(exchange)[0]
    return span, attributes_of(span.attributes)


def client(exchange: Exchange) -> tuple[Span, dict[str, Any]]:
    span = spans(exchange)[1]
    return span, attributes_of(span.attributes)


def test_the_server_span_tells_what_the_caller_asked() -> None:
    span, attributes = server(ALLOWED)

    assert (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id) == (TRACE_ID, SPAN_ID, b"")
    assert (span.name, span.kind) == ("GET egress/github", Span.SPAN_KIND_SERVER)
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (START, START + 250_000_000)
    assert span.status == Status()
    assert attributes == {
        "http.request.method": "GET",
        "http.route": "egress/github",
        "http.response.status_code": 200,
        "url.scheme": "https",
        "url.path": "/repos/octocat",
        "server.address": "api.github.com",
        "server.port": 8443,
        "client.address": "10.0.3.7",
        "network.peer.address": "10.0.3.7",
        "network.peer.port": 40000,
        "network.protocol.version": "1.1",
        "egress.caller": SPIFFE_ID,
        "egress.decision": "allow",
        "egress.reason": "allow_matched",
        "egress.rule": "egress/rbac#0",
        "egress.decision_id": "6fa459ea-ee8a-4ca4-894e-db77e160355e",
        "egress.backend": "egress/github-backend",
    }


def test_the_client_span_is_its_child_and_tells_what_the_origin_was_asked() -> None:
    span, attributes = client(ALLOWED)

    assert (span.trace_id.hex(), span.span_id, span.parent_span_id.hex()) == (TRACE_ID, b"\0" * 7 + b"\7", SPAN_ID)
    assert (span.name, span.kind) == ("GET", Span.SPAN_KIND_CLIENT)
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (START + 62_500_000, START + 187_500_000)
    assert span.status == Status()
    assert attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "url.full": "https://api.github.com/repos/octocat",
        "server.address": "api.github.com",
        "server.port": 443,
        "network.peer.address": "140.82.121.6",
        "network.peer.port": 443,
        "network.protocol.version": "1.1",
        "egress.backend": "egress/github-backend",
    }


def test_a_request_that_did_not_reach_the_origin_has_one_span_and_a_denial_is_no_error() -> None:
    [span] = spans(DENIED)
    attributes = attributes_of(span.attributes)

    assert span.status == Status()
    assert "error.type" not in attributes
    assert attributes["http.response.status_code"] == 403
    assert [attributes[f"egress.{name}"] for name in ("decision", "reason", "rule")] == [
        "deny",
        "deny_matched",
        "egress/path#1",
    ]


def test_the_callers_span_is_the_remote_parent() -> None:
    one, two = spans(ALLOWED, Trace(TRACE_ID, SPAN_ID, PARENT_ID, 1, "a=1"))

    assert one.parent_span_id.hex() == PARENT_ID
    assert (one.trace_state, two.trace_state) == ("a=1", "a=1")
    # SpanFlags: trace flags, whether it is known that the parent is remote, whether it is.
    assert (one.flags, two.flags) == (0x301, 0x101)


def test_a_new_trace_has_no_remote_parent() -> None:
    assert [span.flags for span in spans(ALLOWED)] == [0x103, 0x103]


@pytest.mark.parametrize(
    ("changes", "server_error", "client_error"),
    [
        ({}, None, None),
        ({"status": 304}, None, None),
        ({"status": 404}, None, "404"),
        ({"status": 503}, "503", "503"),
        (
            {"status": 503, "error": "upstream_call_failed", "endpoint": ""},
            "upstream_call_failed",
            "upstream_call_failed",
        ),
        ({"status": 200, "error": "upstream_aborted", "aborted": True}, "upstream_aborted", "upstream_aborted"),
        ({"status": None, "error": "downstream_closed"}, "downstream_closed", "downstream_closed"),
        ({"status": None}, "_OTHER", "_OTHER"),
    ],
)
def test_errors_are_what_the_semantic_conventions_say(
    changes: dict[str, Any], server_error: str | None, client_error: str | None
) -> None:
    for span, expected in zip(spans(ALLOWED._replace(**changes)), (server_error, client_error), strict=True):
        assert attributes_of(span.attributes).get("error.type") == expected
        assert span.status == Status(code=Status.STATUS_CODE_ERROR if expected else Status.STATUS_CODE_UNSET)


def test_an_origin_that_did_not_answer_has_no_status_and_maybe_no_address() -> None:
    _, attributes = client(ALLOWED._replace(status=503, error="upstream_call_failed", endpoint="", upstream_port=0))

    assert not attributes.keys() & {
        "http.response.status_code",
        "network.peer.address",
        "network.peer.port",
        "server.port",
    }


def test_an_origin_that_did_not_end_ends_with_the_request() -> None:
    span, _ = client(ALLOWED._replace(upstream_seconds=None))

    assert span.end_time_unix_nano == START + 250_000_000


@pytest.mark.parametrize("method", ["get", "FROBNICATE", "M" * 100])
def test_a_method_that_is_not_known_does_not_name_spans(method: str) -> None:
    encoder = SpanEncoder()
    one, two = spans(ALLOWED._replace(method=method), encoder=encoder)

    assert (one.name, two.name) == ("HTTP egress/github", "HTTP")
    for span in (one, two):
        attributes = attributes_of(span.attributes)
        assert attributes["http.request.method"] == "_OTHER"
        assert attributes["http.request.method_original"] == method[:32]


def test_the_known_methods_can_be_replaced() -> None:
    names = [span.name for span in spans(ALLOWED, encoder=SpanEncoder(frozenset({"PURGE"})))]

    assert names == ["HTTP egress/github", "HTTP"]


def test_without_a_route_the_method_names_the_span() -> None:
    span, attributes = server(ALLOWED._replace(route="", host="", caller="", allowed=None, reason="", rule=""))

    assert span.name == "GET"
    assert not attributes.keys() & {"http.route", "server.address", "egress.caller", "egress.decision", "egress.rule"}


@pytest.mark.parametrize("path", ["/p?token=secret", "/p#secret", "/p?a#secret", "/p#a?secret"])
def test_a_query_never_gets_into_a_span(path: str) -> None:
    exchange = ALLOWED._replace(path=path)

    assert server(exchange)[1]["url.path"] == "/p"
    assert client(exchange)[1]["url.full"] == "https://api.github.com/p"


@pytest.mark.parametrize(
    ("scheme", "host", "port", "origin"),
    [
        ("https", "a.test", 443, "https://a.test"),
        ("https", "a.test", 8443, "https://a.test:8443"),
        ("http", "a.test", 80, "http://a.test"),
        ("http", "a.test", 443, "http://a.test:443"),
        ("https", "2001:db8::1", 443, "https://[2001:db8::1]"),
        ("https", "", 0, "https://api.github.com"),
    ],
)
def test_the_url_of_the_origin_names_its_port_where_it_is_not_the_usual_one(
    scheme: str, host: str, port: int, origin: str
) -> None:
    exchange = ALLOWED._replace(upstream_scheme=scheme, upstream_host=host, upstream_port=port)

    assert client(exchange)[1]["url.full"] == f"{origin}/repos/octocat"


def test_an_ipv6_endpoint_stands_without_brackets() -> None:
    _, attributes = client(ALLOWED._replace(endpoint="[2001:db8::1]:443"))

    assert (attributes["network.peer.address"], attributes["network.peer.port"]) == ("2001:db8::1", 443)


def test_requests_that_differ_share_nothing_that_differs() -> None:
    encoder = SpanEncoder()
    for _ in range(2):  # the second time from the cache
        for number in range(3):
            exchange = ALLOWED._replace(path=f"/{number}", port=number, decision_id=str(number), status=200 + number)
            attributes = attributes_of(spans(exchange, encoder=encoder)[0].attributes)
            assert attributes["url.path"] == f"/{number}"
            assert attributes["network.peer.port"] == number
            assert attributes["egress.decision_id"] == str(number)
            assert attributes["http.response.status_code"] == 200 + number


TEXT = st.text(max_size=40)
EXCHANGES = st.builds(
    Exchange,
    method=st.sampled_from(["GET", "POST"]) | TEXT,
    scheme=st.sampled_from(["http", "https"]),
    http_version=st.sampled_from(["1.0", "1.1"]),
    host=TEXT,
    local_port=st.integers(0, 65535),
    status=st.none() | st.integers(100, 999),
    route=TEXT,
    caller=TEXT,
    allowed=st.none() | st.booleans(),
    reason=TEXT,
    rule=TEXT,
    error=TEXT,
    aborted=st.booleans(),
    backend=TEXT,
    endpoint=TEXT | st.just("10.0.0.1:443"),
    upstream_scheme=st.sampled_from(["http", "https"]),
    upstream_host=TEXT,
    upstream_port=st.integers(0, 65535),
    path=st.text(max_size=9000),
    decision_id=TEXT,
    address=TEXT,
    port=st.integers(0, 65535),
    started=st.floats(0, 4e9),
    seconds=st.floats(0, 1e6),
    upstream_offset=st.none() | st.floats(0, 1e3),
    upstream_seconds=st.none() | st.floats(0, 1e3),
)


@given(EXCHANGES, st.sampled_from(["", "a=1", "a=" + "v" * 500]), st.sampled_from(["", PARENT_ID]))
def test_whatever_a_request_was_its_spans_can_be_read(exchange: Exchange, tracestate: str, parent_id: str) -> None:
    decoded = spans(exchange, Trace(TRACE_ID, SPAN_ID, parent_id, 1, tracestate))

    assert len(decoded) == 1 + (exchange.upstream_offset is not None)
    for span in decoded:
        assert span.trace_id.hex() == TRACE_ID
        assert span.trace_state == tracestate
        assert span.end_time_unix_nano >= span.start_time_unix_nano
        assert attributes_of(span.attributes)["http.request.method"] in {"GET", "POST", "_OTHER", exchange.method}
