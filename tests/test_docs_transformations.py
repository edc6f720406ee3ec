"""The example of `docs/transformations.md` is valid beside the workshop."""

from __future__ import annotations

import re
from pathlib import Path

from config.loading import load
from config.settings import Settings

ROOT = Path(__file__).parents[1]


def test_the_example_loads_without_a_finding(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "transformations.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "example.yaml").write_text(example)

    snapshot, findings = load(Settings(config=(str(ROOT / "deploy" / "workshop"), str(tmp_path))))

    assert findings == ()
    assert any(route.direct_response for route in snapshot.routes)
