"""One run: everything started, measured in interleaved rounds, ended."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from tests.benchmarks.jobs import STREAM_BYTES, Jobs, Target
from tests.benchmarks.machine import Cores
from tests.benchmarks.options import ROOT
from tests.benchmarks.peers import variants
from tests.benchmarks.peers.base import PeerUnavailableError, Work
from tests.benchmarks.peers.running import GATEWAY, Running, free_port
from tests.benchmarks.pki import HOST, Pki
from tests.benchmarks.processes import clean_environment, pinned, rss_bytes
from tests.benchmarks.traces import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.benchmarks.load import Result
    from tests.benchmarks.options import Options

MIB, MB = 1024**2, 1_000_000
DIRECT = "direct"
"""The load generator on the origin itself: what of a latency is not the proxy's."""


@dataclass(slots=True)
class Measured:
    """What one proxy showed: every figure in every round."""

    version: str = ""
    notes: tuple[str, ...] = ()
    figures: dict[str, list[float]] = field(default_factory=dict)

    def add(self, **figures: float) -> None:
        for name, value in figures.items():
            self.figures.setdefault(name, []).append(value)

    def median(self, figure: str) -> float | None:
        values = self.figures.get(figure)
        return median(values) if values else None

    def against(self, other: Measured, figure: str) -> float | None:
        """Return the median of the rounds' ratios: what disturbs a machine disturbs both of one round."""
        mine, theirs = self.figures.get(figure, []), other.figures.get(figure, [])
        if not mine or not theirs or min(theirs) <= 0:
            return None
        if len(mine) != len(theirs):
            return median(mine) / median(theirs)
        return median(own / base for own, base in zip(mine, theirs, strict=True))

    def added(self, other: Measured, figure: str) -> float | None:
        """Return the median of the rounds' differences."""
        mine, theirs = self.figures.get(figure, []), other.figures.get(figure, [])
        if not mine or not theirs:
            return None
        if len(mine) != len(theirs):
            return median(mine) - median(theirs)
        return median(own - base for own, base in zip(mine, theirs, strict=True))


@dataclass(slots=True)
class Outcome:
    """What a run showed."""

    pinning: str
    proxies: dict[str, Measured] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


