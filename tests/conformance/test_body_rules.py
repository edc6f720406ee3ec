"""Rules that read the request's body: it is read for them, and the origin still gets all of it."""

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

REQUIRE_DRY_RUN = """\
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayPolicy
metadata: {name: dry-run, namespace: egress-direct}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: httpbingo}]
  traffic:
    authorization:
      action: Require
      policy:
        matchExpressions: ['request.method == "GET" || json(request.body).dryRun == true']
"""
HOST = "httpbingo.org"


@pytest.fixture(scope="module", params=["httptools", "h11"])
def gateway(
    request: pytest.FixtureRequest, pki: Pki, origin: Origin, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("body")
    policy = directory / "dry-run.yaml"
    policy.write_text(REQUIRE_DRY_RUN)
    origins = dict.fromkeys(ORIGIN_HOSTS, origin.port)
    arguments = ("--http", request.param)
    with running_gateway(pki, directory, origins, manifests=[WORKSHOP, policy], arguments=arguments) as running:
        yield running


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"dryRun": true}', 200),
        (b'{"dryRun": false}', 403),
        (b"no JSON", 403),
        (b"", 403),
        (b'{"dryRun": true, "padding": "' + b"a" * 1_500_000 + b'"}', 200),
        (b'{"dryRun": true, "padding": "' + b"a" * 3_000_000 + b'"}', 403),
    ],
)
def test_a_body_decides_and_reaches_the_origin_whole(
    body: bytes, status: int, gateway: Gateway, pki: Pki, origin: Origin
) -> None:
    seen = len(origin.requests)
    with gateway.connect(pki.team_a) as caller:
        caller.send(spell("/post", method="POST", host=HOST, body=body))
        assert caller.read().status == status
    if status == 200:
        assert origin.requests[-1].body == body
    else:
        assert len(origin.requests) == seen


def test_a_request_without_a_body_is_not_held_up(gateway: Gateway, pki: Pki) -> None:
    with gateway.connect(pki.team_a) as caller:
        caller.send(spell("/get", host=HOST))
        assert caller.read().status == 200
