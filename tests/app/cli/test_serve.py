from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from uvicorn.main import main as uvicorn_command

from app.cli.certificates import CertificateAuthority, Leaf
from app.cli.serve import serve

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


def test_the_gateway_is_served_with_client_certificates_required(started: dict[str, Any]) -> None:
    assert run().exit_code == 0

    assert started["app"] == "app.main:app"
    assert started["ssl_cert_reqs"] == 2


def test_options_and_variables_of_uvicorn_are_passed_on(
    started: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UVICORN_PORT", "8443")

    assert run("--host", "::1", "--log-level", "trace", "--ssl-cert-reqs", "1", "--header", "a:b").exit_code == 0

    assert (started["port"], started["host"], started["log_level"]) == (8443, "::1", "trace")
    assert started["ssl_cert_reqs"] == 1
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


@pytest.mark.parametrize("extra", [(), ("--ssl-cert-reqs", "1")])
def test_with_several_workers_callers_must_have_certificates(
    started: dict[str, Any], pem: dict[str, str], extra: tuple[str, ...]
) -> None:
    result = run("--workers", "2", *extra, *(tls(pem) if extra else ()))

    assert (result.exit_code, started) == (3, {})
    assert "--ssl-certfile" in result.stderr
