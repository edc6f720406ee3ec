"""Rules of routes over real sockets: which one takes a request, and what it says of deadlines, attempts and TLS."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from app.cli.certificates import Leaf
from tests.conformance.harness.certificates import issue
from tests.conformance.harness.examples import origin_pair, running_manifests
from tests.conformance.harness.origin import running_origin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conformance.harness.certificates import Pki
    from tests.conformance.harness.client import Answer
    from tests.conformance.harness.gateway import Gateway
    from tests.conformance.harness.origin import Exchange, Origin

HOST = "rules.example"
SERVICE = "plain.egress-direct.svc.cluster.local:8080"
ROUTE = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: rules, namespace: egress-direct, labels: {istio.io/use-waypoint: egress}}
spec:
  hosts: [rules.example]
  location: MESH_EXTERNAL
  resolution: DNS
  ports: [{number: 80, name: http}, {number: 8080, name: more}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: rules, namespace: egress-direct}
spec:
  parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: rules}]
  rules:
    - name: regex
      matches: [{path: {type: RegularExpression, value: "/v[0-9]+/[a-z]+"}}]
      filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Rule, value: regex}]}}]
      backendRefs: [{group: agentgateway.dev, kind: AgentgatewayBackend, name: good}]
    - name: header
      matches:
        - path: {type: PathPrefix, value: /v1}
          headers: [{name: X-Kind, value: special}]
          queryParams: [{name: q, value: "1"}]
          method: GET
      filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Rule, value: header}]}}]
      backendRefs: [{group: agentgateway.dev, kind: AgentgatewayBackend, name: good}]
    - name: prefix
      matches: [{path: {type: PathPrefix, value: /v1}}]
      filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Rule, value: prefix}]}}]
      backendRefs: [{group: agentgateway.dev, kind: AgentgatewayBackend, name: good}]
    - name: exact
      matches: [{path: {type: Exact, value: /v1/x}}]
      filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Rule, value: exact}]}}]
      backendRefs: [{group: agentgateway.dev, kind: AgentgatewayBackend, name: good}]
    - name: slow
      matches: [{path: {type: PathPrefix, value: /slow}}]
      timeouts: {request: 3s, backendRequest: 500ms}
      retry: {attempts: 1, codes: [503]}
      backendRefs: [{group: agentgateway.dev, kind: AgentgatewayBackend, name: good}]
    - name: service
      matches: [{path: {type: PathPrefix, value: /service}}]
      backendRefs: [{name: plain, port: 8080}]
    - matches: [{path: {type: PathPrefix, value: /names}}]
      backendRefs: [{group: agentgateway.dev, kind: AgentgatewayBackend, name: names}]
    - matches: [{path: {type: PathPrefix, value: /other-names}}]
      backendRefs: [{group: agentgateway.dev, kind: AgentgatewayBackend, name: other-names}]
    - matches: [{path: {type: PathPrefix, value: /any-name}}]
      backendRefs: [{group: agentgateway.dev, kind: AgentgatewayBackend, name: any-name}]
    - matches: [{path: {type: PathPrefix, value: /stranger}}]
      backendRefs: [{group: agentgateway.dev, kind: AgentgatewayBackend, name: stranger}]
    - matches: [{path: {type: PathPrefix, value: /anybody}}]
      backendRefs: [{group: agentgateway.dev, kind: AgentgatewayBackend, name: anybody}]
---
apiVersion: v1
kind: Service
metadata: {name: plain, namespace: egress-direct}
spec: {ports: [{port: 8080}]}
---
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayPolicy
metadata: {name: service-rule, namespace: egress-direct}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: rules, sectionName: service}]
  traffic: {headerModifiers: {request: {set: [{name: X-Section, value: service}]}}}
"""
BACKEND = """\
---
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayBackend
metadata: {{name: {name}, namespace: egress-direct}}
spec: {{static: {{host: {host}, port: 443}}, policies: {{tls: {{{tls}}}}}}}
"""
GOOD, STRANGER = "good.example", "stranger.example"
BACKENDS = (
    ("good", GOOD, ""),
    ("names", GOOD, "sni: asked.example, verifySubjectAltNames: [good.example]"),
    ("other-names", GOOD, "verifySubjectAltNames: [other.example]"),
    ("any-name", "misnamed.example", "insecureSkipVerify: Hostname"),
    ("stranger", STRANGER, ""),
    ("anybody", STRANGER, "insecureSkipVerify: All"),
)


