from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from app.backends.tls import TrustRootsError, client_context, tls_failure
from tests.support.tls import MESH, authority

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def no_roots_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)


def test_origins_are_verified_by_their_sans_over_tls_1_2_or_newer() -> None:
    context = client_context()

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert not context.hostname_checks_common_name
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_the_roots_of_the_environment_take_the_place_of_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "roots.pem"
    path.write_bytes(authority(MESH).pem()[0])
    monkeypatch.setenv("SSL_CERT_FILE", str(path))

    assert client_context().cert_store_stats()["x509_ca"] == 1


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_roots_that_are_missing_are_an_error_that_names_the_setting(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "/nowhere")

    with pytest.raises(TrustRootsError, match=f"{name}=/nowhere"):
        client_context()


def test_a_file_without_certificates_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "roots.pem"
    path.write_text("no certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(path))

    with pytest.raises(TrustRootsError, match=r"SSL_CERT_FILE=.*roots\.pem"):
        client_context()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ConnectionResetError(104, "reset"), "TLS failed: ConnectionResetError"),
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), "TLS failed: SSLEOFError"),
    ],
)
def test_a_handshake_that_ended_without_a_reason_is_told_by_its_error(error: OSError, told: str) -> None:
    assert tls_failure(error) == told
