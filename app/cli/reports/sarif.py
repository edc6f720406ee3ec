"""Findings as SARIF 2.1.0 (OASIS), which code scanning and editors read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from app import __version__
from config.findings import CATALOGUE

if TYPE_CHECKING:
    from app.cli.reports.report import Report
    from config.errors import Finding, Location

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def sarif_text(report: Report) -> str:
    """Return one log with one run. Its rules are the codes that were found."""
    codes = sorted({finding.code for finding in report.findings})
    driver = {"name": "egress-gateway", "semanticVersion": __version__, "rules": list(map(_rule, codes))}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, codes.index(finding.code)) for finding in report.findings],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _rule(code: str) -> dict[str, Any]:
    known = CATALOGUE[code]
    return {
        "id": code,
        "shortDescription": {"text": known.meaning},
        "help": {"text": f"{known.meaning} {known.remedy}"},
    }


def _result(finding: Finding, rule: int) -> dict[str, Any]:
    message = f"{finding.message}; {finding.hint}" if finding.hint else finding.message
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": str(finding.severity),
        "message": {"text": message},
    }
    if finding.location is not None:
        result["locations"] = [{"physicalLocation": _place(finding.location)}]
    return result


def _place(place: Location) -> dict[str, Any]:
    return {
        "artifactLocation": {"uri": uri_of(place.file)},
        "region": {"startLine": place.line, "startColumn": place.column},
    }


def uri_of(file: str) -> str:
    """Return the URI of a file: relative as its path is, so that it means the same in another checkout."""
    path = Path(file)
    return path.as_uri() if path.is_absolute() else quote(os.fsencode(path.as_posix()))
