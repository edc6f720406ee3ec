"""A start that is not strict, over real sockets: what is faulty is closed, and the rest serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.harness.certificates import ORIGIN_HOSTS
from tests.conformance.harness.gateway import ROOT, WORKSHOP, Gateway, failed_start, running_gateway

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conformance.harness.certificates import Pki
    from tests.conformance.harness.origin import Origin

NEGATIVE = ROOT / "tests" / "config" / "negative" / "90-negative.yaml"
STEPS = [WORKSHOP / f"{name}.yaml" for name in ("01-setup", "02-egress-direct")]
LINES = (18, 28, 46, 67, 87, 102)
"""Where the faults of the file stand."""
LAX = {"EGRESS_STRICT": "false"}
ROUTES = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: faulty, namespace: egress-direct}
spec:
  parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: github}]
  rules:
    - matches: [{path: {type: PathPrefix, value: /repos/tls}}]
      backendRefs: [{group: agentgateway.dev, kind: AgentgatewayBackend, name: bad-tls}]
    - matches: [{path: {type: PathPrefix, value: /repos/secret}}]
      backendRefs: [{group: agentgateway.dev, kind: AgentgatewayBackend, name: bad-secret}]
    - matches: [{path: {type: PathPrefix, value: /repos/ungranted}}]
      backendRefs: [{group: agentgateway.dev, kind: AgentgatewayBackend, name: theirs, namespace: team-a}]
    - matches: [{path: {type: PathPrefix, value: /repos/dangling}}]
      backendRefs: [{group: agentgateway.dev, kind: AgentgatewayBackend, name: nowhere}]
---
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayBackend
metadata: {name: theirs, namespace: team-a}
spec: {static: {host: api.github.com, port: 443}, policies: {tls: {}}}
"""


@pytest.fixture(autouse=True)
def _forget(origin: Origin) -> None:
    origin.requests.clear()


@pytest.fixture(scope="module")
def lax(pki: Pki, origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("lax")
    routes = directory / "routes.yaml"
    routes.write_text(ROUTES)
    manifests = [WORKSHOP, NEGATIVE, routes]
    origins = dict.fromkeys(ORIGIN_HOSTS, origin.port)
    with running_gateway(pki, directory / "run", origins, manifests=manifests, settings=LAX) as gateway:
        yield gateway


def test_a_strict_start_names_every_fault(pki: Pki, tmp_path: Path) -> None:
    written = failed_start(tmp_path, pki, manifests=[WORKSHOP, NEGATIVE])

    assert [line for line in LINES if f"90-negative.yaml:{line}" not in written] == []


def test_every_fault_is_named_where_it_lets_it_start(lax: Gateway) -> None:
    assert [line for line in LINES if f"90-negative.yaml:{line}" not in lax.stderr] == []


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/repos/tls", "no valid backends"),
        ("/repos/secret/x", "backend authentication failed"),
        ("/repos/ungranted", "no valid backends"),
        ("/repos/dangling", "no valid backends"),
    ],
)
def test_a_faulty_backend_closes_the_routes_that_lead_to_it(
    lax: Gateway, pki: Pki, origin: Origin, target: str, body: str
) -> None:
    answer = lax.ask(pki.team_a, target)

    assert (answer.status, answer.text) == (500, body)
    line = lax.line_of(answer)
    assert (line["reason"], line["endpoint"]) == (body.replace(" ", "_"), None)
    assert lax.ask(pki.team_b, target).status == 403  # policy comes first
    assert origin.requests == []


def test_what_is_not_faulty_serves(lax: Gateway, pki: Pki, origin: Origin) -> None:
    assert lax.ask(pki.team_a, "/zen").status == 200
    assert lax.ask(pki.team_a, "/repos/a/b").status == 200
    assert lax.ask(pki.team_a, "/x", host="httpbingo.org").status == 200  # (4) would have answered it
    assert lax.ask(pki.team_a, "/users/x").status == 403
    assert lax.ask(pki.team_b, "/zen").status == 403
    assert origin.targets() == ["/zen", "/repos/a/b", "/x"]


def test_an_allow_that_cannot_be_read_lets_nobody_in(pki: Pki, origin: Origin, tmp_path: Path) -> None:
    origins = {"api.github.com": origin.port}
    with running_gateway(pki, tmp_path, origins, manifests=[*STEPS, NEGATIVE], settings=LAX) as gateway:
        for identity in (pki.team_a, pki.team_b):
            answer = gateway.ask(identity, "/zen")
            assert (answer.status, answer.text) == (403, "authorization failed")
    assert origin.requests == []
