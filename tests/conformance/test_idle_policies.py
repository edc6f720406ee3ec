"""Bodies that stand still while policy reads them: nothing is forwarded yet, and the caller is cut off all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.harness.certificates import ORIGIN_HOSTS
from tests.conformance.harness.client import request as spell
from tests.conformance.harness.gateway import WORKSHOP, Gateway, running_gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conformance.harness.certificates import Pki
    from tests.conformance.harness.origin import Origin

POLICY = """
apiVersion: enterpriseagentgateway.solo.io/v1alpha1
kind: EnterpriseAgentgatewayPolicy
metadata: {{name: reads-bodies, namespace: egress-direct}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: httpbingo}}]
  traffic: {}
"""
pytestmark = pytest.mark.parametrize(
    "gateway",
    [
        "{buffer: {request: {maxBytes: 65536}}}",
        "{authorization: {action: Deny, policy: {matchExpressions: ['string(request.body) == \"no\"']}}}",
        "{transformation: {request: {body: '\"new\"'}}}",
    ],
    indirect=True,
    scope="module",
    ids=["buffer", "rule", "replaced"],
)


@pytest.fixture(scope="module")
def gateway(
    request: pytest.FixtureRequest, pki: Pki, origin: Origin, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """Run a gateway whose limit is one second, the shortest there is."""
    directory = tmp_path_factory.mktemp("idle")
    policy = directory / "policy.yaml"
    policy.write_text(POLICY.format(request.param))
    with running_gateway(
        pki,
        directory / "run",
        dict.fromkeys(ORIGIN_HOSTS, origin.port),
        manifests=(WORKSHOP, policy),
        settings={"EGRESS_BODY_IDLE_TIMEOUT": "1"},
    ) as running:
        yield running


@pytest.mark.parametrize(
    "fields", [("Content-Length: 9",), ("Content-Length: 9", "Expect: 100-continue"), ("Transfer-Encoding: chunked",)]
)
def test_a_caller_that_stops_within_its_body_is_answered_408_and_closed(
    gateway: Gateway, pki: Pki, fields: tuple[str, ...]
) -> None:
    with gateway.connect(pki.team_a) as caller:
        caller.send(spell("/post", *fields, method="POST", host="httpbingo.org"))
        caller.send(b"4\r\nhalf\r\n" if "chunked" in fields[0] else b"half")
        answer = caller.read()
        assert (answer.status, answer.text) == (408, "request timeout")
        assert caller.is_ended()
    assert gateway.line_of(answer)["reason"] == "caller_idle"
