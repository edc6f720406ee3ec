"""What is measured, how it is written, and what this gateway must reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tests.benchmarks.peers.running import GATEWAY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.benchmarks.measure import Measured

ENVOY, MITMPROXY = "envoy", "mitmproxy"


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
    at_least: bool = False
    rules_from: int = 1
    rules_to: int = 1_000_000

    def reached(self, proxies: Mapping[str, Measured]) -> tuple[float, bool] | None:
        """Return the value and whether it is good enough; none if it was not measured."""
        if GATEWAY not in proxies or (self.against is not None and self.against not in proxies):
            return None
        gateway = proxies[GATEWAY]
        value = gateway.against(proxies[self.against], self.key) if self.against else gateway.median(self.key)
        if value is None:
            return None
        return value, value >= self.limit if self.at_least else value <= self.limit

    def text(self, value: float, *, reached: bool) -> str:
        unit = f"x {self.against}" if self.against else ""
        bound = f"{'>=' if self.at_least else '<='} {self.limit:g}"
        return f"{self.label:34} {value:8.3g}{unit:12} target {bound:8} {'reached' if reached else 'MISSED'}"


TARGETS = (
    Target("CPU per request", "cpu_us", 1.5, rules_to=999),
    Target("CPU per request, >= 1,000 rules", "cpu_us", 0.6, rules_from=1000),
    Target("CPU per request", "cpu_us", 0.067, against=MITMPROXY),
    Target("p99 added at the fixed rate", "p99_added_ms", 1.5),
    Target("MB/s down", "down_mb_s", 0.7, at_least=True),
    Target("MB/s up", "up_mb_s", 0.7, at_least=True),
    Target("RSS growth MiB, down", "down_rss_growth_mib", 8.0, against=None),
    Target("RSS growth MiB, up", "up_rss_growth_mib", 8.0, against=None),
    Target("RSS KiB per idle mTLS connection", "rss_idle_connection_kib", 60.0, against=None),
    Target("start to first answer, ms", "start_ms", 1000.0, against=None),
)


def targets(rules: int) -> list[Target]:
    """Return what applies to a run with that many rules."""
    return [target for target in TARGETS if target.rules_from <= rules <= target.rules_to]
