from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from pythonjsonlogger.json import JsonFormatter

from app.telemetry.access_log import AccessLog, encode
from config.snapshot import Snapshot
from middleware.context import TARGET, Connection, RequestContext
from middleware.errors import MethodNotAllowedError

if TYPE_CHECKING:
    from tests.support.gateway import RunningGateway

FIELDS = [
    "time",
    "level",
    "request_id",
    "decision_id",
    "gateway",
    "route",
    "backend",
    "endpoint",
    "src.addr",
    "src.identity",
    "http.method",
    "http.host",
    "http.path",
    "http.version",
    "http.status",
    "bytes_in",
    "bytes_out",
    "duration_ms",
    "upstream_ms",
    "decision",
    "reason",
    "rule",
    "shadow",
    "retry.attempt",
    "error",
    "trace_id",
    "span_id",
]


class Lines:
    """A sink that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        self.lines.append(line)

    def close(self) -> None:
        pass


def formatted(fields: dict[str, Any]) -> bytes:
    """Return what python-json-logger writes for a record with these fields."""
    record = logging.makeLogRecord({"msg": ""})
    record.__dict__.update(fields)
    formatter = JsonFormatter([], reserved_attrs=[*logging.makeLogRecord({}).__dict__, "message", "taskName"])
    return formatter.format(record).encode() + b"\n"


def record(target: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> dict[str, Any]:
    """Return the line of a request that was refused before its target was judged."""
    sink = Lines()
    scope = {"method": "GET", "http_version": "1.1", "headers": headers or [], "state": {TARGET: target}}
    context = RequestContext(Snapshot("0" * 12, "ns/gateway"), Connection("2001:db8::7", 1, "::1", 2, "https"), {})
    AccessLog(sink).record(scope, context)
    return dict(json.loads(sink.lines[0]))


def test_the_line_of_a_request_is_byte_for_byte_what_python_json_logger_writes(plain: RunningGateway) -> None:
    answer = plain.client.get("https://denied.test/caf%C3%A9")
    fields = plain.line(answer.headers["x-egress-decision-id"])

    (line,) = [
        line for line in plain.log.read_bytes().splitlines(keepends=True) if fields["decision_id"].encode() in line
    ]
    assert formatted(fields) == line
    assert list(fields) == FIELDS


@given(
    st.dictionaries(
        st.sampled_from(FIELDS),
        st.none() | st.text() | st.integers() | st.booleans() | st.floats(0, 1e9) | st.just('"\n\u2028'),
    )
)
def test_whatever_the_fields_hold_the_bytes_are_python_json_loggers(fields: dict[str, Any]) -> None:
    assert encode(fields) == formatted(fields)
    assert encode(fields).count(b"\n") == 1


def test_no_query_header_value_or_userinfo_is_in_a_line(plain: RunningGateway) -> None:
    headers = {"authorization": "Bearer hunter2", "cookie": "hunter2", "referer": "hunter2", "x-request-id": "logged-1"}
    assert plain.client.get("https://origin.test/a?token=hunter2", headers=headers).status_code == 200
    plain.line("logged-1")
    for target in (
        b"/a/../b?token=hunter2",
        b"/a#hunter2",
        b"http://user:hunter2@origin.test/a",
        b"http://user:hunter2@origin.test",
        b"user:hunter2@origin.test",
    ):
        plain.caller.state[TARGET] = target
        answer = plain.client.get("https://origin.test/", headers=headers)
        assert answer.status_code == 400
        plain.line(answer.headers["x-egress-decision-id"])

    assert "hunter2" not in plain.log.read_text()


def test_the_path_of_a_refused_target_is_logged_as_it_came_and_bounded() -> None:
    assert record(b"/a/../b?c")["http.path"] == "/a/../b"
    assert record(b"http://origin.test/a/../b")["http.path"] == "/a/../b"
    assert record(b"/\xff\n")["http.path"] == "/\xff\n"
    assert record(b"origin.test:443")["http.path"] == "origin.test:443"  # CONNECT's
    assert record(b"user:secret@origin.test:443?a")["http.path"] == "origin.test:443"
    assert len(record(b"/" + b"a" * 10_000)["http.path"]) == 512


def test_an_ipv6_caller_stands_in_brackets() -> None:
    assert record(b"/")["src.addr"] == "[2001:db8::7]:1"


def test_a_request_that_the_parser_refused_has_a_line_with_its_decision_id() -> None:
    sink = Lines()
    connection = Connection("192.0.2.7", 1, "127.0.0.1", 2, "https")

    decision_id = AccessLog(sink).record_refused(connection, MethodNotAllowedError("CONNECT"), "ns/gateway")

    line = json.loads(sink.lines[0])
    assert line["decision_id"] == decision_id
    assert (line["http.status"], line["reason"], line["decision"]) == (405, "method_not_allowed", "deny")
    assert (line["gateway"], line["src.addr"], line["error"]) == ("ns/gateway", "192.0.2.7:1", "CONNECT")
    assert encode(line) == formatted(line)


# sinks
