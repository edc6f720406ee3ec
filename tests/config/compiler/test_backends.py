"""What a reference or a service without a route means, and which level says how it is connected to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from config.errors import Severity
from config.policy.upstream import UpstreamTls
from tests.config.examples import (
    BACKEND,
    GATEWAY,
    ON_GATEWAY,
    ON_ROUTE,
    ON_RULE,
    ON_SERVICE,
    ROUTE,
    SERVICE,
    codes,
    only,
    several,
    snapshot_of,
)

if TYPE_CHECKING:
    from config.errors import Finding
    from config.snapshot import Backend

HOST = "api.example.org"
ON_BACKEND = "{group: agentgateway.dev, kind: AgentgatewayBackend, name: origin}"
ON_PLAIN_SERVICE = "{group: '', kind: Service, name: inner}"
PLAIN = BACKEND.replace("  policies: {tls: {}}\n", "")
TO_SERVICE = ROUTE.replace(
    "{group: agentgateway.dev, kind: AgentgatewayBackend, name: origin}", "{name: inner, port: 80}"
)
INNER = "apiVersion: v1\nkind: Service\nmetadata: {name: inner, namespace: infra}\nspec: {ports: [{port: 80}]}\n"


def policy(block: str, target: str, name: str = "settings") -> str:
    return f"""\
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayPolicy
metadata: {{name: {name}, namespace: infra}}
spec:
  targetRefs: [{target}]
  backend: {block}
