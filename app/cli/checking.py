"""What `egress-gateway check` does: the server's own way from the settings to the findings, and a report of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from app.cli.reports.github import github_lines
from app.cli.reports.machine import json_text
from app.cli.reports.report import Report
from app.cli.reports.sarif import sarif_text
from app.cli.reports.text import text_lines
from config.errors import ConfigErrors
from config.excerpts import SourceLines
from config.loading import Examined, examine
from config.settings import settings_from_environ

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def report_on(paths: tuple[str, ...], overrides: Mapping[str, str]) -> Report:
    """Check manifests.

    Args:
        paths: files and directories; none: what `EGRESS_CONFIG` names.
        overrides: settings that win over the environment's.

    """
    try:
        settings = settings_from_environ({**os.environ, **overrides})
    except ConfigErrors as errors:
        return Report.of(Examined(None, errors.findings))
    return Report.of(examine(settings.model_copy(update={"config": paths}) if paths else settings))


def written(report: Report, output: str, *, color: bool) -> Iterable[str]:
    """Return the lines of a report in one of the forms."""
    match output:
        case "json":
            return [json_text(report)]
        case "sarif":
            return [sarif_text(report)]
        case "github":
            return github_lines(report)
        case _:
            return text_lines(report, SourceLines(), color=color)
