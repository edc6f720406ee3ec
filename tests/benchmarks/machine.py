"""Where a run took place."""

from __future__ import annotations

import os
import platform
import re
import ssl
import subprocess
import sys
import sysconfig
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks.options import ROOT


@dataclass(frozen=True, slots=True)
class Build:
    """How the interpreter was built, and the parts in C beside it: the same code takes up to a third less time."""

    implementation: str
    pgo: bool
    """Profile-guided optimization: `--enable-optimizations`."""
    lto: bool
    """Link-time optimization: `--with-lto`."""
    debug: bool
    free_threaded: bool
    traced: bool
    """Whether a debugger or coverage slows down every line of this process."""
    uvloop: str
    httptools: str

    @classmethod
    def here(cls) -> Build:
        options = (sysconfig.get_config_var("CONFIG_ARGS") or "").replace("'", " ").split()
        return cls(
            implementation=platform.python_implementation(),
            pgo="--enable-optimizations" in options,
            lto=any(option.startswith("--with-lto") and option != "--with-lto=no" for option in options),
            debug=bool(sysconfig.get_config_var("Py_DEBUG")),
            free_threaded=bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
            traced=sys.gettrace() is not None,
            uvloop=version("uvloop"),
            httptools=version("httptools"),
        )

    def __str__(self) -> str:
        declared = (("PGO", self.pgo), ("LTO", self.lto))  # Debian builds with both, and does not say so
        built = [f"{name} {'yes' if value else 'not declared'}" for name, value in declared]
        odd = {"debug build": self.debug, "free-threaded": self.free_threaded, "TRACED": self.traced}
        parts = [self.implementation, *built, *(name for name, holds in odd.items() if holds)]
        return ", ".join([*parts, f"uvloop {self.uvloop}", f"httptools {self.httptools}"])


@dataclass(frozen=True, slots=True)
class Machine:
    """What figures depend on."""

    date: str
    commit: str
    """Abbreviated, with `+` if files differ from it."""
    processor: str
    cores: int
    memory_mib: int
    system: str
    python: str
    openssl: str
    load_average: float
    """Of the minute before the run."""
    build: Build

    @classmethod
    def here(cls) -> Machine:
        memory = re.search(r"MemTotal: *(\d+)", _read("/proc/meminfo"))
        processor = re.search(r"model name\s*: (.+)", _read("/proc/cpuinfo"))
        return cls(
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            commit=_commit(),
            processor=processor[1].strip() if processor else platform.processor(),
            cores=len(usable_cores()),
            memory_mib=int(memory[1]) // 1024 if memory else 0,
            system=f"{platform.system()} {platform.release()}",
            python=platform.python_version(),
            openssl=ssl.OPENSSL_VERSION,
            load_average=round(os.getloadavg()[0], 2),
            build=Build.here(),
        )

    def as_json(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Cores:
    """Which cores the proxies and the rest may use; none where nothing is pinned."""

    proxy: frozenset[int] | None
    rest: frozenset[int] | None

    @classmethod
    def split(cls, workers: int) -> Cores:
        """Give a single-process proxy one core and the load generator and the origin the others."""
        cores = sorted(usable_cores())
        if workers > 1 or len(cores) < 2 or not hasattr(os, "sched_setaffinity"):
            return cls(None, None)
        return cls(frozenset(cores[:1]), frozenset(cores[1:]))

    def __str__(self) -> str:
        if self.proxy is None or self.rest is None:
            return "not pinned"
        return f"proxy on core {min(self.proxy)}, load and origin on {','.join(map(str, sorted(self.rest)))}"


def usable_cores() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _read(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text()
    return ""


def _commit() -> str:
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        return commit + ("+" if _git("status", "--porcelain", "--", "app", "config", "middleware") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10.0).stdout.strip()
