"""Policies that meet on one route, over real sockets: what one adds, another neither loses nor tells."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.conformance.harness.client import request as spell
from tests.conformance.harness.examples import origin_pair, running_manifests
from tests.conformance.harness.origin import running_origin
from tests.conformance.harness.proxy import running_proxy
from tests.conformance.harness.waiting import eventually
from tests.support.tokens import claims, key_set, token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conformance.harness.certificates import Pki
    from tests.conformance.harness.gateway import Gateway
    from tests.conformance.harness.origin import Exchange, Origin
    from tests.conformance.harness.proxy import Proxy

HOST, KEY = "all.example", "the-gateways-own-key"
PAGE = "https://app.example"
MANIFEST = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: all, namespace: egress-direct, labels: {istio.io/use-waypoint: egress}}
spec: {hosts: [all.example], location: MESH_EXTERNAL, resolution: DNS, ports: [{number: 80, name: http}]}
---
apiVersion: v1
kind: Secret
metadata: {name: all, namespace: egress-direct}
stringData: {key: the-gateways-own-key}
---
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayBackend
metadata: {name: all, namespace: egress-direct}
spec:
  static: {host: all.example, port: 443}
  policies:
    tls: {}
    auth:
      passthrough: {}
      credentials:
        - {secretRef: {name: all, key: key}, location: {header: {name: X-Key}}}
        - {secretRef: {name: all, key: key}, location: {queryParameter: {name: key}}}
        - {secretRef: {name: all, key: key}, location: {cookie: {name: key}}}
    tunnel: {backendRef: {kind: Service, name: proxy, port: 3128}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: all, namespace: egress-direct}
spec:
  parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: all}]
  rules:
    - matches: [{path: {type: PathPrefix, value: /v1}}]
      filters:
        - {type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /api}}}
        - {type: RequestMirror, requestMirror: {backendRef: {name: shadow, port: 8080}}}
        - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Key, value: no-secret}]}}
      backendRefs: [{group: agentgateway.dev, kind: AgentgatewayBackend, name: all}]
    - matches: [{path: {type: PathPrefix, value: /old}}]
      filters:
        - {type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /new}}}
---
apiVersion: enterpriseagentgateway.solo.io/v1alpha1
kind: EnterpriseAgentgatewayPolicy
metadata: {name: all, namespace: egress-direct}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: all}]
  traffic:
    cors: {allowOrigins: ["https://app.example"], allowMethods: [GET]}
    jwtAuthentication:
      providers: [{issuer: "https://issuer.example", audiences: [egress], jwks: {inline: 'KEYS'}}]
    retry: {attempts: 2, backoff: 1ms, codes: [503]}
    timeouts: {request: 2s}
    buffer: {request: {maxBytes: 1Ki}}
    headerModifiers: {response: {set: [{name: X-Answered, value: here}]}}
    transformation:
      request: {set: [{name: X-Subject, value: jwt.sub}, {name: X-Seen, value: request.path}]}
      response: {set: [{name: X-Status, value: response.code}]}
    directResponse:
      conditional:
        - {condition: 'request.path == "/v1/direct"', policy: {status: 418, body: direct}}
"""


@dataclass(frozen=True, slots=True)
class Field:
    gateway: Gateway
    origin: Origin
    shadow: Origin
    proxy: Proxy


