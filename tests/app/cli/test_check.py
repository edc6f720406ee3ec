from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
WORKSHOP = "deploy/workshop"
NEGATIVE = "tests/config/negative/90-negative.yaml"
NO_SOCKETS = """\
import socket, sys
def refuse(*_, **__):
    raise AssertionError("a socket was opened")
socket.socket.__init__ = refuse
from app.cli import main
main(prog_name="egress-gateway")
"""


def check(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EGRESS_")}
    return subprocess.run(
        [sys.executable, "-c", NO_SOCKETS, "check", *arguments],
        cwd=ROOT,
        env={**clean, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_workshop_is_in_order() -> None:
    done = check(WORKSHOP)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "ok: 2 hosts, 2 routes, 3 policies"


def test_every_faulty_document_has_one_finding_at_its_line() -> None:
    done = check(WORKSHOP, NEGATIVE, "-o", "json")

    found = json.loads(done.stdout)["findings"]
    assert done.returncode == 1
    assert {entry["file"] for entry in found} == {NEGATIVE}
    assert [(entry["code"], entry["line"]) for entry in found if entry["severity"] == "error"] == [
        ("invalid-expression", 18),
        ("mixed-targets", 28),
        ("invalid-target", 46),
        ("conditional-order", 67),
        ("invalid-value", 87),
        ("dangling-reference", 102),
    ]
    assert "insecureSkipVerify" in found[4]["message"]
    assert "caCertificateRefs" in found[4]["message"]
    assert "Secret" in found[5]["message"]


def test_without_a_path_the_settings_name_the_manifests() -> None:
    assert check(EGRESS_CONFIG=WORKSHOP).stdout == check(WORKSHOP).stdout
    assert "does not exist" in check(EGRESS_CONFIG="/nowhere").stdout


@pytest.mark.parametrize(
    "arguments", [["--no-such-option"], ["/nowhere"], [WORKSHOP, "--gateway", "egress"], [WORKSHOP, "-o", "xml"]]
)
def test_usage_is_two(arguments: list[str]) -> None:
    assert check(*arguments).returncode == 2


def test_options_win_over_the_environment() -> None:
    right = check(WORKSHOP, "--gateway", "egress-direct/egress", EGRESS_GATEWAY="a/b", EGRESS_DEFAULT_ACTION="no")
    assert right.returncode == 1
    assert "EGRESS_DEFAULT_ACTION" in right.stdout
    assert check(WORKSHOP, "--default-action", "deny", EGRESS_DEFAULT_ACTION="no").returncode == 0
    assert "[no-gateway]" in check(WORKSHOP, "--gateway", "a/b").stdout


def test_a_misspelt_kind_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("apiVersion: v1\nkind: Secert\nmetadata: {name: a}\n")

    done = check(WORKSHOP, str(tmp_path))

    assert done.returncode == 1
    assert "did you mean 'Secret'?" in done.stdout


def test_a_warning_changes_no_exit_code(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n")

    done = check(WORKSHOP, str(tmp_path))

    assert done.returncode == 0
    assert "[skipped]" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("; 1 warning in 7 files")


def test_no_form_of_the_report_shows_a_secret(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: [hunter2]\n---\n"
        "apiVersion: agentgateway.dev/v1alpha1\nkind: AgentgatewayBackend\nmetadata: {name: b}\n"
        "spec: {static: {host: b, port: x}, policies: {auth: {key: [hunter2]}, http: hunter2}} # hunter2\n"
    )

    for output in ("text", "json", "sarif", "github"):
        done = check(str(tmp_path), "-o", output)
        assert done.returncode == 1
        assert "hunter2" not in done.stdout + done.stderr


def test_no_colour_where_nobody_looks() -> None:
    assert "\x1b" not in check(NEGATIVE, FORCE_COLOR="1").stdout


def test_help_imports_neither_pydantic_nor_the_compiler() -> None:
    program = (
        "import sys; from app.cli import main; main(['check', '--help'], standalone_mode=False);"
        " sys.exit(bool({'uvicorn', 'pydantic', 'yaml'} & set(sys.modules)))"
    )

    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
