"""`backend.tls`, `tcp`, `http` and `tunnel`: what they compile to, and what is a fault."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from app.cli.certificates import Leaf
from config.compiler.place import Place
from config.compiler.upstreams import check_protocols, compile_http, compile_tcp, compile_tls, compile_tunnel
from config.policy.upstream import HttpSettings, Keepalive, TcpSettings, TlsSettings, Tunnel, Verification, upstream_of
from tests.config.examples import EXAMPLES, WORKSHOP, codes, resources_of, several
from tests.support.tls import MESH, authority

if TYPE_CHECKING:
    from config.errors import Finding
    from config.model.backend import BackendPoliciesSpec

LEAF = authority(MESH).issue(Leaf("gateway", names=("gateway.test",)))
OTHER = authority(MESH).issue(Leaf("other", names=("other.test",)))
CA = authority(MESH).pem()[0]
EXPIRED = authority(MESH).issue(Leaf("old", names=("old.test",)), timedelta(days=-1))
ENCRYPTED = load_pem_private_key(LEAF[1], None).private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")
)


def secret(name: str, **values: bytes) -> str:
    data = {key.replace("_", "."): value.decode() for key, value in values.items()}
    return json.dumps(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "infra"}, "stringData": data}
    )


def config_map(name: str, **values: bytes) -> str:
    data = {key.replace("_", "."): value.decode() for key, value in values.items()}
    return json.dumps(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "infra"}, "data": data}
    )


def service(name: str, *ports: int, namespace: str = "infra") -> str:
    spec = {"ports": [{"port": port} for port in ports]}
    metadata = {"name": name, "namespace": namespace}
    return json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})


def backend(name: str, spec: dict[str, Any], namespace: str = "infra") -> str:
    metadata = {"name": name, "namespace": namespace}
    kind = "AgentgatewayBackend"
    return json.dumps({"apiVersion": "agentgateway.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})


def place_of(policies: dict[str, Any], *manifests: str) -> tuple[Place, BackendPoliciesSpec]:
    """Return where the policies of a backend stand, and what they say."""
    spec = {"static": {"host": "a.test", "port": 443}, "policies": policies}
    text = "\n---\n".join([backend("origin", spec), *manifests])
    resources, findings = resources_of(text)
    assert findings == []
    parsed = resources.backends["infra/origin"]
    return Place(parsed, resources, [], ("spec", "policies")), parsed.model.spec.policies


def tls_of(tls: dict[str, Any], *manifests: str) -> tuple[TlsSettings, list[Finding]]:
    place, spec = place_of({"tls": tls}, *manifests)
    assert spec.tls is not None
    return compile_tls(place.at("tls"), spec.tls), place.findings


def tunnel_of(tunnel: dict[str, Any], *manifests: str) -> tuple[Tunnel, list[Finding]]:
    place, spec = place_of({"tunnel": tunnel}, *manifests)
    assert spec.tunnel is not None
    return compile_tunnel(place.at("tunnel"), spec.tunnel), place.findings


def test_tls_without_anything_is_the_operating_systems() -> None:
    assert tls_of({}) == (TlsSettings(), [])


def test_every_field_of_tls() -> None:
    written = {
        "mtlsCertificateRef": [{"name": "own"}],
        "caCertificateRefs": [{"name": "ca"}],
        "sni": "sni.test",
        "verifySubjectAltNames": ["API.test", "spiffe://Partner.test/a"],
        "alpnProtocols": ["http/1.1"],
    }
    chain = LEAF[0] + CA
    noted = b"a comment\n" + CA + b"another\n"
    settings, findings = tls_of(written, secret("own", tls_crt=chain, tls_key=LEAF[1]), config_map("ca", ca_crt=noted))

    assert findings == []
    assert (settings.server_name, settings.alpn) == ("sni.test", ("http/1.1",))
    assert settings.verify_names == ("api.test", "spiffe://Partner.test/a")
    assert settings.roots == CA.decode()
    assert settings.client_certificate is not None
    assert settings.client_certificate.chain == chain.decode()
    assert settings.client_certificate.key.reveal() == LEAF[1]
    assert not settings.unusable
    assert "PRIVATE" not in repr(settings)


def test_roots_may_stand_in_a_secret() -> None:
    settings, findings = tls_of({"caCertificateRefs": [{"name": "ca", "kind": "Secret"}]}, secret("ca", ca_crt=CA))

    assert (settings.roots, findings) == (CA.decode(), [])


OWN = {"mtlsCertificateRef": [{"name": "own"}]}
ROOTS = {"caCertificateRefs": [{"name": "ca"}]}


@pytest.mark.parametrize(
    ("tls", "manifests", "code", "message"),
    [
        (OWN, [], "dangling-reference", "there is no Secret infra/own"),
        (OWN, [secret("own", tls_key=LEAF[1])], "dangling-reference", "has no key 'tls.crt'"),
        (OWN, [secret("own", tls_crt=LEAF[0])], "dangling-reference", "has no key 'tls.key'"),
        (OWN, [secret("own", tls_crt=b"x", tls_key=LEAF[1])], "invalid-certificate", "holds no certificate"),
        (OWN, [secret("own", tls_crt=LEAF[0], tls_key=b"secret!")], "invalid-certificate", "no private key in PEM"),
        (OWN, [secret("own", tls_crt=LEAF[0], tls_key=ENCRYPTED)], "invalid-certificate", "or is encrypted"),
        (OWN, [secret("own", tls_crt=LEAF[0], tls_key=OTHER[1])], "invalid-certificate", "does not belong to"),
        (OWN, [secret("own", tls_crt=CA + LEAF[0], tls_key=LEAF[1])], "invalid-certificate", "does not belong to"),
        ({"mtlsCertificateRef": [{"name": "own", "kind": "Vault"}]}, [], "invalid-reference", "not a Vault"),
        (ROOTS, [], "dangling-reference", "there is no ConfigMap infra/ca"),
        (ROOTS, [config_map("ca", other=CA)], "dangling-reference", "has no key 'ca.crt'"),
        (ROOTS, [config_map("ca", ca_crt=b"")], "invalid-certificate", "holds no certificate"),
        (
            ROOTS,
            [config_map("ca", ca_crt=b"-----BEGIN CERTIFICATE-----\n(example)\n-----END CERTIFICATE-----\n")],
            "invalid-certificate",
            "cannot be read",
        ),
        (ROOTS, [config_map("ca", ca_crt=CA + CA[:200])], "invalid-certificate", "cannot be read"),
        ({"caCertificateRefs": [{"name": "ca", "group": "x"}]}, [], "invalid-reference", "has no group"),
        ({"verifySubjectAltNames": ["*.a.test"]}, [], "invalid-value", "neither a DNS name nor a URI"),
        ({"verifySubjectAltNames": ["a.test", "10.0.0.1"]}, [], "invalid-value", "neither a DNS name nor a URI"),
        ({"verifySubjectAltNames": ["a b"]}, [], "invalid-value", "neither a DNS name nor a URI"),
    ],
)
def test_what_cannot_be_loaded_is_a_fault_and_makes_the_backend_unusable(
    tls: dict[str, Any], manifests: list[str], code: str, message: str
) -> None:
    settings, findings = tls_of(tls, *manifests)

    assert codes(findings) == [code]
    assert message in findings[0].message
    assert settings.unusable
    assert not any("secret!" in str(finding) or "PRIVATE" in str(finding) for finding in findings)


@pytest.mark.parametrize(
    ("tls", "manifest"),
    [
        ({"caCertificateRefs": [{"name": "ca"}]}, config_map("ca", ca_crt=CA)),
        ({"caCertificateRefs": [{"name": "ca", "kind": "Secret"}]}, secret("ca", ca_crt=CA)),
        ({"mtlsCertificateRef": [{"name": "own"}]}, secret("own", tls_crt=LEAF[0], tls_key=LEAF[1])),
    ],
)
def test_what_was_refused_by_itself_makes_the_backend_unusable(tls: dict[str, Any], manifest: str) -> None:
    # Else the operating system's roots would take the place of the operator's own.
    policies = {"tls": tls}
    text = backend("origin", {"static": {"host": "a.test", "port": 443}, "policies": policies})
    resources, faults = resources_of("\n---\n".join([text, manifest.replace('"metadata"', '"unknown": 1, "metadata"')]))
    parsed = resources.backends["infra/origin"]
    place = Place(parsed, resources, [], ("spec", "policies"))
    assert parsed.model.spec.policies.tls is not None

    settings = compile_tls(place.at("tls"), parsed.model.spec.policies.tls)

    assert (codes(faults), place.findings) == (["unknown-field"], [])
    assert settings.unusable


def test_an_expired_certificate_is_reported_and_used() -> None:
    settings, findings = tls_of(OWN, secret("own", tls_crt=EXPIRED[0], tls_key=EXPIRED[1]))

    assert [(finding.code, finding.severity) for finding in findings] == [("expired-certificate", "warning")]
    assert "expired on" in findings[0].message
    assert not settings.unusable


@pytest.mark.parametrize(("written", "verification"), [("Hostname", Verification.CHAIN), ("All", Verification.NONE)])
def test_an_origin_that_is_not_verified_is_reported(written: str, verification: Verification) -> None:
    settings, findings = tls_of({"insecureSkipVerify": written})

    assert [(finding.code, finding.severity) for finding in findings] == [("unverified-origin", "warning")]
    assert (settings.verification, settings.unusable) == (verification, False)


def test_tcp_and_http() -> None:
    tcp = {"connectTimeout": "1s", "keepalive": {"retries": 2, "time": "3s", "interval": "4s"}}
    place, spec = place_of({"tcp": tcp, "http": {"version": "HTTP2", "requestTimeout": "10s"}})
    assert spec.tcp is not None
    assert spec.http is not None

    assert compile_tcp(place, spec.tcp) == TcpSettings(1.0, Keepalive(2, 3.0, 4.0))
    assert compile_http(place, spec.http) == HttpSettings(http2=True, request_timeout=10.0)
    assert place.findings == []


@pytest.mark.parametrize(
    ("tls", "http2", "code"),
    [
        (None, False, []),
        (TlsSettings(), True, []),
        (TlsSettings(alpn=("h2",)), True, []),
        (TlsSettings(alpn=("http/1.1",)), False, []),
        (None, True, ["protocol-conflict"]),
        (TlsSettings(alpn=("h2",)), False, ["protocol-conflict"]),
        (TlsSettings(alpn=("http/1.1",)), True, ["protocol-conflict"]),
        (TlsSettings(alpn=("h2", "http/1.1")), False, ["ignored-protocol"]),
        (TlsSettings(alpn=("h2", "http/1.1")), True, ["ignored-protocol"]),
    ],
)
def test_what_tls_and_http_say_together(tls: TlsSettings | None, *, http2: bool, code: list[str]) -> None:
    place, _ = place_of({})
    check_protocols(place, tls, HttpSettings(http2=http2))

    assert codes(place.findings) == code


PROXY = {"kind": "Service", "name": "proxy", "port": 3128}
STATIC = {"group": "agentgateway.dev", "kind": "AgentgatewayBackend", "name": "proxy"}
GRANT = json.dumps(
    {
        "apiVersion": "gateway.networking.k8s.io/v1beta1",
        "kind": "ReferenceGrant",
        "metadata": {"name": "proxies", "namespace": "other"},
        "spec": {
            "from": [{"group": "agentgateway.dev", "kind": "AgentgatewayBackend", "namespace": "infra"}],
            "to": [{"group": "", "kind": "Service", "name": "proxy"}],
        },
    }
)


@pytest.mark.parametrize(
    ("tunnel", "manifests", "host", "port"),
    [
        ({"backendRef": PROXY}, [service("proxy", 3128)], "proxy.infra.svc.cluster.local", 3128),
        ({"backendRef": PROXY}, [], "proxy.infra.svc.cluster.local", 3128),
        ({"backendRef": PROXY | {"namespace": "other"}}, [GRANT], "proxy.other.svc.cluster.local", 3128),
        ({"backendRef": STATIC}, [backend("proxy", {"static": {"host": "P.test.", "port": 1}})], "p.test", 1),
        ({"url": "http://Proxy.test:8080"}, [], "proxy.test", 8080),
        ({"url": "http://proxy.test/"}, [], "proxy.test", 80),
        ({"url": "http://[2001:db8::1]:8080"}, [], "2001:db8::1", 8080),
    ],
)
def test_a_tunnel_names_its_proxy(tunnel: dict[str, Any], manifests: list[str], host: str, port: int) -> None:
    assert tunnel_of(tunnel, *manifests) == (Tunnel(host, port), [])


@pytest.mark.parametrize(
    ("tunnel", "manifests", "code"),
    [
        ({"backendRef": {"name": "proxy"}}, [], "missing-field"),
        ({"backendRef": PROXY}, [service("proxy", 80)], "dangling-reference"),
        ({"backendRef": PROXY}, [service("proxy")], "dangling-reference"),
        ({"backendRef": PROXY | {"namespace": "other"}}, [], "reference-not-granted"),
        ({"backendRef": PROXY | {"namespace": "other", "name": "else"}}, [GRANT], "reference-not-granted"),
        ({"backendRef": PROXY | {"kind": "Pod"}}, [], "invalid-backend"),
        ({"backendRef": STATIC}, [], "dangling-reference"),
        ({"backendRef": STATIC}, [backend("proxy", {"dynamicForwardProxy": {}})], "invalid-backend"),
        (
            {"backendRef": STATIC},
            [backend("proxy", {"static": {"host": "p.test", "port": 1}, "policies": {"tls": {}}})],
            "not-available",
        ),
        ({"url": "https://proxy.test:8080"}, [], "not-available"),
        ({"url": "http://proxy.test:8080/path"}, [], "invalid-value"),
        ({"url": "http://proxy.test:99999"}, [], "invalid-value"),
        ({"url": "http://proxy.test:0"}, [], "invalid-value"),
        ({"url": "http://pro xy:1"}, [], "invalid-value"),
        ({"url": "http://[::1:1"}, [], "invalid-value"),
    ],
)
def test_a_tunnel_without_a_proxy_lets_nothing_through(tunnel: dict[str, Any], manifests: list[str], code: str) -> None:
    made, findings = tunnel_of(tunnel, *manifests)

    assert codes(findings) == [code]
    assert made.unusable


def test_the_partner_is_called_with_a_certificate_of_ours() -> None:
    texts = [(EXAMPLES / "17-backend-mtls.yaml").read_text(), (WORKSHOP / "01-setup.yaml").read_text()]
    resources, findings = resources_of(several(*texts))
    assert findings == []
    parsed = resources.backends["egress-direct/partner"]
    place, policies = Place(parsed, resources, [], ("spec", "policies")), parsed.model.spec.policies
    assert policies.tls is not None
    assert policies.http is not None

    tls, http = compile_tls(place.at("tls"), policies.tls), compile_http(place.at("http"), policies.http)
    check_protocols(place, tls, http)
    upstream = upstream_of("api.partner.example", 8443, tls=tls, http=http)

    assert place.findings == []
    assert upstream is not None
    assert upstream.tls is not None
    assert upstream.tls.client_certificate is not None
    assert (upstream.tls.verify_names, http.request_timeout) == (("api.partner.example",), 10.0)


def test_the_proxy_is_the_service_of_its_manifest() -> None:
    resources, findings = resources_of((EXAMPLES / "21-upstream-connect-proxy.yaml").read_text())
    assert findings == []
    [parsed] = resources.policies.values()
    place, block = Place(parsed, resources, [], ("spec", "backend")), parsed.model.spec.backend
    assert block is not None
    assert block.tunnel is not None

    tunnel = compile_tunnel(place.at("tunnel"), block.tunnel)

    assert (tunnel, place.findings) == (Tunnel("corporate-proxy.egress-direct.svc.cluster.local", 3128), [])