@dataclass(frozen=True, slots=True)
class Field:
    gateway: Gateway
    good: Origin
    stranger: Origin
    plain: Origin

    def ask(self, pki: Pki, target: str, *fields: str, method: str = "GET") -> Answer:
        return self.gateway.ask(pki.team_a, target, *fields, host=HOST, method=method)


@pytest.fixture(scope="module")
def field(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    directory = tmp_path_factory.mktemp("rules")
    manifest = directory / "rules.yaml"
    manifest.write_text(ROUTE + "".join(BACKEND.format(name=name, host=host, tls=tls) for name, host, tls in BACKENDS))
    with ExitStack() as stack:
        good = stack.enter_context(running_origin(origin_pair(directory, pki, GOOD)))
        stranger = stack.enter_context(running_origin(issue(directory, pki.mesh, Leaf(STRANGER, names=(STRANGER,)))))
        plain = stack.enter_context(running_origin(None))
        places = {
            f"{GOOD}:443": good.port,
            "misnamed.example:443": good.port,
            f"{STRANGER}:443": stranger.port,
            SERVICE: plain.port,
        }
        gateway = stack.enter_context(running_manifests(pki, directory / "run", [manifest], places))
        yield Field(gateway, good, stranger, plain)


@pytest.fixture(autouse=True)
def _forget(field: Field) -> None:
    for origin in (field.good, field.stranger, field.plain):
        origin.requests.clear()


@pytest.mark.parametrize(
    ("target", "fields", "rule"),
    [
        ("/v1/x", (), "exact"),
        ("/v1/x", ("X-Kind: special",), "exact"),
        ("/v1/y?q=1", ("X-Kind: special", "X-Rule: forged"), "header"),
        ("/v1/y?q=2", ("X-Kind: special",), "prefix"),
        ("/v1/y?q=1", ("X-Kind: special, other",), "prefix"),
        ("/v1", (), "prefix"),
        ("/v22/abc", (), "regex"),
    ],
)
def test_the_closest_rule_takes_a_request(
    field: Field, pki: Pki, target: str, fields: tuple[str, ...], rule: str
) -> None:
    assert field.ask(pki, target, *fields).status == 200
    assert [received.values("x-rule") for received in field.good.requests] == [[rule]]
    assert field.good.targets() == [target]


@pytest.mark.parametrize("target", ["/", "/v22/abc/", "/v22/ABC", "/v1x", "/slower"])
def test_what_no_rule_takes_is_answered_here(field: Field, pki: Pki, target: str) -> None:
    answer = field.ask(pki, target)
    assert (answer.status, answer.text) == (404, "route not found")
    assert field.good.requests == []


def test_a_rule_limits_its_attempts_and_their_time(field: Field, pki: Pki) -> None:
    def hang(exchange: Exchange) -> None:
        exchange.wait_for_the_end()

    field.good.handlers["/slow/x"] = hang
    answer = field.ask(pki, "/slow/x")
    assert (answer.status, answer.text) == (504, "upstream call timeout")
    assert field.gateway.line_of(answer)["retry.attempt"] == 1
    assert [received.values("x-retry-attempt") for received in field.good.requests] == [[], ["1"]]


def test_a_service_of_the_cluster_is_a_backend_too(field: Field, pki: Pki) -> None:
    assert field.ask(pki, "/service/x").status == 200
    assert field.plain.requests[0].values("host") == [SERVICE]
    assert field.plain.requests[0].values("x-section") == ["service"]
    assert field.ask(pki, "/v1/x").status == 200
    assert field.good.requests[-1].values("x-section") == []


@pytest.mark.parametrize(
    ("target", "status"),
    [("/names", 200), ("/other-names", 503), ("/any-name", 200), ("/stranger", 503), ("/anybody", 200)],
)
def test_an_origin_must_be_who_the_manifest_says(field: Field, pki: Pki, target: str, status: int) -> None:
    answer = field.ask(pki, target)

    assert answer.status == status
    assert len(field.good.requests) + len(field.stranger.requests) == (status == 200)
    if status == 503:
        assert answer.text == "upstream call failed"
    if target == "/names":
        assert field.good.handshakes[-1] == "asked.example"


@pytest.mark.parametrize(("port", "status"), [("80", 200), ("443", 200), ("8080", 200), ("8081", 404)])
def test_the_ports_of_the_service_may_be_named(field: Field, pki: Pki, port: str, status: int) -> None:
    assert field.gateway.ask(pki.team_a, "/v1/x", host=f"{HOST}:{port}").status == status
    assert all(received.values("host") == [GOOD] for received in field.good.requests)
