from __future__ import annotations

import json
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pythonjsonlogger.json import JsonFormatter

from app.telemetry import access_log as access_log_module
from app.telemetry.access_log import AccessLog, AccessLogError, FileSink, NoSink, encode, open_sink
from config.snapshot import Snapshot
from middleware.context import TARGET, Connection, RequestContext
from middleware.errors import MethodNotAllowedError

if TYPE_CHECKING:
    from pathlib import Path

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
    "error",
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
    context = RequestContext(Snapshot("0" * 12, "ns/gateway"), Connection("2001:db8::7", 1, "::1", 2, "https"))
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


def test_a_file_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text("before\n")
    for line in (b"one\n", b"two\n"):
        sink = open_sink(str(path))
        sink.write(line)
        sink.close()

    assert path.read_text() == "before\none\ntwo\n"


def test_a_new_file_is_not_for_everybody_to_read(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    open_sink(str(path)).close()

    assert path.stat().st_mode & 0o007 == 0


def test_lines_are_written_without_waiting_for_the_end() -> None:
    read, write = os.pipe()
    sink = FileSink(write, owned=True)
    sink.write(b"one\n")
    assert os.read(read, 100) == b"one\n"  # waits for it
    sink.write(b"two\n")
    assert os.read(read, 100) == b"two\n"

    sink.close()
    assert os.read(read, 100) == b""
    os.close(read)
    assert sink.dropped == 0


def test_a_closed_pipe_stops_the_log_not_the_traffic() -> None:
    read, write = os.pipe()
    os.close(read)
    sink = FileSink(write, owned=True)

    sink.write(b"one\n")
    sink.write(b"two\n")
    sink.close()

    assert sink.dropped == 2


def test_while_the_reader_is_slow_lines_are_kept_up_to_a_number_and_counted_beyond(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(access_log_module, "MAX_WAITING_LINES", 2)
    monkeypatch.setattr(access_log_module, "BATCH_SECONDS", 0.5)
    read, write = os.pipe()
    sink = FileSink(write, owned=True)

    for _ in range(5):
        sink.write(b"line\n")
    sink.close()

    assert sink.dropped == 3
    assert os.read(read, 100) == b"line\nline\n"
    os.close(read)


def test_a_descriptor_that_is_not_ours_stays_open() -> None:
    read, write = os.pipe()
    FileSink(write, owned=False).close()

    os.write(write, b"still open")
    os.close(write)
    os.close(read)


@pytest.mark.parametrize("destination", ["stdout", "stderr"])
def test_the_standard_streams_can_be_written_to(destination: str, capfd: pytest.CaptureFixture[str]) -> None:
    sink = open_sink(destination)
    sink.write(b"a line\n")
    sink.close()

    assert getattr(capfd.readouterr(), destination.removeprefix("std")) == "a line\n"


@pytest.mark.parametrize("destination", ["stdout", "stderr"])
def test_a_stream_that_is_closed_is_an_error_that_names_the_setting(
    destination: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, destination, None)

    with pytest.raises(AccessLogError, match=f"EGRESS_ACCESS_LOG={destination} cannot be opened"):
        open_sink(destination)


def test_off_drops_every_line() -> None:
    sink = open_sink("off")
    sink.write(b"a line\n")
    sink.close()

    assert isinstance(sink, NoSink)


def test_a_file_that_cannot_be_opened_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(AccessLogError, match=r"EGRESS_ACCESS_LOG=.* cannot be opened: Is a directory"):
        open_sink(str(tmp_path))
