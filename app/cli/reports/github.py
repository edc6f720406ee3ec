"""Findings as workflow commands of GitHub Actions, which shows each at its line of a pull request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.cli.reports.report import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.cli.reports.report import Report
    from config.errors import Finding


def github_lines(report: Report) -> Iterator[str]:
    """Yield one command for each finding, and the summary as a line of the log."""
    yield from map(_command, report.findings)
    yield report.summary


def _command(finding: Finding) -> str:
    place = finding.location
    properties = {"title": finding.code}
    if place is not None:
        properties = {"file": place.file, "line": str(place.line), "col": str(place.column), **properties}
    written = ",".join(f"{name}={escape_property(value)}" for name, value in properties.items())
    message = f"{finding.message}; {finding.hint}" if finding.hint else finding.message
    return f"::{finding.severity} {written}::{escape_data(message)}"


def escape_data(text: str) -> str:
    """Return a command's message as one line; the runner turns `%0A` back."""
    parts = text.replace("%", "%25").replace("\r", "%0D").split("\n")
    return "%0A".join(map(printable, parts))


def escape_property(text: str) -> str:
    """Return the value of a property, which a `,` or `:` would end."""
    return escape_data(text).replace(":", "%3A").replace(",", "%2C")
