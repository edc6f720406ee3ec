from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner, Result
from uvicorn.main import main as uvicorn_command

from app.cli.certificates import CertificateAuthority, Leaf
from app.cli.serve import UNUSABLE, serve

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What uvicorn was started with."""
    options: dict[str, Any] = {}
    monkeypatch.setattr(uvicorn_command, "callback", lambda **given: options.update(given))
    for name in ("WEB_CONCURRENCY", "EGRESS_CONFIG", "UVICORN_PORT", "UVICORN_SSL_CERT_REQS"):
        monkeypatch.delenv(name, raising=False)
    return options


@pytest.fixture
def pem(tmp_path: Path) -> dict[str, str]:
    authority = CertificateAuthority.create("test CA")
    files = dict(zip(("certificate", "key"), authority.issue(Leaf("gateway", names=("localhost",))), strict=True))
    files |= {"ca": authority.pem()[0], "other_key": authority.issue(Leaf("other"))[1], "text": b"text"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    return {name: str(tmp_path / name) for name in files} | {"missing": str(tmp_path / "missing")}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(serve, arguments)


def tls(pem: dict[str, str], certificate: str = "certificate", key: str = "key", ca: str = "ca") -> list[str]:
    return ["--ssl-certfile", pem[certificate], "--ssl-keyfile", pem[key], "--ssl-ca-certs", pem[ca]]


def test_the_gateway_is_served_with_client_certificates_required(started: dict[str, Any], pem: dict[str, str]) -> None:
    assert run(*tls(pem)).exit_code == 0

    assert started["app"] == "app.main:app"
    assert started["ssl_cert_reqs"] == 2


def test_options_and_variables_of_uvicorn_are_passed_on(
    started: dict[str, Any], pem: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UVICORN_PORT", "8443")

    assert run(*tls(pem), "--host", "::1", "--log-level", "trace", "--reload", "--header", "a:b").exit_code == 0

    assert (started["port"], started["host"], started["log_level"]) == (8443, "::1", "trace")
    assert started["reload"]
    assert started["headers"] == ("a:b",)


def test_an_option_that_uvicorn_does_not_have_is_a_usage_error(started: dict[str, Any]) -> None:
    assert run("--no-such-option").exit_code == 2
    assert not started


@pytest.mark.parametrize(
    ("files", "option", "what"),
    [
        ({"certificate": "missing"}, "--ssl-certfile", "No such file"),
        ({"key": "missing"}, "--ssl-keyfile", "No such file"),
        ({"ca": "missing"}, "--ssl-ca-certs", "No such file"),
        ({"certificate": "text"}, "--ssl-certfile", "no PEM certificate"),
        ({"key": "text"}, "--ssl-keyfile", "no private key"),
        ({"key": "other_key"}, "--ssl-keyfile", "not the private key"),
        ({"ca": "key"}, "--ssl-ca-certs", "no PEM certificate"),
    ],
)
def test_an_unusable_file_is_one_clear_line(
    started: dict[str, Any], pem: dict[str, str], files: dict[str, str], option: str, what: str
) -> None:
    result = run(*tls(pem, **files))

    assert result.exit_code == 3
    assert result.stderr.count("\n") == 1
    assert option in result.stderr
    assert what in result.stderr
    assert pem[next(iter(files.values()))] in result.stderr
    assert not started


def test_a_key_without_a_certificate_is_refused(started: dict[str, Any], pem: dict[str, str]) -> None:
    result = run("--ssl-keyfile", pem["key"])

    assert (result.exit_code, started) == (3, {})
    assert "--ssl-certfile" in result.stderr


def test_usable_files_are_let_through(started: dict[str, Any], pem: dict[str, str]) -> None:
    assert run(*tls(pem)).exit_code == 0
    assert started["ssl_certfile"] == pem["certificate"]


@pytest.mark.parametrize("way", ["option", "WEB_CONCURRENCY", "env file"])
def test_with_several_workers_a_faulty_configuration_stops_the_start(
    started: dict[str, Any], pem: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setenv("EGRESS_CONFIG", str(tmp_path / "nothing"))
    monkeypatch.setenv("WEB_CONCURRENCY", "2" if way == "WEB_CONCURRENCY" else "1")
    extra = ["--workers", "2"] if way == "option" else []
    if way == "env file":
        monkeypatch.delenv("WEB_CONCURRENCY")
        (tmp_path / "env").write_text("WEB_CONCURRENCY=2\n")
        extra = ["--env-file", str(tmp_path / "env")]

    result = run(*tls(pem), *extra)

    assert (result.exit_code, started) == (3, {})
    assert result.stderr.startswith("error: EGRESS_CONFIG names")


def test_every_finding_is_listed(started: dict[str, Any], pem: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EGRESS_CONFG", "x")
    monkeypatch.setenv("EGRESS_STRICT", "perhaps")

    result = run(*tls(pem), "--workers", "2")

    assert (result.exit_code, started) == (3, {})
    assert "EGRESS_CONFG" in result.stderr
    assert "EGRESS_STRICT" in result.stderr


@pytest.fixture
def workers(pem: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the arguments of two workers that can start."""
    monkeypatch.setenv("EGRESS_CONFIG", "deploy/workshop")
    monkeypatch.setenv("EGRESS_STATUS_LISTEN", "127.0.0.1:0")
    monkeypatch.setenv("EGRESS_ACCESS_LOG", "off")
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    return [*tls(pem), "--workers", "2"]


