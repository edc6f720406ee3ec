"""A bar chart as SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from tests.benchmarks.figures import ENVOY, FIGURES
from tests.benchmarks.peers.running import GATEWAY
from tests.benchmarks.peers.variants import is_gateway

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.benchmarks.figures import Figure
    from tests.benchmarks.machine import Machine
    from tests.benchmarks.measure import Outcome
    from tests.benchmarks.options import Options

SHOWN = (
    "cpu_us",
    "requests_s",
    "p99_ms",
    "start_ms",
    "down_mb_s",
    "up_mb_s",
    "rss_load_mib",
    "rss_idle_connection_kib",
)
COLOURS = {GATEWAY: "#2563eb", ENVOY: "#b4489a"}
VARIANT = "#7ba2f0"
NAMESPACE = "http://www.w3.org/2000/svg"
OTHERS = "#8a94a6"
TEXT = "#6b7280"
"""Readable on a light and on a dark page."""
COLUMNS, PANEL_WIDTH, NAME_WIDTH, BAR_WIDTH, BAR_HEIGHT = 2, 480, 140, 240, 18
MAX_TIMES = 4.0
"""A bar more than this many times as long as this gateway's and Envoy's is cut, with a gap in it."""


def draw(outcome: Outcome, options: Options, machine: Machine) -> str:
    """Return the picture of a run."""
    panels = []
    for figure in (figure for key in SHOWN for figure in FIGURES if figure.key == key):
        medians = [(name, measured.median(figure.key)) for name, measured in outcome.proxies.items()]
        panels.append((figure, [(name, value) for name, value in medians if value is not None]))
    height_of_panel = max(len(values) for _, values in panels) * (BAR_HEIGHT + 4) + 44
    rows = -(-len(panels) // COLUMNS)
    width, height = COLUMNS * PANEL_WIDTH + 20, rows * height_of_panel + 70
    parts = [
        f'<svg xmlns="{NAMESPACE}" viewBox="0 0 {width} {height}" font-family="sans-serif" fill="{TEXT}">',
        _text(14, 24, "mTLS in, policy, JSON access log, TLS out: medians of one run", size=16),
        _text(14, 42, _subtitle(options, machine)),
    ]
    for number, (figure, values) in enumerate(panels):
        left, top = number % COLUMNS * PANEL_WIDTH + 14, number // COLUMNS * height_of_panel + 76
        parts += _panel(figure, values, options, left, top)
    return "\n".join([*parts, "</svg>", ""])


def _subtitle(options: Options, machine: Machine) -> str:
    work = (
        f"{options.rules} rules, {options.hosts} hosts, {options.body_bytes} byte {'up' if options.upload else 'down'}"
    )
    return (
        f"{machine.date[:10]}, commit {machine.commit}, {machine.processor}, {machine.cores} cores; "
        f"{work}, {options.connections} connections, {options.workers} workers, traces {options.otel}"
    )


def _panel(figure: Figure, values: Sequence[tuple[str, float]], options: Options, left: int, top: int) -> list[str]:
    hint = {"less": " (less is better)", "more": " (more is better)", "": ""}[figure.better]
    parts = [_text(left, top, figure.label.format(rate=options.rate) + hint, size=13)]
    scale = full_scale(values)
    for number, (name, value) in enumerate(values):
        y = top + 10 + number * (BAR_HEIGHT + 4)
        length = max(1.0, min(value, scale) / scale * BAR_WIDTH) if scale > 0 else 1.0
        colour, x = COLOURS.get(name, VARIANT if is_gateway(name) else OTHERS), left + NAME_WIDTH
        parts.append(_text(x - 8, y + 13, name, anchor="end"))
        if value > scale:
            parts.append(_bar(x, y, length * 0.8, colour))
            parts.append(_bar(x + length * 0.83, y, length * 0.17, colour))
        else:
            parts.append(_bar(x, y, length, colour))
        parts.append(_text(x + length + 6, y + 13, f"{value:,.{figure.digits}f}"))
    return parts


def full_scale(values: Sequence[tuple[str, float]]) -> float:
    """Return the value whose bar is as long as bars get."""
    largest = max((value for _, value in values), default=0.0)
    main = max((value for name, value in values if name in COLOURS), default=largest)
    return min(largest, main * MAX_TIMES) if main > 0 else largest


def _bar(x: float, y: float, length: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{length:.1f}" height="{BAR_HEIGHT}" rx="2" fill="{colour}"/>'


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">{escape(text)}</text>'
