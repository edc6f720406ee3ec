from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from middleware.context import TARGET
from tests.support.tls import TEAM_B, svid

if TYPE_CHECKING:
    from tests.support.gateway import RunningGateway


@pytest.mark.parametrize("path", ["/zen", "/zen?a=b", "/repos/octocat/hello", "/repos/", "/re%70os/x"])
def test_listed_paths_pass(path: str, workshop: RunningGateway) -> None:
    workshop.caller.state[TARGET] = path.encode()

    assert workshop.client.get("https://api.github.com/").status_code == 200


@pytest.mark.parametrize(
    "path", ["/users/torvalds", "/", "/zen/", "/zen;x", "/Zen", "/repos", "/reposecret", "/zen%20"]
)
def test_other_paths_are_refused_and_the_rule_is_logged(path: str, workshop: RunningGateway) -> None:
    workshop.caller.state[TARGET] = path.encode()

    answer = workshop.client.get("https://api.github.com/")

    assert (answer.status_code, answer.text) == (403, "authorization failed")
    line = workshop.line(answer.headers["x-egress-decision-id"])
    assert (line["reason"], line["rule"]) == ("deny_matched", "egress-direct/github-path-allowlist#0")
    assert line["endpoint"] is None


@pytest.mark.parametrize(
    "path", ["/repos/../users/x", "/repos/%2e%2e/users/x", "/repos/..;/users/x", "//zen", "/repos//x"]
)
def test_a_path_that_only_begins_like_a_listed_one_is_refused_as_ambiguous(path: str, workshop: RunningGateway) -> None:
    workshop.caller.state[TARGET] = path.encode()

    assert workshop.client.get("https://api.github.com/").status_code == 400


def test_the_rule_of_one_host_does_not_touch_another(workshop: RunningGateway) -> None:
    assert workshop.client.get("https://httpbingo.org/users/torvalds").status_code == 200


def test_a_path_deny_that_holds_is_named_where_no_allow_did(workshop: RunningGateway) -> None:
    workshop.caller.chain = [svid(TEAM_B)]

    answer = workshop.client.get("https://api.github.com/users/torvalds")

    line = workshop.line(answer.headers["x-egress-decision-id"])
    assert line["rule"] == "egress-direct/github-path-allowlist#0"