class Run:
    """Measures."""

    def __init__(self, options: Options, directory: Path) -> None:
        self.options = options
        self.directory = directory
        self.cores = Cores.split(options.workers)
        self.pki = Pki.create(directory)
        self.jobs = Jobs(options, self.pki, self.cores.rest)
        self.outcome = Outcome(str(self.cores))
        self.collector: Collector | None = None

    def run(self) -> Outcome:
        """Measure everything."""
        with ExitStack() as stack:
            pair = self.pki.origin
            self.origin_port = stack.enter_context(self._helper("origin", str(pair.certificate), str(pair.key), HOST))
            if self.options.otel != "off":
                self.collector = Collector(stack.enter_context(self._helper("collector")))
            running = self._start(stack)
            if GATEWAY in self.outcome.left_out:
                return self.outcome
            for proxy in running:
                self._memory(proxy)
            for number in range(self.options.rounds):
                print(f"round {number + 1} of {self.options.rounds}", flush=True)
                turn = number % len(running)
                order = running[turn:] + running[:turn]
                self._latency_of_origin()
                for part in (self._requests, self._latency, self._streams):
                    for proxy in order:
                        part(proxy)
            for proxy in running:
                self._end(proxy)
        return self.outcome

    def _end(self, proxy: Running) -> None:
        """End a proxy, and check what it wrote and sent about its requests."""
        options, name = proxy.work.options, proxy.work.directory.name
        traced = self.collector if proxy.work.collector else None
        if traced:
            traced.wait(name, proxy.work.log, options.otel)
        if fault := proxy.stop():
            self._error(proxy.name, f"access log: {fault}")
        if traced and (fault := traced.fault(name, proxy.work.log, options.otel)):
            self._error(proxy.name, fault)

    @contextmanager
    def _helper(self, module: str, *arguments: str) -> Iterator[int]:
        """Run a process that is no proxy, on the other cores; it prints its port, and ends with its input."""
        with pinned(self.cores.rest), (self.directory / f"{module}.err").open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", f"tests.benchmarks.{module}", *arguments],
                cwd=ROOT,
                env={**clean_environment(), "OPENSSL_CONF": str(self.pki.tls_config)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()
            process.communicate()

    def _start(self, stack: ExitStack) -> list[Running]:
        """Start the proxies as often as there are rounds, and keep those of the last."""
        same, started = variants.compared(self.options), variants.started(self.options)
        configured = {GATEWAY: self.options, **same, **started, **dict.fromkeys(self.options.peers, self.options)}
        kept: dict[str, Running] = {}
        for number in range(self.options.rounds):
            for name, options in configured.items():
                if name in self.outcome.left_out or GATEWAY in self.outcome.left_out:
                    continue
                directory = self.directory / f"{name}-{number}"
                directory.mkdir()
                work = self._work(name, options, directory)
                try:
                    proxy = Running.start(name, work, self.cores.proxy)
                except PeerUnavailableError as error:
                    self._leave_out(name, str(error))
                    continue
                stack.callback(proxy.kill)
                notes = (*proxy.launch.notes, *self._notes(name))
                measured = self.outcome.proxies.setdefault(name, Measured(proxy.launch.version, notes))
                measured.add(start_ms=proxy.start_seconds * 1000, rss_start_mib=rss_bytes(proxy.pids()) / MIB)
                if number == self.options.rounds - 1 and name not in started:
                    kept[name] = proxy
                else:
                    proxy.kill()
        for name, proxy in list(kept.items()):
            try:
                proxy.check()
            except PeerUnavailableError as error:
                self._leave_out(name, str(error))
                kept.pop(name).kill()
        return list(kept.values())

    def _work(self, name: str, options: Options, directory: Path) -> Work:
        traced = self.collector is not None and options.otel != "off" and variants.is_gateway(name)
        collector = self.collector.url(directory.name) if self.collector and traced else None
        return Work(options, self.pki, self.origin_port, free_port(), directory, collector)

    def _notes(self, name: str) -> tuple[str, ...]:
        if self.collector is None or variants.is_gateway(name):
            return ()
        return ("makes no traces",)

    def _leave_out(self, name: str, reason: str) -> None:
        self.outcome.left_out[name] = reason
        self.outcome.proxies.pop(name, None)
        print(f"{name} is left out: {reason}", flush=True)
        if name == GATEWAY:
            self.outcome.errors.append(f"{name}: {reason}")

    def _memory(self, proxy: Running) -> None:
        """Measure idle connections first: afterwards there is memory that was freed and kept."""
        target = self._target(proxy)
        if not self._counted(proxy, self.jobs.warm(target)):
            return
        count = self.options.idle_connections
        result = self.jobs.idle(target, count)
        if self._counted(proxy, result):
            grown = result.rss_after_bytes - result.rss_before_bytes
            self._measured(proxy).add(rss_idle_connection_kib=grown / count / 1024)

    def _requests(self, proxy: Running) -> None:
        result = self.jobs.requests(self._target(proxy))
        if not self._counted(proxy, result):
            return
        self._measured(proxy).add(
            requests_s=result.requests / result.seconds,
            cpu_us=result.proxy_cpu_seconds / result.requests * 1e6,
            busy_percent=result.proxy_cpu_seconds / result.seconds * 100,
            rss_load_mib=result.rss_peak_bytes / MIB,
        )

    def _latency(self, proxy: Running) -> None:
        result = self.jobs.latency(self._target(proxy))
        if self._counted(proxy, result):
            assert result.p50_ms is not None
            assert result.p99_ms is not None
            self._measured(proxy).add(p50_ms=result.p50_ms, p99_ms=result.p99_ms)
            direct = self.outcome.proxies[DIRECT]
            if "p99_ms" in direct.figures:
                self._measured(proxy).add(p99_added_ms=result.p99_ms - direct.figures["p99_ms"][-1])

    def _latency_of_origin(self) -> None:
        direct = self.outcome.proxies.setdefault(DIRECT, Measured("load generator on the origin"))
        result = self.jobs.latency(Target(self.origin_port, direct=True))
        if result.error_count or result.p50_ms is None or result.p99_ms is None:
            self._error(DIRECT, *result.errors)
            return
        direct.add(p50_ms=result.p50_ms, p99_ms=result.p99_ms)

    def _streams(self, proxy: Running) -> None:
        for name, upload in (("down", False), ("up", True)):
            result = self.jobs.stream(self._target(proxy), upload=upload)
            if not self._counted(proxy, result):
                continue
            sent = result.requests * STREAM_BYTES if upload else result.received_bytes
            self._measured(proxy).add(
                **{
                    f"{name}_mb_s": sent / result.seconds / MB,
                    f"{name}_cpu_us_mb": result.proxy_cpu_seconds * 1e6 / (sent / MB),
                    f"{name}_rss_growth_mib": (result.rss_peak_bytes - result.rss_before_bytes) / MIB,
                }
            )

    def _target(self, proxy: Running) -> Target:
        return Target(proxy.work.port, tuple(proxy.pids()))

    def _measured(self, proxy: Running) -> Measured:
        return self.outcome.proxies[proxy.name]

    def _counted(self, proxy: Running, result: Result) -> bool:
        """Note a result's errors, and tell whether it is usable."""
        proxy.requests += result.requests
        if result.error_count:
            self._error(proxy.name, f"{result.error_count} wrong answers", *result.errors)
        elif not result.requests:
            self._error(proxy.name, "no answer in the whole window")
        return result.error_count == 0 and result.requests > 0

    def _error(self, name: str, *reasons: str) -> None:
        message = f"{name}: {'; '.join(reasons)}"
        self.outcome.errors.append(message)
        print(f"ERROR {message}", flush=True)
