"""Every example file loads as it is: strictly, beside the workshop or alone, without a fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.errors import Severity
from config.loading import load
from config.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
WORKSHOP = DEPLOY / "workshop"
ALONE = frozenset({"26-oss-ambient-variant.yaml"})
"""Examples that bring their own Gateway."""
EXAMPLES = sorted((DEPLOY / "examples").glob("*.yaml"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_loads_strictly_without_a_fault(example: Path) -> None:
    files = (example,) if example.name in ALONE else (WORKSHOP, example)

    snapshot, findings = load(Settings(config=tuple(map(str, files)), strict=True))

    assert [str(finding) for finding in findings if finding.severity is Severity.ERROR] == []
    assert "api.github.com" in snapshot.exact


def test_there_are_examples() -> None:
    assert {path.name for path in EXAMPLES} >= {"23-network-authorization.yaml", *ALONE}
