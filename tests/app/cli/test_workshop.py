from __future__ import annotations

import json
import signal
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner, Result

from app.cli import workshop as workshop_module
from app.cli.workshop import check_access_log, ended_by_signals, excerpt, make_certificates, walk, workshop
from app.cli.workshop_requests import Answer, Expected, Request
from app.cli.workshop_steps import LOG_LINES, STEPS, Exchange, LogLine, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MANIFESTS = Path(__file__).parents[3] / "deploy/workshop"
STEP = Step(
    "1",
    ("a.yaml", "b.yaml"),
    "about",
    (
        Exchange("one", Request("h", "/one"), Expected(200), "it passes"),
        Exchange("two", Request("h", "/two"), Expected(200), "it passes too"),
    ),
)
LATER = Step("2", ("c.yaml",), "about", ())


@contextmanager
def fake_gateway(
    answers: dict[str, Answer], starts: list[Sequence[str]], manifests: Sequence[str]
) -> Iterator[Callable[[Request], Answer]]:
    starts.append(manifests)
    yield lambda request: answers[request.path]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(workshop, arguments)


def test_the_manifests_grow_from_step_to_step() -> None:
    starts: list[Sequence[str]] = []

    walk(
        [STEP, LATER],
        lambda manifests: fake_gateway({"/one": Answer(200), "/two": Answer(200)}, starts, manifests),
        str,
    )

    assert starts == [("a.yaml", "b.yaml"), ("a.yaml", "b.yaml", "c.yaml")]


def test_each_answer_is_shown_and_judged(capsys: pytest.CaptureFixture[str]) -> None:
    answers = {"/one": Answer(200, {}, "hello"), "/two": Answer(503, {}, "upstream call failed")}

    tally = walk([STEP], lambda manifests: fake_gateway(answers, [], manifests), lambda request: f"curl {request.path}")

    assert (tally.documented, tally.total, tally.complete) == (1, 2, False)
    output = capsys.readouterr().out
    assert "curl /one\n    200 OK\n    hello\n    ok  it passes\n" in output
    assert "DIFFERENT (expected 200, got 503 Service Unavailable upstream call failed)" in output


def test_every_manifest_of_the_workshop_has_a_step() -> None:
    assert [name for step in STEPS for name in step.manifests] == sorted(p.name for p in MANIFESTS.glob("*.yaml"))


def test_the_access_log_must_hold_allowed_and_denied_requests(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    lines = [json.dumps(dict(line.fields) | {"reason": "some"}) for line in LOG_LINES]
    path.write_text("\n".join([*lines, "no JSON", "[]"]))

    assert check_access_log(path, LOG_LINES).complete


def test_the_nearest_line_of_the_access_log_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "access.log"
    path.write_text('{"decision": "allow", "a": 1}\n{"decision": "deny", "a": 1}\n')

    tally = check_access_log(path, [LogLine("a denied one", {"decision": "deny", "a": 1}, "why", present=("rule",))])

    assert not tally.complete
    assert "DIFFERENT (expected some rule, got none)" in capsys.readouterr().out


def test_no_access_log_is_a_difference(tmp_path: Path) -> None:
    assert check_access_log(tmp_path / "none", LOG_LINES).documented == 0


def test_certificates_are_the_meshs_and_the_origins(tmp_path: Path) -> None:
    make_certificates(tmp_path)

    certificates = {path.name for path in tmp_path.glob("*.pem") if not path.name.endswith("-key.pem")}
    mesh, outside = {"ca.pem", "gateway.pem", "team-a.pem", "team-b.pem"}, {"origins-ca.pem"}
    assert certificates == mesh | outside | {"api.github.com.pem", "httpbingo.org.pem"}


def test_a_body_is_shown_shortened_and_harmless() -> None:
    assert excerpt("\x1b[31mred\nline\n") == "?[31mred\nline"
    assert excerpt("x" * 5000).endswith("x ...")


@pytest.mark.parametrize("stay", [(), ("--stay",)])
def test_a_missing_manifest_directory_is_a_usage_error(tmp_path: Path, stay: tuple[str, ...]) -> None:
    result = run("--config", str(tmp_path / "none"), "--directory", str(tmp_path / "demo"), *stay)

    assert result.exit_code == 2
    assert "no directory" in result.output
    assert not (tmp_path / "demo").exists()


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "01-setup.yaml").touch()

    result = run("--config", str(tmp_path), "--directory", str(tmp_path / "demo"))

    assert result.exit_code == 2
    assert "02-egress-direct.yaml" in result.output
    assert "01-setup.yaml" not in result.output


def test_a_taken_port_is_told_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr(workshop_module, "PORT", listener.getsockname()[1])
        result = run("--stay", "--config", str(MANIFESTS), "--directory", str(tmp_path / "demo"))

    assert result.exit_code == 3
    assert "is taken" in result.output
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize(("complete", "exit_code"), [(True, 0), (False, 1)])
def test_the_exit_code_tells_whether_all_is_as_documented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, complete: bool, exit_code: int
) -> None:
    monkeypatch.setattr(workshop_module, "walk_workshop", lambda *_: complete)

    assert run("--live", "--config", str(MANIFESTS), "--directory", str(tmp_path)).exit_code == exit_code


def test_colour_can_be_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workshop_module, "walk_workshop", lambda *_: True)
    arguments = ["--live", "--config", str(MANIFESTS), "--directory", str(tmp_path)]

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in CliRunner().invoke(workshop, arguments, color=True).output
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in CliRunner().invoke(workshop, arguments, color=True).output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_unwind_the_run(number: signal.Signals) -> None:
    before = signal.getsignal(number)

    with pytest.raises(KeyboardInterrupt), ended_by_signals():
        signal.raise_signal(number)

    assert signal.getsignal(number) is before


def test_a_gateway_that_cannot_start_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise click.ClickException("the gateway ended with exit code 3")

    monkeypatch.setattr(workshop_module, "gateway", fail)

    result = run("--live", "--config", str(MANIFESTS), "--directory", str(tmp_path))

    assert result.exit_code == 1
    assert "exit code 3" in result.output
