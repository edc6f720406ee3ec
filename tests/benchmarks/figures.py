"""What is measured, how it is written, and what this gateway must reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tests.benchmarks.peers import variants
from tests.benchmarks.peers.running import GATEWAY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.benchmarks.measure import Measured
    from tests.benchmarks.options import Options

ENVOY, MITMPROXY = "envoy", "mitmproxy"
START_MANIFESTS, START_MS = 600, 1000.0
"""A start with that many manifests or fewer may take that long."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table."""

    key: str
    label: str
    better: Literal["less", "more", ""] = "less"
    digits: int = 0
    compared: bool = True
    """Whether a ratio to Envoy says anything."""


FIGURES = (
    Figure("cpu_us", "CPU us/request"),
    Figure("requests_s", "requests/s", "more"),
    Figure("busy_percent", "proxy busy, %", "", compared=False),
    Figure("p50_ms", "p50 ms at {rate}/s", digits=3),
    Figure("p99_ms", "p99 ms at {rate}/s", digits=3),
    Figure("p99_added_ms", "p99 added by the proxy, ms", digits=3),
    Figure("down_mb_s", "MB/s down", "more"),
    Figure("down_cpu_us_mb", "CPU us/MB down"),
    Figure("up_mb_s", "MB/s up", "more"),
    Figure("up_cpu_us_mb", "CPU us/MB up"),
    Figure("rss_start_mib", "RSS MiB at start", digits=1),
    Figure("rss_load_mib", "RSS MiB under load", digits=1),
    Figure("down_rss_growth_mib", "RSS growth MiB, down", digits=1, compared=False),
    Figure("up_rss_growth_mib", "RSS growth MiB, up", digits=1, compared=False),
    Figure("rss_idle_connection_kib", "RSS KiB/idle connection", digits=1),
    Figure("start_ms", "start to first answer, ms"),
)


@dataclass(frozen=True, slots=True)
class Target:
    """A figure that this gateway must reach. Source: the table of targets in docs/performance.md."""

    label: str
    key: str
    limit: float
    against: str | None = ENVOY
    of: str = GATEWAY
    at_least: bool = False
    added: bool = False
    """Whether the difference counts, not the ratio."""
    rules_from: int = 1
    rules_to: int = 1_000_000
    hosts_to: int = 1_000_000
    recorded: bool = True
    """Whether it holds where every request is recorded as a trace, which peers do not do."""

    def applies(self, options: Options) -> bool:
        """Tell whether it is meant for the work of a run."""
        fits = self.rules_from <= options.rules <= self.rules_to and options.hosts <= self.hosts_to
        return fits and (self.recorded or options.otel != "on")

    def reached(self, proxies: Mapping[str, Measured]) -> tuple[float, bool] | None:
        """Return the value and whether it is good enough; none if it was not measured."""
        if self.of not in proxies or (self.against is not None and self.against not in proxies):
            return None
        value = self._value(proxies)
        if value is None:
            return None
        return value, value >= self.limit if self.at_least else value <= self.limit

    def _value(self, proxies: Mapping[str, Measured]) -> float | None:
        mine = proxies[self.of]
        if self.against is None:
            return mine.median(self.key)
        other = proxies[self.against]
        return mine.added(other, self.key) if self.added else mine.against(other, self.key)

    def text(self, value: float, *, reached: bool) -> str:
        unit = f"x {self.against}" if self.against and not self.added else ""
        bound = f"{'>=' if self.at_least else '<='} {_short(self.limit)}"
        missed = f"MISSED by {_short(abs(value - self.limit))} ({abs(value / self.limit - 1):.0%})"
        return f"{self.label:42} {_short(value):>8}{unit:24} target {bound:8} {'reached' if reached else missed}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


TARGETS = (
    Target("CPU per request", "cpu_us", 1.5, rules_to=999, recorded=False),
    Target("CPU per request, >= 1,000 rules", "cpu_us", 0.6, rules_from=1000, recorded=False),
    Target("CPU per request", "cpu_us", 0.067, against=MITMPROXY, recorded=False),
    Target("recorded spans, added CPU us per request", "cpu_us", 60.0, against=variants.NO_TRACES, added=True),
    Target("p99 added at the fixed rate", "p99_added_ms", 1.5, recorded=False),
    Target("MB/s down", "down_mb_s", 0.7, at_least=True),
    Target("MB/s up", "up_mb_s", 0.7, at_least=True),
    Target("RSS growth MiB, down", "down_rss_growth_mib", 8.0, against=None),
    Target("RSS growth MiB, up", "up_rss_growth_mib", 8.0, against=None),
    Target("RSS KiB per idle mTLS connection", "rss_idle_connection_kib", 60.0, against=None),
    Target("start to first answer, ms", "start_ms", START_MS, against=None, hosts_to=START_MANIFESTS // 3),
)


def targets(options: Options) -> list[Target]:
    """Return what applies to a run with these options."""
    own = []
    if options.scale:
        label = f"CPU, {options.hosts:,} hosts and {options.rules:,} rules"
        own.append(Target(label, "cpu_us", 1.1, against=variants.ONE))
    if 0 < options.manifests <= START_MANIFESTS:
        label = f"start to first answer, {options.manifests} manifests, ms"
        own.append(Target(label, "start_ms", START_MS, against=None, of=variants.MANIFESTS))
    return [target for target in (*TARGETS, *own) if target.applies(options)]