@pytest.mark.parametrize("status", ["off", "127.0.0.1:0", "localhost:0"])
def test_workers_that_can_start_are_started(
    started: dict[str, Any], workers: list[str], monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    monkeypatch.setenv("EGRESS_STATUS_LISTEN", status)

    assert run(*workers).exit_code == 0
    assert started["workers"] == 2


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("EGRESS_ACCESS_LOG=/nowhere/log", " cannot be opened: No such file or directory"),
        ("SSL_CERT_FILE=/nowhere", "no trust roots can be loaded from "),
        ("EGRESS_STATUS_LISTEN=host.invalid:1", " cannot be listened on: "),
        ("EGRESS_STATUS_LISTEN=[2001:db8::1]:1", " cannot be listened on: "),
    ],
)
def test_what_would_stop_every_worker_stops_the_start(
    started: dict[str, Any], workers: list[str], monkeypatch: pytest.MonkeyPatch, setting: str, told: str
) -> None:
    monkeypatch.setenv(*setting.split("=", 1))

    result = run(*workers)

    assert (result.exit_code, started) == (3, {})
    assert setting in result.stderr
    assert told in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_status_port_that_is_taken_stops_the_start(
    started: dict[str, Any], workers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        monkeypatch.setenv("EGRESS_STATUS_LISTEN", address)
        result = run(*workers)

    assert (result.exit_code, started) == (3, {})
    assert result.stderr.startswith(f"error: EGRESS_STATUS_LISTEN={address} cannot be listened on: Address already in")


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ((), ["--ssl-certfile", "--ssl-keyfile", "--ssl-ca-certs"]),
        (("certfile", "keyfile"), ["--ssl-ca-certs"]),
        (("keyfile", "ca-certs"), ["--ssl-certfile"]),
        (("ca-certs",), ["--ssl-certfile", "--ssl-keyfile"]),
    ],
)
def test_only_the_files_that_are_missing_are_named(
    started: dict[str, Any], pem: dict[str, str], given: tuple[str, ...], missing: list[str]
) -> None:
    files = {"certfile": pem["certificate"], "keyfile": pem["key"], "ca-certs": pem["ca"]}

    result = run(*(word for name in given for word in (f"--ssl-{name}", files[name])))

    assert (result.exit_code, started) == (3, {})
    assert [word for word in result.stderr.split() if word.startswith("--ssl-")] == missing
    assert "`egress-gateway ca DIRECTORY`" in result.stderr


@pytest.mark.parametrize("required", ["0", "1"])
def test_callers_must_have_certificates(started: dict[str, Any], pem: dict[str, str], required: str) -> None:
    result = run(*tls(pem), "--ssl-cert-reqs", required)

    assert (result.exit_code, started) == (3, {})
    assert f"--ssl-cert-reqs (UVICORN_SSL_CERT_REQS) at 2, it is {required}" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--ws", "wsproto"),
        ("--ws-max-size", "1"),
        ("--ws-max-queue", "1"),
        ("--ws-ping-interval", "1"),
        ("--ws-ping-timeout", "1"),
        ("--ws-per-message-deflate", "false"),
        ("--http2",),
        ("--http", "zttp"),
        ("--interface", "wsgi"),
        ("--interface", "asgi2"),
        ("--lifespan", "off"),
        ("--factory",),
    ],
    ids=" ".join,
)
def test_options_of_uvicorn_that_cannot_work_are_usage_errors(
    started: dict[str, Any], pem: dict[str, str], arguments: tuple[str, ...]
) -> None:
    result = run(*tls(pem), *arguments)

    assert (result.exit_code, started) == (2, {})
    assert arguments[0] in result.stderr


def test_they_are_refused_as_variables_too(
    started: dict[str, Any], pem: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UVICORN_LIFESPAN", "off")

    assert (run(*tls(pem)).exit_code, started) == (2, {})


def test_their_values_that_work_are_uvicorns_defaults(started: dict[str, Any], pem: dict[str, str]) -> None:
    assert run(*tls(pem)).exit_code == 0

    assert all(started[name] in usable for name, (usable, _) in UNUSABLE.items())


def test_the_help_leaves_out_what_cannot_work() -> None:
    text = run("--help").output

    assert "--workers" in text
    assert not re.search("--(ws|http2|interface|lifespan|factory)", text)
    assert not any(option.hidden for option in uvicorn_command.params if isinstance(option, click.Option))
