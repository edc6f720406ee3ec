from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from middleware.context import TARGET
from tests.support.gateway import PORT, manifests, plain_service, running
from tests.support.origins import echo, serving_in_thread
from tests.support.tls import TEAM_A, TEAM_B, svid

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.gateway import RunningGateway


def test_the_caller_that_a_rule_allows_passes_and_the_rule_is_logged(workshop: RunningGateway) -> None:
    answer = workshop.client.get("https://httpbingo.org/headers", headers={"x-request-id": "the-allowed-one"})

    assert answer.status_code == 200
    line = workshop.line("the-allowed-one")
    assert (line["decision"], line["reason"], line["src.identity"]) == ("allow", "allow_matched", TEAM_A)
    assert line["rule"] == "egress-direct/rbac-team-a#0"


@pytest.mark.parametrize(
    "identity",
    [
        TEAM_B,
        "spiffe://cluster.local/ns/team-a/sa/team-b",
        "spiffe://cluster.local/ns/team-b/sa/team-a",
        "spiffe://cluster.local/team-a/team-a",
    ],
)
def test_a_caller_that_no_rule_allows_is_refused_before_any_origin_is_called(
    identity: str, workshop: RunningGateway
) -> None:
    workshop.caller.chain = [svid(identity)]

    answer = workshop.client.get("https://httpbingo.org/headers")

    assert (answer.status_code, answer.text) == (403, "authorization failed")
    line = workshop.line(answer.headers["x-egress-decision-id"])
    assert (line["decision"], line["reason"], line["src.identity"]) == ("deny", "no_allow_matched", identity)
    assert line["endpoint"] is None


def test_a_deny_wins_over_everything(plain: RunningGateway) -> None:
    answer = plain.client.get("https://denied.test/")

    assert (answer.status_code, answer.text) == (403, "authorization failed")
    line = plain.line(answer.headers["x-egress-decision-id"])
    assert (line["reason"], line["rule"]) == ("deny_matched", "test/deny#0")


SHADOW = """
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayPolicy
metadata: {name: trial, namespace: test, annotations: {egress-gateway.dev/mode: shadow}}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: egress}]
  traffic:
    authorization:
      action: Deny
      policy: {matchExpressions: ['request.path == "/old"', 'request.path.startsWith("/o")']}
"""
ESCAPES = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: escapes, namespace: test, annotations: {egress-gateway.dev/path-escapes: allow}}
spec:
  parentRefs: [{name: egress}]
  hostnames: [origin.test]
  rules: [{backendRefs: [{group: agentgateway.dev, kind: AgentgatewayBackend, name: origin}]}]
---
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayBackend
metadata: {name: origin, namespace: test}
spec: {static: {host: origin.test, port: 8080}}
---
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayPolicy
metadata: {name: guard, namespace: test}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: egress}]
  traffic:
    authorization:
      action: Deny
      policy:
        matchExpressions:
          - request.path.startsWith("/admin/")
          - request.path.contains("sent%2Fas")
          - request.method == "POST" && request.path.startsWith("/body/") && request.body == b"secret"
"""


def test_what_a_rule_in_shadow_mode_would_deny_is_served_and_logged(tmp_path: Path) -> None:
    config = manifests(tmp_path, plain_service("origin"), SHADOW)
    with (
        serving_in_thread(echo) as origin,
        running(tmp_path, config, {f"origin.test:{PORT}": origin.port}) as gateway,
    ):
        for name, shadow in (("old", ["test/trial#0", "test/trial#1"]), ("other", ["test/trial#1"]), ("new", None)):
            answer = gateway.client.get(f"https://origin.test/{name}", headers={"x-request-id": f"shadow-{name}"})
            assert answer.status_code == 200
            line = gateway.line(f"shadow-{name}")
            assert (line["decision"], line["reason"], line["shadow"]) == ("allow", "no_rules", shadow)


def test_policy_must_allow_both_readings_of_an_encoded_slash(tmp_path: Path) -> None:
    config = manifests(tmp_path, plain_service("origin"), ESCAPES)
    with (
        serving_in_thread(echo) as origin,
        running(tmp_path, config, {f"origin.test:{PORT}": origin.port}) as gateway,
    ):

        def status(target: bytes, method: str = "GET", content: bytes | None = None) -> int:
            gateway.caller.state[TARGET] = target
            return gateway.client.request(method, "https://origin.test/", content=content).status_code

        assert status(b"/a%2Fb") == 200
        assert status(b"/admin%2Fusers") == 403
        assert status(b"/sent%2fas/it") == 403
        assert status(b"/a%2F..%2Fadmin") == 400
        assert status(b"/a%41..%41admin%2F") == 200  # no slash: two letters
        # A rule that reads the body, too: it is there by the time that either reading is judged.
        assert status(b"/body%2Fx", "POST", b"secret") == 403
        assert status(b"/body%2Fx", "POST", b"other") == 200
        gateway.caller.state[TARGET] = b"/a%41..%41admin%2f"
        assert gateway.client.get("https://origin.test/").json()["line"] == "GET /aA..Aadmin%2F HTTP/1.1"
