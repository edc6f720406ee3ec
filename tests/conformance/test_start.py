"""Starts that must fail: with exit code 3, and a line on stderr that says what is wrong."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.conformance.harness.gateway import CANNOT_START, PLAIN, WORKSHOP, environment, failed_start, start, stop
from tests.conformance.harness.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conformance.harness.certificates import Pki

FAULTY = """\
apiVersion: networking.istio.io/v1beta1
kind: ServiceEntry
metadata: {name: a, namespace: x}
spec:
  hosts: [a.example]
  portz: []
---
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayBackend
metadata: {name: a, namespace: x}
spec:
  static: {host: a.example, port: many}
---
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayPolicy
metadata: {name: p, namespace: x}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: nowhere}]
  traffic:
    authorization:
      action: Deny
      policy: {matchExpressions: ['request.path ==']}
"""


@pytest.mark.parametrize("place", ["missing", "empty"])
def test_without_manifests(pki: Pki, tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    written = failed_start(tmp_path, pki, manifests=[tmp_path / place])

    assert str(tmp_path / place) in written


def test_every_fault_of_a_manifest_is_told_with_its_place(pki: Pki, tmp_path: Path) -> None:
    file = tmp_path / "faulty.yaml"
    file.write_text(FAULTY)
    written = failed_start(tmp_path, pki, manifests=[WORKSHOP, file])

    for line, word in ((6, "portz"), (12, "static.port"), (18, "nowhere"), (22, "request.path")):
        assert any(f"{file}:{line}" in told and word in told for told in written.splitlines()), f"line {line}: {word}"
    assert "ports" in written  # the nearest known name


def test_a_manifest_that_is_no_yaml(pki: Pki, tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("a: [1\nb: 2\n")
    assert f"{tmp_path}/broken.yaml:2" in failed_start(tmp_path, pki, manifests=[WORKSHOP, tmp_path / "broken.yaml"])


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("EGRESS_ACCES_LOG", "stdout", ("EGRESS_ACCES_LOG", "EGRESS_ACCESS_LOG")),
        ("EGRESS_HBONE_LISTEN", "0.0.0.0:15008", ("EGRESS_HBONE_LISTEN", "not available yet")),
        ("EGRESS_DIAL_ALLOW", "10.0.0.0/33", ("EGRESS_DIAL_ALLOW",)),
        ("EGRESS_RESOLVE", "api.github.com:443", ("EGRESS_RESOLVE",)),
        ("EGRESS_TRUST_DOMAINS", "Cluster.Local", ("EGRESS_TRUST_DOMAINS",)),
        ("EGRESS_GATEWAY", "egress-direct/other", ("egress-direct/other",)),
        ("EGRESS_STATUS_LISTEN", "15020", ("EGRESS_STATUS_LISTEN",)),
        ("EGRESS_ACCESS_LOG", "/nowhere/access.log", ("EGRESS_ACCESS_LOG", "/nowhere/access.log")),
        ("SSL_CERT_FILE", "/nowhere/ca.pem", ("SSL_CERT_FILE", "/nowhere/ca.pem")),
    ],
)
def test_with_a_setting_that_cannot_be_used(
    pki: Pki, tmp_path: Path, name: str, value: str, words: tuple[str, ...]
) -> None:
    written = failed_start(tmp_path, pki, {name: value})

    assert all(word in written for word in words), written


def test_with_trust_roots_that_hold_no_certificate(pki: Pki, tmp_path: Path) -> None:
    (tmp_path / "roots.pem").write_text("no certificate\n")
    assert "SSL_CERT_FILE" in failed_start(tmp_path, pki, {"SSL_CERT_FILE": str(tmp_path / "roots.pem")})


@pytest.mark.parametrize("arguments", [("--ssl-cert-reqs", "0"), ("--ssl-cert-reqs", "1"), ()], ids=" ".join)
def test_where_callers_need_no_certificate(pki: Pki, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert "--ssl-cert-reqs 2" in failed_start(tmp_path, pki, arguments=arguments)


def test_without_tls(pki: Pki, tmp_path: Path) -> None:
    written = failed_start(tmp_path, pki, {"UVICORN_SSL_CERTFILE": None, "UVICORN_SSL_KEYFILE": None})

    assert "--ssl-certfile" in written


def test_without_an_authority_for_callers(pki: Pki, tmp_path: Path) -> None:
    assert "--ssl-ca-certs" in failed_start(tmp_path, pki, {"UVICORN_SSL_CA_CERTS": None})


@pytest.mark.parametrize("name", ["EGRESS_STATUS_LISTEN", "UVICORN_PORT"])
def test_on_a_port_that_is_taken(pki: Pki, tmp_path: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        value = f"127.0.0.1:{port}" if name == "EGRESS_STATUS_LISTEN" else port
        variables = environment(pki, {}, [WORKSHOP]) | {name: value, "EGRESS_RESOLVE": ""}
        process = start(tmp_path, variables)
        try:
            code = process.wait(30.0)
        finally:
            stop(process)
    written = (tmp_path / "stderr").read_text()

    assert code == CANNOT_START, written
    assert any(port in line and "in use" in line for line in written.splitlines()), written


def test_without_lifespan(pki: Pki, tmp_path: Path) -> None:
    assert "--lifespan" in failed_start(tmp_path, pki, arguments=(*PLAIN, "--lifespan", "off"))


def test_with_lifespan_auto_it_fails_all_the_same(pki: Pki, tmp_path: Path) -> None:
    failed_start(tmp_path, pki, manifests=[tmp_path / "missing"], arguments=(*PLAIN, "--lifespan", "auto"))


def test_names_that_kubernetes_injects_and_settings_that_are_off_do_not_stop_it(pki: Pki, tmp_path: Path) -> None:
    variables = environment(pki, {}, [WORKSHOP]) | {
        "EGRESS_RESOLVE": "",
        "EGRESS_SERVICE_HOST": "10.0.0.1",
        "EGRESS_GATEWAY_PORT_443_TCP_ADDR": "10.0.0.1",
        "EGRESS_HBONE_LISTEN": "off",
    }
    process = start(tmp_path, variables)
    try:
        eventually("the gateway to be ready", lambda: '"message": "ready"' in (tmp_path / "stderr").read_text())
        assert process.poll() is None
    finally:
        stop(process)
