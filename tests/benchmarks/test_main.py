"""How the benchmark ends."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.benchmarks import __main__ as command
from tests.benchmarks.measure import Measured, Outcome, Run
from tests.benchmarks.peers.running import GATEWAY

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("errors", "code"), [([], 0), (["1 wrong answers"], 1)])
def test_a_wrong_answer_fails_the_run_and_a_missed_target_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], errors: list[str], code: int
) -> None:
    gateway = Measured()
    gateway.add(start_ms=2500.0)
    result = Outcome("not pinned", {GATEWAY: gateway}, errors=errors)
    monkeypatch.setattr(Run, "run", lambda _: result)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--peers", "none", "--output", str(tmp_path)])

    assert command.main() == code

    printed = capsys.readouterr().out
    assert "MISSED by 1,500 (150%)" in printed
    assert ("ERROR 1 wrong answers" in printed) is bool(errors)
    assert (tmp_path / "latest.json").is_file()


def test_a_gateway_that_does_not_start_fails_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "run", lambda _: Outcome("", left_out={GATEWAY: "ended with 1"}))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--peers", "none", "--output", str(tmp_path)])

    assert command.main() == 1
    assert not list(tmp_path.iterdir())
