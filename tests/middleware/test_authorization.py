from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.tls import TEAM_A, TEAM_B, svid

if TYPE_CHECKING:
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
