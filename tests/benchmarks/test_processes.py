"""What the benchmark reads from /proc."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from tests.benchmarks.processes import (
    SPARE_FILES,
    TICKS,
    cpu_seconds,
    most_connections,
    parse_cpu_seconds,
    parse_rss_bytes,
    raise_open_files,
    rss_bytes,
    started_at,
    stop,
    tree,
)

SLEEPING_CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"


def test_user_and_system_time_are_found_behind_a_command_with_parentheses() -> None:
    stat = f"7 (a) b (c)) S 1 7 7 0 -1 4194304 9 0 0 0 {3 * TICKS} {2 * TICKS} 8 8 20 0 1 0 5 6"

    assert parse_cpu_seconds(stat) == 5.0


def test_resident_memory_is_zero_for_a_process_that_is_ending() -> None:
    assert parse_rss_bytes("Name:\tx\nVmRSS:\t    2048 kB\n") == 2048 * 1024
    assert parse_rss_bytes("Name:\tx\nState:\tZ\n") == 0


def test_a_process_is_counted_with_its_descendants_and_ended_with_them() -> None:
    process = subprocess.Popen([sys.executable, "-c", SLEEPING_CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        while len(family := tree(process.pid)) < 2:
            assert process.poll() is None
    finally:
        stop(process)
        process.communicate()

    assert family[0] == process.pid
    assert not any(map(started_at, family))


def test_the_processor_time_of_this_process_grows() -> None:
    before = cpu_seconds([os.getpid()])
    sum(range(200_000))

    assert cpu_seconds([os.getpid()]) > before
    assert rss_bytes([os.getpid()]) > 1024**2


@pytest.mark.parametrize(("limits", "expected"), [((100, 90_000), 5000 + SPARE_FILES), ((8000, 90_000), None)])
def test_the_limit_of_open_files_is_raised_where_it_is_too_low(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], expected: int | None
) -> None:
    seen: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda what, pair: seen.append((what, pair)))

    raise_open_files(5000)

    assert seen == ([] if expected is None else [(resource.RLIMIT_NOFILE, (expected, limits[1]))])


@pytest.mark.parametrize("hard", [600, resource.RLIM_INFINITY])
def test_connections_are_limited_by_files_and_by_ports(monkeypatch: pytest.MonkeyPatch, hard: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, hard))

    assert most_connections() == 600 - SPARE_FILES if hard == 600 else most_connections() > 1000
