"""What a start that is not strict makes of the documents that must be refused, each beside the workshop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from config.errors import ConfigErrors, Severity
from config.loading import load
from tests.config.examples import TEAM_A, TEAM_B, WORKSHOP, only, request, settings

if TYPE_CHECKING:
    from config.snapshot import Snapshot

NEGATIVE = Path(__file__).parent / "negative" / "90-negative.yaml"
DOCUMENTS = NEGATIVE.read_text().split("---\n")
HOSTS = ("api.github.com", "httpbingo.org")
BAD_CEL, MIXED_TARGETS, FRONTEND_TARGET, CONDITIONAL_ORDER, BAD_TLS, BAD_SECRET = range(6)


def written(directory: Path, number: int, extra: str = "") -> tuple[str, ...]:
    path = directory / "negative.yaml"
    path.write_text(f"{DOCUMENTS[number]}---\n{extra}" if extra else DOCUMENTS[number])
    return (str(WORKSHOP), str(path))


def served(directory: Path, number: int, extra: str = "") -> Snapshot:
    snapshot, findings = load(settings(config=written(directory, number, extra), strict=False))
    assert any(finding.severity is Severity.ERROR for finding in findings)
    return snapshot


def decisions(snapshot: Snapshot) -> list[bool]:
    """Return what the workshop's callers are told of the paths that its rules are about."""
    return [
        only(snapshot.exact[host]).authorization.decide(request(path, caller=caller, host=host)).allowed
        for host in HOSTS
        for path in ("/zen", "/repos/octocat/hello", "/users/torvalds")
        for caller in (TEAM_A, TEAM_B)
    ]


@pytest.fixture(scope="module")
def usual() -> list[bool]:
    snapshot, findings = load(settings(config=(str(WORKSHOP),)))
    assert findings == ()
    return decisions(snapshot)


def test_there_are_six_documents() -> None:
    assert [f"# ({number})" in document for number, document in enumerate(DOCUMENTS, 1)] == [True] * 6


@pytest.mark.parametrize("number", range(6))
def test_each_of_them_stops_a_strict_start(number: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors):
        load(settings(config=written(tmp_path, number)))


def test_an_allow_that_does_not_parse_lets_nobody_in(tmp_path: Path, usual: list[bool]) -> None:
    snapshot = served(tmp_path, BAD_CEL)
    rules = [rule.name for rule in only(snapshot.exact["api.github.com"]).authorization.allows.rules]

    # It stands beside the workshop's own Allow and adds nobody; alone it would refuse everybody.
    assert "egress-direct/bad-cel#0" in rules
    assert decisions(snapshot) == usual


def test_alone_an_allow_that_does_not_parse_refuses_everybody(tmp_path: Path) -> None:
    files = [str(WORKSHOP / f"{name}.yaml") for name in ("01-setup", "02-egress-direct")]
    snapshot, _ = load(settings(config=(*files, *written(tmp_path, BAD_CEL)[1:]), strict=False))

    authorization = only(snapshot.exact["api.github.com"]).authorization
    assert not any(authorization.decide(request("/zen", caller=caller)).allowed for caller in (TEAM_A, TEAM_B))


@pytest.mark.parametrize("number", [MIXED_TARGETS, FRONTEND_TARGET])
def test_a_refused_policy_whose_absence_opens_nothing_is_left_out(
    number: int, tmp_path: Path, usual: list[bool]
) -> None:
    snapshot = served(tmp_path, number)

    assert decisions(snapshot) == usual
    assert all(route.timeout is None and route.direct_response is None for route in snapshot.routes)


def test_what_a_refused_direct_response_may_have_answered_is_not_sent_to_the_origin(tmp_path: Path) -> None:
    assert not any(decisions(served(tmp_path, CONDITIONAL_ORDER)))


ROUTE = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: bad, namespace: egress-direct, labels: {{istio.io/use-waypoint: egress}}}}
spec:
  hosts: [bad.example.org]
  resolution: DNS
  ports: [{{number: 80, name: http, protocol: HTTP}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: bad, namespace: egress-direct}}
spec:
  parentRefs: [{{group: networking.istio.io, kind: ServiceEntry, name: bad}}]
  rules: [{{backendRefs: [{{group: agentgateway.dev, kind: AgentgatewayBackend, name: {}}}]}}]
"""


@pytest.mark.parametrize(
    ("number", "name", "fault"),
    [(BAD_TLS, "bad-tls", "no_valid_backends"), (BAD_SECRET, "bad-secret", "backend_authentication_failed")],
)
def test_a_route_to_a_backend_that_cannot_be_used_answers_500(
    number: int, name: str, fault: str, tmp_path: Path, usual: list[bool]
) -> None:
    snapshot = served(tmp_path, number, ROUTE.format(name))
    backend = only(snapshot.exact["bad.example.org"]).backend

    assert backend is not None
    assert (backend.fault, backend.upstream, backend.endpoints, backend.dynamic) == (fault, None, (), None)
    assert decisions(snapshot) == usual
