"""Where lines of the access log go: written in batches by a thread of their own."""

from __future__ import annotations

import logging
import os
import select
import stat
import sys
import threading
import time
from collections import deque
from typing import Protocol

logger = logging.getLogger("egress")

BATCH_SECONDS = 0.05
"""How long lines are gathered before one write. A line is out within 0.2 s of the end of its response."""
FILE_WRITE_BYTES = 1 << 20
MAX_WAITING_LINES = 100_000
"""Lines kept while the log's reader is slow; beyond that they are counted and dropped."""


class AccessLogError(Exception):
    """The access log cannot be opened."""


class LineSink(Protocol):
    """Where finished lines go."""

    def write(self, line: bytes) -> None:
        """Take one line, its line end included."""

    def close(self) -> None:
        """Write out what is waiting."""


class NoSink:
    """`EGRESS_ACCESS_LOG=off`."""

    def write(self, line: bytes) -> None:
        """Drop the line."""

    def close(self) -> None:
        """Nothing waits."""


class FileSink:
    """Writes lines to a file descriptor from a thread, so that a slow or full log never holds up a request."""

    def __init__(self, fd: int, *, owned: bool) -> None:
        self._fd = fd
        self._owned = owned
        self._lines: deque[bytes] = deque()  # its two ends are safe to use from two threads
        # Several workers may share a pipe: a write of more than this could be mixed with another's.
        self._atomic_bytes = select.PIPE_BUF if stat.S_ISFIFO(os.fstat(fd).st_mode) else FILE_WRITE_BYTES
        self._news = threading.Event()
        self._closing = self._failing = False
        self.dropped = 0
        """Lines that were lost because the log could not be written."""
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Take one line. Never blocks."""
        if len(self._lines) >= MAX_WAITING_LINES:
            self.dropped += 1
            return
        self._lines.append(line)
        if not self._news.is_set():
            self._news.set()

    def close(self) -> None:
        """Write out what is waiting, within two seconds."""
        self._closing = True
        self._news.set()
        self._thread.join(timeout=2.0)
        if self.dropped:
            logger.error("%d lines of the access log were lost", self.dropped)
        if self._owned and not self._thread.is_alive():
            os.close(self._fd)

    def _run(self) -> None:
        while not self._closing:
            self._news.wait()
            self._news.clear()
            if not self._closing:
                time.sleep(BATCH_SECONDS)
            self._write_waiting()
        self._write_waiting()

    def _write_waiting(self) -> None:
        """Write whole lines, as many at once as stay together."""
        take = self._lines.popleft
        while waiting := len(self._lines):
            lines = [take() for _ in range(waiting)]
            first = batch_bytes = 0
            for number, length in enumerate(map(len, lines)):
                if batch_bytes and batch_bytes + length > self._atomic_bytes:
                    self._write(lines[first:number])
                    first, batch_bytes = number, 0
                batch_bytes += length
            self._write(lines[first:])

    def _write(self, lines: list[bytes]) -> None:
        data = memoryview(b"".join(lines))
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            # A closed pipe or a full disk stops the log, not the traffic.
            self.dropped += len(lines)
            if not self._failing:
                self._failing = True
                logger.warning("the access log cannot be written: %s; its lines are lost until it can", error.strerror)
        else:
            if self._failing:
                self._failing = False
                logger.warning("the access log is written again; %d lines were lost so far", self.dropped)


def open_sink(destination: str) -> LineSink:
    """Open the destination that `EGRESS_ACCESS_LOG` names: `stdout`, `stderr`, `off` or a file, which is appended to.

    Raises:
        AccessLogError: the file cannot be opened.

    """
    match destination:
        case "off":
            return NoSink()
        case "stdout" | "stderr":
            try:
                fd = getattr(sys, destination).fileno()
            except (AttributeError, OSError) as error:  # there is none when the process was started with it closed
                raise AccessLogError(f"EGRESS_ACCESS_LOG={destination} cannot be opened: it is closed") from error
            return FileSink(fd, owned=False)
        case _:
            try:
                fd = os.open(destination, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
            except OSError as error:
                raise AccessLogError(f"EGRESS_ACCESS_LOG={destination} cannot be opened: {error.strerror}") from error
            return FileSink(fd, owned=True)
