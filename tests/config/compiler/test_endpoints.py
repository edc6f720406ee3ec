"""Servers that policies ask: what is the same for a proxy, a key set and a token endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from config.compiler.endpoints import resolve_endpoint
from config.compiler.place import Place
from config.model.client_auth import PolicyEndpointSpec
from config.policy.upstream import Upstream, UpstreamTls
from tests.config.examples import BACKEND, codes, resources_of, several

if TYPE_CHECKING:
    from config.compiler.endpoints import Endpoint
    from config.errors import Finding

FROM_OTHER = BACKEND.replace("namespace: infra", "namespace: other")
GRANT = """\
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: grant, namespace: other}
spec:
  from: [{group: agentgateway.dev, kind: AgentgatewayBackend, namespace: infra}]
  to: [{group: agentgateway.dev, kind: AgentgatewayBackend}]
"""
ON_BACKEND = {"group": "agentgateway.dev", "kind": "AgentgatewayBackend", "name": "origin"}
INSIDE = {"name": "inner", "port": 80}


def endpoint_of(*manifests: str, path: str = "/", **written: object) -> tuple[Endpoint | None, list[Finding]]:
    resources, findings = resources_of(several(BACKEND, *manifests))
    assert findings == []
    place = Place(resources.backends["infra/origin"], resources, findings)
    spec = PolicyEndpointSpec.model_validate(written)
    return resolve_endpoint(place, spec, "a server", path=path), findings


@pytest.mark.parametrize(
    ("url", "upstream", "target"),
    [
        ("https://A.example.", Upstream("a.example", 443, UpstreamTls("a.example")), "/"),
        ("http://a.example:443/x%20y", Upstream("a.example", 443), "/x%20y"),
        ("http://[2001:db8::1]", Upstream("2001:db8::1", 80), "/"),
    ],
)
def test_a_url_names_a_server_and_what_is_asked_for_there(url: str, upstream: Upstream, target: str) -> None:
    assert endpoint_of(url=url) == ((upstream, target), [])


@pytest.mark.parametrize(
    "url", ["http://a b", "http://a:0", "http://a:99999", "http://a/x y", "http://a/\t", "http://\u00e9", "http://[::1"]
)
def test_a_url_that_two_readers_could_read_differently_is_a_fault(url: str) -> None:
    endpoint, findings = endpoint_of(url=url)

    assert endpoint is None
    assert codes(findings) == ["invalid-value"]


def test_a_service_is_infrastructure_and_a_backend_is_guarded() -> None:
    service, _ = endpoint_of(backendRef=INSIDE, path="/x")
    backend, findings = endpoint_of(backendRef=ON_BACKEND)

    assert service == (Upstream("inner.infra.svc.cluster.local", 80, guarded=False), "/x")
    assert backend == (Upstream("api.example.org", 443, UpstreamTls("api.example.org")), "/")
    assert findings == []


@pytest.mark.parametrize("grants", [(), (GRANT,)])
def test_another_namespace_has_to_grant_the_reference(grants: tuple[str, ...]) -> None:
    endpoint, findings = endpoint_of(FROM_OTHER, *grants, backendRef=ON_BACKEND | {"namespace": "other"})

    assert (endpoint is not None) is bool(grants)
    assert codes(findings) == ([] if grants else ["reference-not-granted"])


@pytest.mark.parametrize(
    "policies",
    ["tls: {sni: b.example}", "tls: {insecureSkipVerify: All}", "tcp: {connectTimeout: 1s}", "tls: {}, auth: {key: a}"],
)
def test_what_a_backend_says_is_never_passed_over_in_silence(policies: str) -> None:
    backend = BACKEND.replace("name: origin", "name: asked").replace("tls: {}", policies)

    endpoint, findings = endpoint_of(backend, backendRef=ON_BACKEND | {"name": "asked"})

    assert endpoint is None
    assert codes(findings) == ["not-available"]


def test_a_path_that_could_not_be_sent_is_a_fault() -> None:
    endpoint, findings = endpoint_of(backendRef=INSIDE, path="/a b")

    assert endpoint is None
    assert codes(findings) == ["invalid-value"]
