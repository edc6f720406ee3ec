"""Where manifests say that a service is, over real sockets: weights, endpoints, other namespaces, HTTP/2."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.conformance.harness.client import request as spell
from tests.conformance.harness.examples import origin_pair, running_manifests
from tests.conformance.harness.origin import running_origin
from tests.conformance.harness.programs import hypercorn, nghttpd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conformance.harness.certificates import Pki
    from tests.conformance.harness.gateway import Gateway
    from tests.conformance.harness.origin import Origin

HOSTS = ("one.example", "two.example", "direct.example", "static.example", "granted.example", "*.wild.example")


def service(name: str, more: str = "resolution: DNS", port: str = "number: 80, name: http", host: str = "") -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: egress-direct, labels: {{istio.io/use-waypoint: egress}}}}
spec: {{hosts: ["{host or f"{name}.example"}"], location: MESH_EXTERNAL, {more}, ports: [{{{port}}}]}}
---
"""


def backend(name: str, policies: str = "tls: {}", namespace: str = "egress-direct", port: int = 443) -> str:
    return f"""\
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayBackend
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  static: {{host: {name}.example, port: {port}}}
  policies: {{{policies}}}
---
"""


def route(name: str, *references: str) -> str:
    written = ", ".join(f"{{group: agentgateway.dev, kind: AgentgatewayBackend, {each}}}" for each in references)
    return f"""\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: egress-direct}}
spec:
  parentRefs: [{{group: networking.istio.io, kind: ServiceEntry, name: {name}}}]
  rules: [{{backendRefs: [{written}]}}]
---
"""


def with_tls(name: str) -> str:
    return f"""\
apiVersion: enterpriseagentgateway.solo.io/v1alpha1
kind: EnterpriseAgentgatewayPolicy
metadata: {{name: {name}-tls, namespace: egress-direct}}
spec:
  targetRefs: [{{group: networking.istio.io, kind: ServiceEntry, name: {name}}}]
  backend: {{tls: {{}}}}
---
"""


GRANT = """\
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: routes, namespace: team-a}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: egress-direct}]
  to: [{group: agentgateway.dev, kind: AgentgatewayBackend, name: granted}]
"""


@dataclass(frozen=True, slots=True)
class Field:
    gateway: Gateway
    one: Origin
    two: Origin


