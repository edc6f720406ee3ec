"""Examples 17, 21 and 22 over real sockets: client certificates, a proxy on the way, destinations that callers name."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from app.cli.certificates import CertificateAuthority, Leaf
from tests.conformance.harness.certificates import ORIGIN_HOSTS, issue
from tests.conformance.harness.examples import example, origin_pair, running_manifests
from tests.conformance.harness.origin import running_origin
from tests.conformance.harness.programs import squid, tinyproxy
from tests.conformance.harness.proxy import running_proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.conformance.harness.certificates import KeyPair, Pki
    from tests.conformance.harness.gateway import Gateway
    from tests.conformance.harness.origin import Origin
    from tests.conformance.harness.proxy import Proxy

BINGO, PARTNER = "httpbingo.org", "api.partner.example"
PARTNER_PLACE, PROXY_PLACE = f"{PARTNER}:8443", "corporate-proxy.egress-direct.svc.cluster.local:3128"
UNREACHED = (503, "upstream call failed")
PEM = re.compile(r"( +)-----BEGIN [A-Z ]+-----\n(?:.*\n)+?.*-----END [A-Z ]+-----\n")


@pytest.fixture(autouse=True)
def _forget(origin: Origin) -> None:
    origin.requests.clear()


def both(origin: Origin) -> dict[str, int]:
    return {f"{host}:443": origin.port for host in ORIGIN_HOSTS}


def mutual_example(directory: Path, client: KeyPair, authority: bytes) -> Path:
    """Write example 17 with a certificate, its key and an authority of the test's."""
    pems = [client.certificate.read_text(), client.key.read_text(), authority.decode()]

    def replaced(match: re.Match[str]) -> str:
        return "".join(f"{match[1]}{line}\n" for line in pems.pop(0).splitlines())

    copy = directory / "17-own.yaml"
    copy.write_text(PEM.sub(replaced, example("17").read_text()))
    assert pems == []
    return copy


def test_the_origin_is_shown_the_certificate_that_it_asks_for(pki: Pki, origin: Origin, tmp_path: Path) -> None:
    partner = CertificateAuthority.create("partner")
    (tmp_path / "partner.pem").write_bytes(partner.pem()[0])
    client = issue(tmp_path, partner, Leaf("egress-gateway"))
    pair = issue(tmp_path, partner, Leaf("api", names=(PARTNER,)))
    manifest = mutual_example(tmp_path, client, partner.pem()[0])
    with running_origin(pair, callers=tmp_path / "partner.pem") as running:
        places = both(origin) | {PARTNER_PLACE: running.port}
        with running_manifests(pki, tmp_path / "run", [manifest], places) as gateway:
            assert gateway.ask(pki.team_a, "/orders?a=1", host=PARTNER).status == 200
            assert running.targets() == ["/orders?a=1"]
            assert running.requests[0].values("host") == [f"{PARTNER}:8443"]
            assert running.handshakes == [PARTNER]
            assert gateway.ask(pki.team_a, "/zen").status == 200  # whose roots are the system's, as ever


def test_an_origin_of_another_authority_gets_nothing(pki: Pki, tmp_path: Path) -> None:
    with running_origin(origin_pair(tmp_path, pki, PARTNER)) as running:
        with running_manifests(pki, tmp_path / "run", [example("17")], {PARTNER_PLACE: running.port}) as gateway:
            answer = gateway.ask(pki.team_a, "/orders", host=PARTNER)
            assert (answer.status, answer.text) == UNREACHED
            line = gateway.line_of(answer)
            assert (line["reason"], line["backend"]) == ("upstream_call_failed", "egress-direct/partner")
        assert running.requests == []
        assert "PRIVATE KEY" not in gateway.output()


def test_without_its_certificate_a_route_is_closed_and_others_are_not(pki: Pki, origin: Origin, tmp_path: Path) -> None:
    copy = tmp_path / "17-no-secret.yaml"
    copy.write_text(example("17").read_text().split("\n---\n", 1)[1])
    with running_origin(origin_pair(tmp_path, pki, PARTNER)) as running:
        places = both(origin) | {PARTNER_PLACE: running.port}
        with running_manifests(pki, tmp_path / "run", [copy], places, {"EGRESS_STRICT": "false"}) as gateway:
            answer = gateway.ask(pki.team_a, "/orders", host=PARTNER)
            assert (answer.status, answer.text) == (500, "no valid backends")
            assert gateway.line_of(answer)["reason"] == "no_valid_backends"
            assert gateway.ask(pki.team_a, "/zen").status == 200
        assert running.connections == 0


@pytest.fixture(scope="module")
def proxy(origin: Origin) -> Iterator[Proxy]:
    with running_proxy({"api.github.com:443": origin.port}) as running:
        yield running


