"""What annotations of ours do, over real sockets: rules that only tell, rules that end, paths with two readings."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.conformance.harness.certificates import ORIGIN_HOSTS
from tests.conformance.harness.gateway import WORKSHOP, Gateway, running_gateway
from tests.conformance.harness.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conformance.harness.certificates import Pki
    from tests.conformance.harness.origin import Origin

BINGO = "httpbingo.org"
STEPS = [WORKSHOP / f"{name}.yaml" for name in ("01-setup", "02-egress-direct")]
ENDS_AFTER_SECONDS = 3.0


def policy(name: str, route: str, action: str, expression: str, annotation: str = "") -> str:
    return f"""\
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayPolicy
metadata: {{name: {name}, namespace: egress-direct, annotations: {{{annotation}}}}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: {route}}}]
  traffic: {{authorization: {{action: {action}, policy: {{matchExpressions: ['{expression}']}}}}}}
---
"""


def second_step(directory: Path) -> Path:
    """Write the second service of the workshop with a route that takes encoded slashes."""
    text = (WORKSHOP / "06-verify-headers.yaml").read_text()
    route = "kind: HTTPRoute\nmetadata:\n"
    assert text.count(route) == 1
    copy = directory / "06-escapes.yaml"
    copy.write_text(text.replace(route, f"{route}  annotations: {{egress-gateway.dev/path-escapes: allow}}\n"))
    return copy


@pytest.fixture(autouse=True)
def _forget(origin: Origin) -> None:
    origin.requests.clear()


def run(pki: Pki, origin: Origin, directory: Path, policies: str) -> Iterator[Gateway]:
    manifest = directory / "policies.yaml"
    manifest.write_text(policies)
    manifests = [*STEPS, second_step(directory), manifest]
    origins = dict.fromkeys(ORIGIN_HOSTS, origin.port)
    with running_gateway(pki, directory / "run", origins, manifests=manifests) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def annotated(pki: Pki, origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    shadow = "egress-gateway.dev/mode: shadow"
    ignoring = "egress-gateway.dev/on-error: ignore"
    policies = (
        policy("watched", "httpbingo", "Deny", 'request.path == "/watched"', shadow)
        + policy("watched-allow", "github", "Allow", 'source.identity.namespace == "team-b"', shadow)
        + policy("failing", "httpbingo", "Deny", 'request.headers["x-team"] == "bad"', ignoring)
        + policy("guarded", "httpbingo", "Deny", 'request.path.startsWith("/admin/")')
    )
    yield from run(pki, origin, tmp_path_factory.mktemp("annotated"), policies)


def test_a_rule_in_shadow_tells_what_it_would_have_denied(annotated: Gateway, pki: Pki) -> None:
    assert annotated.ask(pki.team_a, "/watched", "X-Request-Id: watched", host=BINGO).status == 200
    line = annotated.access_line("request_id", "watched")
    assert (line["decision"], line["shadow"]) == ("allow", ["egress-direct/watched#0"])

    assert annotated.ask(pki.team_a, "/other", "X-Request-Id: other", host=BINGO).status == 200
    assert not annotated.access_line("request_id", "other").get("shadow")


def test_an_allow_in_shadow_closes_nothing(annotated: Gateway, pki: Pki) -> None:
    assert annotated.ask(pki.team_a, "/zen", "X-Request-Id: allowed").status == 200
    assert annotated.access_line("request_id", "allowed")["shadow"]


def test_an_error_of_a_deny_is_let_pass_where_that_is_said(annotated: Gateway, pki: Pki) -> None:
    assert annotated.ask(pki.team_a, "/get", host=BINGO).status == 200
    assert annotated.ask(pki.team_a, "/get", "X-Team: bad", host=BINGO).status == 403


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/files/a%2Fb?c=%2F", 200),
        ("/files/a%2fb", 200),
        ("/admin/x", 403),
        ("/admin%2Fx", 403),
        ("/%61dmin%2Fx", 403),
        ("/files/..%2Fadmin", 400),
        ("/files%2F..%2Fadmin/x", 400),
        ("/files%2F%2Fx", 400),
        ("/files%5Cx", 400),
        ("/files%252Fx", 400),
    ],
)
def test_an_encoded_slash_is_let_through_where_both_readings_are_allowed(
    annotated: Gateway, pki: Pki, origin: Origin, target: str, status: int
) -> None:
    assert annotated.ask(pki.team_a, target, host=BINGO).status == status
    assert origin.targets() == ([target.replace("%2fb", "%2Fb")] if status == 200 else [])


def test_other_routes_do_not_take_them(annotated: Gateway, pki: Pki, origin: Origin) -> None:
    assert annotated.ask(pki.team_a, "/repos/a%2Fb").status == 400
    assert origin.requests == []


def test_the_end_of_a_deny_opens_and_the_end_of_an_allow_closes(pki: Pki, origin: Origin, tmp_path: Path) -> None:
    expires = time.time() + ENDS_AFTER_SECONDS
    annotation = f'egress-gateway.dev/expires-at: "{datetime.fromtimestamp(expires, UTC).isoformat()}"'
    policies = policy("closed", "httpbingo", "Deny", 'request.path == "/get"', annotation) + policy(
        "open", "github", "Allow", 'source.identity.namespace == "team-a"', annotation
    )
    for gateway in run(pki, origin, tmp_path, policies):
        denied, allowed = gateway.ask(pki.team_a, "/get", host=BINGO), gateway.ask(pki.team_a, "/zen")
        stranger = gateway.ask(pki.team_b, "/zen")
        # However slowly it started: what is answered before the end is answered by the policies that end.
        assert (denied.status, allowed.status, stranger.status) == (403, 200, 403) or time.time() >= expires

        def is_over(gateway: Gateway = gateway) -> bool:
            return gateway.ask(pki.team_a, "/get", host=BINGO).status == 200

        eventually("the end of the policies", is_over)
        assert time.time() >= expires
        for identity in (pki.team_a, pki.team_b):
            answer = gateway.ask(identity, "/zen")
            assert (answer.status, answer.text) == (403, "authorization failed")
