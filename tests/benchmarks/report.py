"""What a run showed, as a table and as files."""

from __future__ import annotations

import json
from dataclasses import asdict
from statistics import median
from typing import TYPE_CHECKING

from tests.benchmarks.chart import draw
from tests.benchmarks.figures import ENVOY, FIGURES, Figure, targets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tests.benchmarks.machine import Machine
    from tests.benchmarks.measure import Measured, Outcome
    from tests.benchmarks.options import Options

LABEL_WIDTH = 28
COLUMN_WIDTH = 16
"""At least: a name may be longer."""


def table(outcome: Outcome, options: Options) -> str:
    """Return the raw figures, the ratios to Envoy and the targets: medians over the rounds."""
    proxies = outcome.proxies
    lines = ["", _row("medians", proxies, list(proxies))]
    lines += _rows(FIGURES, options, proxies, lambda figure, measured: _raw(figure, measured.median(figure.key)))
    lines.append(_row("CPU us/request, range", proxies, [_range(measured) for measured in proxies.values()]))
    if (envoy := proxies.get(ENVOY)) is not None:
        lines += ["", _row("against envoy", proxies, list(proxies))]
        compared = tuple(figure for figure in FIGURES if figure.compared)
        lines += _rows(compared, options, proxies, lambda figure, measured: _ratio(figure, measured, envoy))
    lines.append("")
    for target in targets(options):
        if (found := target.reached(proxies)) is not None:
            lines.append(target.text(found[0], reached=found[1]))
    lines.append("")
    for name, measured in proxies.items():
        lines.append(f"{name} {measured.version}")
        lines += [f"  {note}" for note in measured.notes]
    lines += [f"{name} was left out: {reason}" for name, reason in outcome.left_out.items()]
    lines += [f"ERROR {error}" for error in outcome.errors]
    return "\n".join(lines)


def _rows(
    figures: tuple[Figure, ...],
    options: Options,
    proxies: dict[str, Measured],
    cell: Callable[[Figure, Measured], str],
) -> list[str]:
    rows = []
    for figure in figures:
        cells = [cell(figure, measured) for measured in proxies.values()]
        rows.append(_row(figure.label.format(rate=options.rate), proxies, cells))
    return rows


def _row(label: str, proxies: Iterable[str], cells: Iterable[str]) -> str:
    """Return a line with a cell under the name of each proxy."""
    widths = [max(COLUMN_WIDTH, len(name) + 2) for name in proxies]
    return label.ljust(LABEL_WIDTH) + "".join(map(str.rjust, cells, widths))


def _raw(figure: Figure, value: float | None) -> str:
    return "-" if value is None else f"{value:,.{figure.digits}f}"


def _range(measured: Measured) -> str:
    """Return how far the rounds lie apart: a wide range says that the machine was busy."""
    values = measured.figures.get("cpu_us")
    return f"{min(values):.0f}-{max(values):.0f}" if values else "-"


def _ratio(figure: Figure, measured: Measured, envoy: Measured) -> str:
    value = measured.against(envoy, figure.key)
    return "-" if value is None else f"{value:.2f}x"


def write(outcome: Outcome, options: Options, machine: Machine) -> list[Path]:
    """Write the JSON and the picture under a new name and as `latest`; return what was written."""
    document = {
        "machine": machine.as_json() | {"pinning": outcome.pinning},
        "options": options.as_json(),
        "medians": {
            name: {key: round(median(values), 4) for key, values in measured.figures.items()}
            for name, measured in outcome.proxies.items()
        },
        "targets": [
            {"label": target.label, "of": target.of, "against": target.against, "added": target.added}
            | {"limit": target.limit, "at_least": target.at_least, "value": round(found[0], 4), "reached": found[1]}
            for target in targets(options)
            if (found := target.reached(outcome.proxies)) is not None
        ],
        "proxies": {name: asdict(measured) for name, measured in outcome.proxies.items()},
        "left_out": outcome.left_out,
        "errors": outcome.errors,
    }
    texts = {".json": json.dumps(document, indent=1) + "\n", ".svg": draw(outcome, options, machine)}
    options.output.mkdir(parents=True, exist_ok=True)
    stem = _free_stem(options.output, f"{machine.date[:10]}-{options.slug()}")
    written = []
    for name in (stem, "latest"):
        for ending, text in texts.items():
            file = options.output / f"{name}{ending}"
            file.write_text(text)
            written.append(file)
    return written


def _free_stem(directory: Path, stem: str) -> str:
    """Return a file name that is not taken."""
    number, name = 1, stem
    while (directory / f"{name}.json").exists() or (directory / f"{name}.svg").exists():
        number += 1
        name = f"{stem}-{number}"
    return name