@pytest.fixture(scope="module")
def behind(pki: Pki, origin: Origin, proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Run the example; the origin's own place leads nowhere, as it is the proxy that dials it."""
    places = {"api.github.com:443": 1, f"{BINGO}:443": origin.port, PROXY_PLACE: proxy.port}
    directory = tmp_path_factory.mktemp("behind")
    with running_manifests(pki, directory, [example("21")], places) as gateway:
        yield gateway


def test_the_service_is_reached_through_the_proxy_with_its_tls_end_to_end(
    behind: Gateway, pki: Pki, origin: Origin, proxy: Proxy
) -> None:
    with behind.connect(pki.team_a) as caller:
        for _ in range(3):
            assert caller.ask("/zen?a=1", "Proxy-Authorization: Basic theirs", "Authorization: theirs").status == 200

    assert proxy.heads == [b"CONNECT api.github.com:443 HTTP/1.1\r\nHost: api.github.com:443\r\n\r\n"]
    assert origin.targets() == ["/zen?a=1"] * 3
    assert origin.requests[0].values("proxy-authorization") == []
    assert origin.handshakes[-1] == "api.github.com"


def test_other_services_and_refused_requests_do_not_touch_the_proxy(
    behind: Gateway, pki: Pki, origin: Origin, proxy: Proxy
) -> None:
    asked = len(proxy.heads)

    assert behind.ask(pki.team_a, "/get", host=BINGO).status == 200
    assert behind.ask(pki.team_a, "/users/x").status == 403
    assert behind.ask(pki.team_b, "/zen").status == 403
    assert len(proxy.heads) == asked
    assert origin.targets() == ["/get"]


def test_what_the_proxy_refuses_is_answered_here(pki: Pki, tmp_path: Path) -> None:
    with running_proxy({}) as refusing:
        places = {"api.github.com:443": 1, PROXY_PLACE: refusing.port}
        with running_manifests(pki, tmp_path, [example("21")], places) as gateway:
            answer = gateway.ask(pki.team_a, "/zen")
            assert (answer.status, answer.text) == UNREACHED
            assert "403" in gateway.line_of(answer)["error"]
        assert len(refusing.heads) >= 1


@pytest.mark.parametrize("program", [tinyproxy, squid])
def test_a_proxy_of_other_people_carries_it(
    pki: Pki, origin: Origin, tmp_path: Path, program: Callable[[Path, int], AbstractContextManager[int]]
) -> None:
    """Neither can be told where a host is, so the backend's is this machine; what is verified stays the service's."""
    local = f"""\
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayBackend
metadata: {{name: local, namespace: egress-direct}}
spec:
  static: {{host: 127.0.0.1, port: {origin.port}}}
  policies:
    tls: {{sni: api.github.com}}
    tunnel: {{backendRef: {{kind: Service, name: corporate-proxy, port: 3128}}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: local, namespace: egress-direct}}
spec:
  parentRefs: [{{group: networking.istio.io, kind: ServiceEntry, name: github}}]
  rules:
    - matches: [{{path: {{type: Exact, value: /zen}}}}]
      backendRefs: [{{group: agentgateway.dev, kind: AgentgatewayBackend, name: local}}]
"""
    manifest = tmp_path / "local.yaml"
    manifest.write_text(local)
    with ExitStack() as stack:
        places = {PROXY_PLACE: stack.enter_context(program(tmp_path, origin.port))}
        manifests = [example("21"), manifest]
        gateway = stack.enter_context(running_manifests(pki, tmp_path / "run", manifests, places))
        assert gateway.ask(pki.team_a, "/zen").status == 200
    assert origin.targets() == ["/zen"]
    assert origin.requests[0].values("host") == ["api.github.com"]


def test_the_caller_names_the_destination_within_the_guard(pki: Pki, origin: Origin, tmp_path: Path) -> None:
    with running_manifests(pki, tmp_path, [example("22")], both(origin)) as gateway:
        for host, target in ((BINGO, "/anything/x?y=1"), ("api.github.com", "/zen")):
            assert gateway.ask(pki.team_a, target, host=f"{host}:80").status == 200
            assert gateway.ask(pki.team_a, target, f"X-Request-Id: {host}", host=host).status == 200
            line = gateway.access_line("request_id", host)
            assert (line["backend"], line["route"]) == ("egress-direct/any-host", "egress-direct/any-host")
            assert (origin.requests[-1].values("host"), origin.handshakes[-1]) == ([host], host)
        assert gateway.ask(pki.team_a, "/anything", host=BINGO, method="DELETE").status == 403
        assert gateway.ask(pki.team_b, "/anything", host=BINGO).status == 403
        assert gateway.ask(pki.team_a, "/anything", host="169.254.169.254").status == 404
        assert gateway.ask(pki.team_a, "/anything", host="example.com").status == 404
        assert gateway.ask(pki.team_a, "/anything", host=f"{BINGO}:8443").status == 404
        assert (
            gateway.send(pki.team_a, b"GET http://127.0.0.1/anything HTTP/1.1\r\nHost: httpbingo.org\r\n\r\n").status
            == 400
        )
        assert len(origin.requests) == 4


def test_a_destination_on_a_private_address_is_refused_when_it_is_dialled(
    pki: Pki, origin: Origin, tmp_path: Path
) -> None:
    settings = {"EGRESS_DIAL_ALLOW": "10.0.0.0/8"}
    with running_manifests(pki, tmp_path, [example("22")], both(origin), settings) as gateway:
        connections = origin.connections
        answer = gateway.ask(pki.team_a, "/anything", host=BINGO)
        assert (answer.status, answer.text) == UNREACHED
        assert "127.0.0.1" in gateway.line_of(answer)["error"]
        assert origin.connections == connections
