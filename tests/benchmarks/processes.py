"""Processes and what they use, from /proc."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

FOREIGN = ("EGRESS_", "UVICORN_", "OTEL_", "SSL_CERT_", "OPENSSL_CONF", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS")
"""Settings of whoever runs the benchmark, which are none of its own."""
SPARE_FILES = 512
"""What a process has open besides the connections that are counted."""
STOP_SECONDS = 5.0
TICKS = os.sysconf("SC_CLK_TCK")


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}


def most_connections() -> int:
    """Return how many connections to one port one process may have, and the proxy behind it."""
    files, ports = resource.getrlimit(resource.RLIMIT_NOFILE)[1], 28_000
    with suppress(OSError, ValueError):
        first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
        ports = last - first + 1
    return ports if files == resource.RLIM_INFINITY else min(files - SPARE_FILES, ports)


def raise_open_files(connections: int) -> None:
    """Let this process and those that it starts have that many connections, if they may not already."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextmanager
def pinned(cores: frozenset[int] | None) -> Iterator[None]:
    """Let processes that are started meanwhile run on these cores only."""
    if cores is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def start(  # noqa: PLR0913  what a process is made of
    command: Sequence[str],
    directory: Path,
    *,
    name: str = "std",
    environment: Mapping[str, str] | None = None,
    working_directory: Path | None = None,
    cores: frozenset[int] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process with its output in two files."""
    with (
        pinned(cores),
        (directory / f"{name}out").open("wb") as stdout,
        (directory / f"{name}err").open("wb") as stderr,
    ):
        return subprocess.Popen(
            command,
            cwd=working_directory or directory,
            env={**clean_environment(), **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and its descendants, whatever state they are in."""
    if process.poll() is not None:
        return  # its number may be another's by now
    family = {pid: started_at(pid) for pid in tree(process.pid) if pid != process.pid}
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    process.kill()
    process.wait()
    deadline = time.monotonic() + STOP_SECONDS
    # A number alone may have been given to another process meanwhile.
    while left := [pid for pid, started in family.items() if started and started_at(pid) == started]:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return
        time.sleep(0.01)


def started_at(pid: int) -> str:
    """Return when a process started, in ticks since the machine did; empty if it has ended."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    return ""


def tree(pid: int) -> list[int]:
    """Return a process and its descendants."""
    found = [pid]
    for parent in found:  # it grows meanwhile
        with suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                with suppress(OSError):
                    found += map(int, (task / "children").read_text().split())
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the processor time of processes, all their threads included, in nanosecond steps where Linux tells."""
    total = 0.0
    for pid in pids:
        try:
            total += time.clock_gettime((~pid << 3) | 2)  # the clock that clock_getcpuclockid(3) names
        except OSError:
            with suppress(OSError):
                total += parse_cpu_seconds(Path(f"/proc/{pid}/stat").read_text())
    return total


def parse_cpu_seconds(stat: str) -> float:
    """Return user and system time of /proc/PID/stat; the command in it may hold spaces and parentheses."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_bytes(pids: Iterable[int]) -> int:
    """Return the resident memory of processes."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            total += parse_rss_bytes(Path(f"/proc/{pid}/status").read_text())
    return total


def parse_rss_bytes(status: str) -> int:
    """Return VmRSS of /proc/PID/status; a process that is ending has none."""
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0
