"""What the benchmark reads from /proc."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.benchmarks.processes import (
    TICKS,
    cpu_seconds,
    parse_cpu_seconds,
    parse_rss_bytes,
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
