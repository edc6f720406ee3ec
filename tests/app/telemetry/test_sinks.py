from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

import pytest

from app.telemetry import sinks
from app.telemetry.sinks import AccessLogError, FileSink, NoSink, open_sink

if TYPE_CHECKING:
    from pathlib import Path


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


def test_a_closed_pipe_stops_the_log_not_the_traffic_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    read, write = os.pipe()
    os.close(read)
    sink = FileSink(write, owned=True)

    with caplog.at_level(logging.WARNING, "egress"):
        sink.write(b"one\n")
        sink.write(b"two\n")
        sink.close()

    assert sink.dropped == 2
    first, last = (record.getMessage() for record in caplog.records)
    assert first == "the access log cannot be written: Broken pipe; its lines are lost until it can"
    assert last == "2 lines of the access log were lost"


def test_a_log_that_can_be_written_again_says_so(caplog: pytest.LogCaptureFixture) -> None:
    read, write = os.pipe()
    sink = FileSink(write, owned=True)
    sink._fd = -1
    with caplog.at_level(logging.WARNING, "egress"):
        sink._write([b"lost\n", b"lost\n"])
        sink._fd = write
        sink._write([b"kept\n"])
    sink.close()
    os.close(read)

    assert [record.getMessage() for record in caplog.records][1] == (
        "the access log is written again; 2 lines were lost so far"
    )


def test_while_the_reader_is_slow_lines_are_kept_up_to_a_number_and_counted_beyond(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sinks, "MAX_WAITING_LINES", 2)
    monkeypatch.setattr(sinks, "BATCH_SECONDS", 0.5)
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
