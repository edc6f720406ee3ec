"""Findings as one JSON object."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.cli.reports.report import Report
    from config.errors import Finding


def json_text(report: Report) -> str:
    """Return `{"findings": [...], "summary": {...}}`; what has no place in a file has null for it."""
    summary = {
        "ok": not report.errors,
        "errors": report.errors,
        "warnings": report.warnings,
        "files": report.files,
        "hosts": report.hosts,
        "routes": report.routes,
        "policies": report.policies,
    }
    return json.dumps({"findings": list(map(_finding, report.findings)), "summary": summary}, indent=2)


def _finding(finding: Finding) -> dict[str, Any]:
    place = finding.location
    fields = {
        "code": finding.code,
        "severity": str(finding.severity),
        "message": finding.message,
        "hint": finding.hint,
        "file": place.file if place else None,
        "line": place.line if place else None,
        "column": place.column if place else None,
    }
    return fields | ({"excerpt": finding.excerpt} if finding.excerpt else {})