"""


def backend_of(*texts: str, host: str = HOST) -> tuple[Backend, list[Finding]]:
    snapshot, findings = snapshot_of(several(GATEWAY, *texts))
    found = snapshot.find(host)
    assert found is not None
    backend = only(found).backend
    assert backend is not None
    return backend, findings


@pytest.mark.parametrize("target", [ON_GATEWAY, ON_SERVICE, ON_ROUTE, ON_RULE, ON_BACKEND])
def test_settings_of_every_level_reach_the_origin(target: str) -> None:
    backend, findings = backend_of(SERVICE, PLAIN, ROUTE, policy("{tls: {sni: other.test}}", target))

    assert findings == []
    assert [endpoint.upstream.tls for endpoint in backend.endpoints] == [UpstreamTls("other.test")]


def test_the_strongest_level_wins_and_the_backend_itself_is_stronger_than_all() -> None:
    levels = [ON_RULE, ON_BACKEND, ON_GATEWAY, ON_ROUTE, ON_SERVICE]
    policies = [policy(f"{{tcp: {{connectTimeout: {at}s}}}}", on, f"p{at}") for at, on in enumerate(levels, 1)]
    own = BACKEND.replace("tls: {}", "tls: {}, tcp: {connectTimeout: 9s}")

    for count, expected in ((1, 1.0), (2, 2.0), (5, 2.0)):
        backend, _ = backend_of(SERVICE, BACKEND, ROUTE, *policies[:count])
        assert [endpoint.upstream.connect_timeout for endpoint in backend.endpoints] == [expected]
    backend, _ = backend_of(SERVICE, own, ROUTE, *policies)
    assert [endpoint.upstream.connect_timeout for endpoint in backend.endpoints] == [9.0]


@pytest.mark.parametrize("manifest", [(), (INNER,)])
def test_a_service_is_dialled_by_its_cluster_name_whether_it_is_among_the_manifests_or_not(
    manifest: tuple[str, ...],
) -> None:
    backend, findings = backend_of(SERVICE, TO_SERVICE, *manifest)

    assert findings == []
    [endpoint] = backend.endpoints
    name = "inner.infra.svc.cluster.local"
    assert (endpoint.upstream.host, endpoint.upstream.port, backend.authority) == (name, 80, name.encode())


def test_the_policy_of_a_services_port_is_stronger_than_the_services() -> None:
    on_port = ON_PLAIN_SERVICE.replace("}", ", sectionName: '80'}")
    texts = [
        policy("{tcp: {connectTimeout: 1s}}", ON_PLAIN_SERVICE, "a"),
        policy("{tcp: {connectTimeout: 2s}}", on_port, "b"),
    ]
    backend, findings = backend_of(SERVICE, TO_SERVICE, INNER, *texts)

    assert findings == []
    assert [endpoint.upstream.connect_timeout for endpoint in backend.endpoints] == [2.0]


@pytest.mark.parametrize(("old", "new"), [(", port: 80", ""), ("port: 80", "port: 81")])
def test_a_service_needs_a_port_that_it_has(old: str, new: str) -> None:
    backend, findings = backend_of(SERVICE, TO_SERVICE.replace(old, new), INNER)

    assert codes(findings) == ["missing-field" if not new else "dangling-reference"]
    assert (backend.fault, backend.endpoints) == ("no_valid_backends", ())


def test_a_backend_policy_that_points_nowhere_does_not_leave_the_origin_in_plain_text() -> None:
    text = several(GATEWAY, SERVICE, PLAIN, ROUTE, policy("{tls: {}}", ON_BACKEND.replace("origin", "orign")))
    snapshot, findings = snapshot_of(text)

    assert codes(findings) == ["dangling-reference"]
    assert only(snapshot.exact[HOST]).authorization.denies.rules


WITH_CREDENTIAL = BACKEND.replace("tls: {}", "tls: {}, auth: {key: a}")


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("tls: {}, ", "", "credential-without-tls"),
        ("static: {host: api.example.org, port: 443}", "dynamicForwardProxy: {}", "credential-for-any-host"),
    ],
)
def test_a_credential_goes_over_tls_only_and_to_a_host_that_is_known(old: str, new: str, code: str) -> None:
    backend, findings = backend_of(SERVICE, WITH_CREDENTIAL.replace(old, new), ROUTE)

    assert codes(findings) == [code]
    assert (backend.fault, backend.endpoints, backend.dynamic) == ("backend_authentication_failed", (), None)


def test_a_credential_for_an_origin_that_is_not_verified_is_a_warning() -> None:
    text = WITH_CREDENTIAL.replace("tls: {}", "tls: {insecureSkipVerify: All}")
    backend, findings = backend_of(SERVICE, text, ROUTE)

    assert [finding.code for finding in findings] == ["unverified-origin", "credential-unverified"]
    assert {finding.severity for finding in findings} == {Severity.WARNING}
    assert backend.endpoints


# Without a route


def direct(spec: str, *texts: str, host: str = HOST, hosts: str = HOST) -> tuple[Backend, list[Finding]]:
    service = SERVICE.partition("spec:")[0] + f"spec:\n  hosts: ['{hosts}']\n  {spec}\n"
    return backend_of(service, *texts, host=host)


HTTP_PORT = "ports: [{number: 8080, name: http}]"
TLS_PORT = "ports: [{number: 80, name: plain, protocol: TCP}, {number: 443, name: tls, protocol: TLS}]"


@pytest.mark.parametrize(
    ("ports", "tls", "port", "authority"),
    [
        (HTTP_PORT, False, 8080, b"api.example.org:8080"),
        ("ports: [{number: 80, name: http, targetPort: 443}]", True, 443, b"api.example.org"),
        ("ports: [{number: 80, name: http, targetPort: 8443}]", True, 8443, b"api.example.org:8443"),
        (TLS_PORT, True, 443, b"api.example.org"),
    ],
)
def test_a_service_without_a_route_is_called_itself(ports: str, *, tls: bool, port: int, authority: bytes) -> None:
    backend, findings = direct(ports, *([policy("{tls: {}}", ON_SERVICE)] if tls else []))

    assert findings == []
    [endpoint] = backend.endpoints
    assert (endpoint.upstream.host, endpoint.upstream.port, backend.authority) == (HOST, port, authority)
    assert endpoint.upstream.tls == (UpstreamTls(HOST) if tls else None)


def test_a_tls_port_is_not_called_in_plain_text() -> None:
    backend, findings = direct(TLS_PORT)

    assert codes(findings) == ["no-route"]
    assert backend.fault == "no_valid_backends"


ENDPOINTS = "[{address: 192.0.2.1, weight: 2}, {address: '2001:DB8:0::1', ports: {http: 81}}]"
STATIC = f"resolution: STATIC\n  {HTTP_PORT}\n  endpoints: {ENDPOINTS}"


@pytest.mark.parametrize(("hosts", "authority"), [(HOST, b"api.example.org:8080"), ("*.example.org", None)])
def test_a_static_service_is_called_at_its_endpoints(hosts: str, authority: bytes | None) -> None:
    """Also one of many names, which is not looked up elsewhere."""
    backend, findings = direct(STATIC, hosts=hosts)

    assert findings == []
    assert [(e.upstream.host, e.upstream.port, e.weight) for e in backend.endpoints] == [
        ("192.0.2.1", 8080, 2),
        ("2001:db8::1", 81, 1),
    ]
    assert (backend.authority, backend.dynamic) == (authority, None)


def test_the_certificate_of_a_static_service_is_verified_for_the_service_or_its_names() -> None:
    tls = policy("{tls: {}}", ON_SERVICE)
    backend, _ = direct(STATIC, tls)
    assert {endpoint.upstream.tls for endpoint in backend.endpoints} == {UpstreamTls(HOST)}

    backend, _ = direct(f"{STATIC}\n  subjectAltNames: [spiffe://cluster.local/ns/a/sa/b]", tls)
    names = {endpoint.upstream.tls.verify_names for endpoint in backend.endpoints if endpoint.upstream.tls}
    assert names == {("spiffe://cluster.local/ns/a/sa/b",)}


def test_a_wildcard_without_endpoints_is_called_at_the_requests_host() -> None:
    backend, findings = direct(HTTP_PORT, hosts="*.example.org")

    assert findings == []
    assert (backend.endpoints, backend.authority) == ((), None)
    assert backend.dynamic is not None
    upstream = backend.dynamic.for_host("a.example.org", 1)
    assert (upstream.host, upstream.port, upstream.guarded) == ("a.example.org", 8080, True)
