from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from app.cli import workshop_processes
from app.cli.workshop_processes import Playground, child_environment, free_port, gateway, is_free, running

if TYPE_CHECKING:
    from collections.abc import Mapping


def environment(origins: Mapping[str, int]) -> dict[str, str]:
    playground = Playground(Path(".demo"), 8443, 15020, origins, ".demo/access.log")
    inherited = {"PATH": "/bin", "SSL_CERT_FILE": "corporate.pem", "EGRESS_STRICT": "false", "UVICORN_WORKERS": "4"}
    return playground.environment(inherited, [Path("a.yaml"), Path("b.yaml")])


def test_settings_of_another_gateway_do_not_disturb() -> None:
    inherited = {
        "PATH": "/bin",
        "EGRESS_GATEWAY": "a/b",
        "UVICORN_SSL_CERT_REQS": "0",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318",  # traces may well be tried with the demo
        "WEB_CONCURRENCY": "4",
    }

    assert set(child_environment(inherited)) == {"PATH", "UVICORN_APP_DIR", "OTEL_EXPORTER_OTLP_ENDPOINT"}


def test_the_gateway_is_configured_by_its_environment_alone() -> None:
    variables = environment({})

    assert variables["EGRESS_CONFIG"] == "a.yaml:b.yaml"
    assert variables["EGRESS_STATUS_LISTEN"] == "127.0.0.1:15020"
    assert variables["EGRESS_ACCESS_LOG"] == ".demo/access.log"
    assert variables["UVICORN_SSL_CA_CERTS"] == ".demo/ca.pem"
    assert "EGRESS_STRICT" not in variables


def test_real_hosts_are_dialled_as_the_machine_is_set_up() -> None:
    variables = environment({})

    assert variables["SSL_CERT_FILE"] == "corporate.pem"
    assert not {"EGRESS_RESOLVE", "EGRESS_DIAL_ALLOW"} & set(variables)


def test_stand_ins_are_dialled_in_place_of_the_real_hosts() -> None:
    variables = environment({"api.github.com": 1, "httpbingo.org": 2})

    assert variables["SSL_CERT_FILE"] == ".demo/origins-ca.pem"
    assert variables["EGRESS_RESOLVE"] == "api.github.com:443:127.0.0.1:1,httpbingo.org:443:127.0.0.1:2"
    assert variables["EGRESS_DIAL_ALLOW"] == "127.0.0.0/8"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_process_ends_with_its_context(error: type[BaseException]) -> None:
    program = [sys.executable, "-c", "import time; time.sleep(60)"]

    with pytest.raises(error), running(program, os.environ, None) as process:
        raise error

    assert process.returncode is not None


def test_a_process_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(workshop_processes, "STOP_SECONDS", 0.2)
    program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"

    with (
        (tmp_path / "output").open("wb") as output,
        running([sys.executable, "-c", program], os.environ, output) as process,
    ):
        while process.poll() is None and not (tmp_path / "output").stat().st_size:
            pass

    assert process.returncode == -9


def test_a_gateway_that_dies_is_told_with_what_it_wrote(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    log = tmp_path / "gateway.log"
    log.write_text("of an earlier step\n")
    playground = Playground(tmp_path, free_port(), free_port())

    with pytest.raises(click.ClickException, match="exit code 1") as raised, gateway(playground, [], log):
        pass

    assert "earlier" not in raised.value.message


def test_a_port_is_free_until_somebody_listens() -> None:
    port = free_port()
    assert is_free(port)

    with socket.create_server(("127.0.0.1", port)):
        assert not is_free(port)