@pytest.fixture(scope="module")
def field(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    directory = tmp_path_factory.mktemp("destinations")
    pair = origin_pair(directory, pki, *HOSTS)
    with running_origin(pair) as one, running_origin(pair) as two:
        endpoints = ", ".join(
            f"{{address: 127.0.0.1, ports: {{http: {port}}}{more}}}"
            for port, more in ((one.port, ""), (two.port, ", weight: 1"), (1, ", weight: 0"))
        )
        manifest = directory / "destinations.yaml"
        manifest.write_text(
            service("weighted")
            + backend("one")
            + backend("two")
            + backend("never", port=1)
            + route("weighted", "name: one, weight: 3", "name: two", "name: never, weight: 0")
            + service("direct", port="number: 80, name: http, targetPort: 8443")
            + with_tls("direct")
            + service("static", f"resolution: STATIC, endpoints: [{endpoints}]")
            + with_tls("static")
            + service("wild", port="number: 80, name: http, targetPort: 8443", host="*.wild.example")
            + with_tls("wild")
            + service("granted")
            + backend("granted", namespace="team-a")
            + route("granted", "name: granted, namespace: team-a")
            + GRANT
        )
        places = {
            "one.example:443": one.port,
            "two.example:443": two.port,
            "direct.example:8443": one.port,
            "granted.example:443": two.port,
            "a.wild.example:8443": two.port,
        }
        with running_manifests(pki, directory / "run", [manifest], places) as gateway:
            yield Field(gateway, one, two)


@pytest.fixture(autouse=True)
def _forget(request: pytest.FixtureRequest) -> None:
    if "field" in request.fixturenames:
        field: Field = request.getfixturevalue("field")
        for origin in (field.one, field.two):
            origin.requests.clear()


def test_backends_get_their_share(field: Field, pki: Pki) -> None:
    with field.gateway.connect(pki.team_a) as caller:
        assert {caller.ask("/x", host="weighted.example").status for _ in range(200)} == {200}

    assert len(field.one.requests) > len(field.two.requests) > 0
    assert {tuple(received.values("host")) for received in field.one.requests} == {("one.example",)}
    assert {tuple(received.values("host")) for received in field.two.requests} == {("two.example",)}


def test_a_service_without_a_route_is_reached_at_its_target_port_over_tls(field: Field, pki: Pki) -> None:
    assert field.gateway.ask(pki.team_a, "/x?y=1", "X-Request-Id: direct", host="direct.example").status == 200

    assert field.one.targets() == ["/x?y=1"]
    assert field.one.requests[0].values("host") == ["direct.example:8443"]
    assert field.one.handshakes[-1] == "direct.example"
    line = field.gateway.access_line("request_id", "direct")
    assert (line["route"], line["backend"]) == ("egress-direct/direct", "egress-direct/direct")
    assert field.gateway.ask(pki.team_b, "/x", host="direct.example").status == 403


def test_a_service_of_many_hosts_is_reached_at_the_one_that_was_asked_for(field: Field, pki: Pki) -> None:
    for host in ("a.wild.example", "A.Wild.Example.:80"):
        assert field.gateway.ask(pki.team_a, "/x", host=host).status == 200
    assert [received.values("host") for received in field.two.requests] == [["a.wild.example:8443"]] * 2
    assert field.two.handshakes[-1] == "a.wild.example"
    assert field.gateway.ask(pki.team_a, "/x", host="wild.example").status == 404


def test_the_endpoints_of_a_service_share_its_requests_and_show_its_name(field: Field, pki: Pki) -> None:
    with field.gateway.connect(pki.team_a) as caller:
        assert {caller.ask("/x", host="static.example").status for _ in range(60)} == {200}

    for origin in (field.one, field.two):
        assert origin.requests
        assert {tuple(received.values("host")) for received in origin.requests} == {("static.example",)}
        assert origin.handshakes[-1] == "static.example"


def test_a_backend_of_another_namespace_that_grants_it(field: Field, pki: Pki) -> None:
    assert field.gateway.ask(pki.team_a, "/x", "X-Request-Id: granted", host="granted.example").status == 200
    assert field.two.targets() == ["/x"]
    assert field.gateway.access_line("request_id", "granted")["backend"] == "team-a/granted"


def http2_manifest(directory: Path) -> Path:
    manifest = directory / "http2.yaml"
    manifest.write_text(service("h2") + backend("h2", "tls: {}, http: {version: HTTP2}") + route("h2", "name: h2"))
    return manifest


def test_an_origin_is_spoken_to_in_http_2(pki: Pki, tmp_path: Path) -> None:
    with ExitStack() as stack:
        port = stack.enter_context(hypercorn(tmp_path, origin_pair(tmp_path, pki, "h2.example")))
        manifests, places = [http2_manifest(tmp_path)], {"h2.example:443": port}
        gateway = stack.enter_context(running_manifests(pki, tmp_path / "run", manifests, places))

        def size(number: int) -> int:
            return len(gateway.ask(pki.team_a, f"/bytes/{number}", host="h2.example").body)

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(size, [0, 1, 70_000, 1_000_000] * 6)) == [0, 1, 70_000, 1_000_000] * 6
        with gateway.connect(pki.team_a) as caller:
            caller.send(spell("/", "Transfer-Encoding: chunked", "TE: trailers", method="POST", host="h2.example"))
            caller.send(b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")
            answer = caller.read()
            assert (answer.status, answer.text, answer.value("x-host")) == (200, "2 7", "h2.example")
            assert caller.ask("/status/503", host="h2.example").status == 503
            assert caller.ask("/bytes/9", host="h2.example", method="HEAD").body == b""
        assert gateway.ask(pki.team_b, "/", host="h2.example").status == 403


def test_an_http_2_origin_of_other_people_serves_files(pki: Pki, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"y" * 300_000)
    with ExitStack() as stack:
        port = stack.enter_context(nghttpd(tmp_path, origin_pair(tmp_path, pki, "h2.example")))
        manifests, places = [http2_manifest(tmp_path)], {"h2.example:443": port}
        gateway = stack.enter_context(running_manifests(pki, tmp_path / "run", manifests, places))
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: gateway.ask(pki.team_a, "/file", host="h2.example"), range(24)))
        assert {(answer.status, len(answer.body)) for answer in answers} == {(200, 300_000)}
        assert gateway.ask(pki.team_a, "/nothing", host="h2.example").status == 404
