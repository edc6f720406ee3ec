"""Findings for a terminal: the place, the message, the line with a caret under the column, and what to do."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

import click

from app.cli.reports.report import printable
from config.errors import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.cli.reports.report import Report
    from config.errors import Finding
    from config.excerpts import SourceLine, SourceLines

MAX_LINE_CHARACTERS = 120
"""Of a source line; JSON may have all in one."""
_COLORS = {Severity.ERROR: "red", Severity.WARNING: "yellow"}


def text_lines(report: Report, sources: SourceLines, *, color: bool = False) -> Iterator[str]:
    """Yield the lines of a report."""
    for finding in report.findings:
        where = f"{finding.location}: " if finding.location else ""
        severity = _styled(f"{finding.severity}:", color, _COLORS[finding.severity])
        place = _styled(printable(where), color)
        yield f"{place}{severity} {printable(finding.message)} [{finding.code}]"
        yield from _excerpt(finding, sources, color=color)
        if finding.hint:
            yield f"    hint: {printable(finding.hint)}"
    color_of_end = "red" if report.errors else "green"
    yield _styled(report.summary, color, color_of_end)


def _excerpt(finding: Finding, sources: SourceLines, *, color: bool) -> Iterator[str]:
    """Yield the source line of a finding, and the expression's where it does not stand there as it is."""
    line = sources.at(finding.location) if finding.location else None
    if line is not None and finding.location is not None:
        number = str(finding.location.line)
        shown, caret = underlined(line)
        yield f"    {number} | {shown}"
        yield f"    {' ' * len(number)} | {_styled(caret, color, 'green')}"
    if finding.excerpt and (line is None or not _points_into(line, finding.excerpt)):
        for part in finding.excerpt.split("\n"):
            yield f"        {part}"


def _points_into(line: SourceLine, excerpt: str) -> bool:
    """Tell whether the caret below a source line stands at the word that the excerpt's caret stands at."""
    expression, _, caret = excerpt.partition("\n")
    wanted, found = expression[len(caret) - 1 :], line.text[line.column - 1 :]
    if not wanted:
        return found[:1] in {"", "'", '"'}  # the end of the expression
    return _word(wanted) == _word(found)


def _word(text: str) -> str:
    match = re.match(r"\w+|.", text)
    return match[0] if match else ""


def underlined(line: SourceLine) -> tuple[str, str]:
    """Return a line, cut to what is near the place, and the caret for below it."""
    start = max(0, line.column - MAX_LINE_CHARACTERS // 2) if len(line.text) > MAX_LINE_CHARACTERS else 0
    end = start + MAX_LINE_CHARACTERS
    before, after = ("... " if start else ""), (" ..." if len(line.text) > end else "")
    cells = "".join(character if character == "\t" else printable(character) for character in line.text[start:end])
    indent = "".join(map(_blank, cells[: line.column - 1 - start])).ljust(line.column - 1 - start)
    return f"{before}{cells}{after}", f"{' ' * len(before)}{indent}^"


def _blank(character: str) -> str:
    """Return white space as wide as a character."""
    if character == "\t":
        return "\t"
    return "  " if unicodedata.east_asian_width(character) in {"W", "F"} else " "


def _styled(text: str, color: bool, foreground: str | None = None) -> str:  # noqa: FBT001  of every call
    return click.style(text, fg=foreground, bold=True) if color and text else text
