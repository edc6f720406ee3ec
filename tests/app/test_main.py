from __future__ import annotations

import subprocess
import sys

import pytest


def run(code: str) -> list[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("unwanted", ["celpy", "jmespath", "pydantic_settings", "starlette.testclient", "app.cli"])
def test_the_server_imports_nothing_that_it_never_uses(unwanted: str) -> None:
    modules = run("import app.main, sys; print(*sys.modules)")

    assert "config.cel" in modules
    assert unwanted not in modules


def test_only_the_entry_point_sets_the_collector() -> None:
    setting = (
        "import gc; before = gc.get_threshold(); import {}; print(gc.get_threshold() == before, *gc.get_threshold())"
    )

    assert run(setting.format("app.factory"))[0] == "True"
    assert run(setting.format("app.main")) == ["False", "50000", "10", "10"]