@pytest.fixture(scope="module")
def field(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    directory = tmp_path_factory.mktemp("combined")
    manifest = directory / "all.yaml"
    manifest.write_text(MANIFEST.replace("KEYS", key_set()))
    with ExitStack() as stack:
        origin = stack.enter_context(running_origin(origin_pair(directory, pki, HOST)))
        shadow = stack.enter_context(running_origin(None))
        proxy = stack.enter_context(running_proxy({f"{HOST}:443": origin.port}))
        places = {
            "proxy.egress-direct.svc.cluster.local:3128": proxy.port,
            "shadow.egress-direct.svc.cluster.local:8080": shadow.port,
        }
        gateway = stack.enter_context(running_manifests(pki, directory / "run", [manifest], places))
        yield Field(gateway, origin, shadow, proxy)


@pytest.fixture(autouse=True)
def _forget(field: Field) -> None:
    for origin in (field.origin, field.shadow):
        origin.requests.clear()
        origin.handlers.clear()


def bearer() -> str:
    return token(claims(exp=time.time() + 600))


def test_every_attempt_carries_everything_and_the_copy_no_secret(field: Field, pki: Pki) -> None:
    def busy(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.answer(b"said", status="200 OK" if exchange.request.values("x-retry-attempt") == ["2"] else "503 No")

    field.origin.handlers["/api/x"] = busy
    shown = bearer()
    fields = (f"Authorization: Bearer {shown}", "X-Key: forged", "x_key: forged", "Cookie: a=1; key=forged; b=2")
    with field.gateway.connect(pki.team_a) as caller:
        answer = caller.ask("/v1/x?a=%20&key=forged", *fields, method="POST", host=HOST, body=b"payload")

    assert (answer.status, answer.value("x-status"), answer.value("x-answered")) == (200, "200", "here")
    assert len(field.origin.requests) == 3
    for number, received in enumerate(field.origin.requests):
        assert (received.method, received.target, received.body) == ("POST", f"/api/x?a=%20&key={KEY}", b"payload")
        assert received.values("authorization") == [f"Bearer {shown}"]
        assert received.values("x-key") == [KEY]
        assert received.values("cookie") == [f"a=1; b=2; key={KEY}"]
        assert received.values("x-retry-attempt") == ([str(number)] if number else [])
        assert received.values("x-subject") == ["agent-7"]
        assert received.values("x-seen") == ["/v1/x"]
        assert b"forged" not in received.head
    [copy] = eventually("the copy", lambda: [each for each in field.shadow.requests if each.body == b"payload"])
    assert copy.target.startswith("/api/x?a=%20")
    assert copy.values("x-key") == ["no-secret"]
    assert copy.values("authorization") == []
    assert KEY.encode() not in copy.head
    assert shown.encode() not in copy.head
    assert {head.split(b"\r\n")[0] for head in field.proxy.heads} == {b"CONNECT all.example:443 HTTP/1.1"}


def test_local_answers_come_through_the_response_policies(field: Field, pki: Pki) -> None:
    def hang(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.wait_for_the_end()

    field.origin.handlers["/api/hang"] = hang
    own = (f"Origin: {PAGE}", f"Authorization: Bearer {bearer()}")
    for target, fields, status in (
        ("/v1/direct", own, 418),
        ("/old/x?y=1", own, 302),
        ("/v1/hang", own, 504),
        ("/v1/x", own[:1], 401),
        ("/v1/x", (*own, "Content-Length: 2000"), 413),
    ):
        answer = field.gateway.ask(pki.team_a, target, *fields, host=HOST)
        assert (answer.status, answer.value("x-status")) == (status, str(status)), target
        assert answer.value("x-answered") == "here"
        assert answer.value("access-control-allow-origin") == PAGE
        assert answer.value("x-egress-decision-id")
    assert [received.target.partition("?")[0] for received in field.origin.requests] == ["/api/hang"]


def test_a_redirect_names_the_host_that_the_caller_knows(field: Field, pki: Pki) -> None:
    answer = field.gateway.ask(pki.team_a, "/old/x?y=1", f"Authorization: Bearer {bearer()}", host=HOST)
    assert answer.value("location").endswith("//all.example/new?y=1")


def test_a_preflight_needs_no_token(field: Field, pki: Pki) -> None:
    fields = (f"Origin: {PAGE}", "Access-Control-Request-Method: GET")
    assert field.gateway.ask(pki.team_a, "/v1/x", *fields, host=HOST, method="OPTIONS").status == 200
    assert field.gateway.ask(pki.team_a, "/v1/x", *fields[:1], host=HOST, method="OPTIONS").status == 401


def test_refusals_come_in_the_callers_own_form(field: Field, pki: Pki) -> None:
    grpc = field.gateway.ask(pki.team_a, "/v1/x", "Content-Type: application/grpc", host=HOST, method="POST")
    assert (grpc.status, grpc.value("grpc-status")) == (200, "16")
    problem = field.gateway.ask(pki.team_a, "/v1/x", "Accept: application/problem+json", host=HOST)
    assert (problem.status, problem.value("content-type")) == (401, "application/problem+json")
    assert json.loads(problem.body)["type"].endswith("credentials_missing")
    assert field.origin.requests == []


def test_a_body_that_is_too_large_is_refused_before_it_is_asked_for(field: Field, pki: Pki) -> None:
    fields = (f"Authorization: Bearer {bearer()}", "Expect: 100-continue")
    with field.gateway.connect(pki.team_a) as caller:
        caller.send(spell("/v1/x", *fields, "Content-Length: 2000", method="POST", host=HOST))
        answer = caller.read()
        assert (answer.status, answer.interim) == (413, [])
    with field.gateway.connect(pki.team_a) as caller:
        caller.send(spell("/v1/x", *fields, "Content-Length: 3", method="POST", host=HOST))
        assert caller.read_head().status == 100
        caller.send(b"abc")
        assert caller.read().status == 200
    assert [received.body for received in field.origin.requests] == [b"abc"]
