"""Nobody passes whose certificate is no X.509-SVID of an accepted trust domain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.cli.certificates import SERVER_AUTH
from middleware.context import CONNECTION, Connection
from tests.support.gateway import manifests, running
from tests.support.tls import TEAM_A, TEAM_B, svid

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.gateway import RunningGateway

NOBODY: dict[str, Callable[[], list[str]]] = {
    "no certificate": list,
    "no URI SAN": lambda: [svid()],
    "two URI SANs": lambda: [svid(TEAM_A, TEAM_B)],
    "an authority": lambda: [svid(TEAM_A, is_ca=True)],
    "no client's certificate": lambda: [svid(TEAM_A, usages=(SERVER_AUTH,))],
    "a foreign trust domain": lambda: [svid("spiffe://evil.example/ns/team-a/sa/team-a")],
    "a longer trust domain": lambda: [svid("spiffe://cluster.local.evil.example/ns/team-a/sa/team-a")],
    "a malformed SPIFFE ID": lambda: [svid("spiffe://cluster.local/ns/team-a//sa/team-a")],
    "only the second certificate of the chain": lambda: [svid(), svid(TEAM_A)],
    "garbage": lambda: ["garbage"],
}


@pytest.mark.parametrize("chain", NOBODY.values(), ids=NOBODY)
def test_without_a_usable_identity_the_answer_is_403_and_no_origin_is_called(
    chain: Callable[[], list[str]], workshop: RunningGateway
) -> None:
    workshop.caller.chain = chain()

    answer = workshop.client.get("https://httpbingo.org/headers")

    assert (answer.status_code, answer.text) == (403, "authorization failed")
    line = workshop.line(answer.headers["x-egress-decision-id"])
    assert (line["reason"], line["decision"], line["src.identity"]) == ("identity_required", "deny", None)
    assert (line["endpoint"], line["rule"]) == (None, None)


def test_a_certificate_that_the_server_could_not_verify_names_nobody(workshop: RunningGateway) -> None:
    workshop.caller.error = "certificate has expired"

    answer = workshop.client.get("https://httpbingo.org/headers")

    assert (answer.status_code, answer.text) == (403, "authorization failed")


def test_without_tls_nobody_is_known(workshop: RunningGateway) -> None:
    workshop.caller.state[CONNECTION] = Connection("127.0.0.1", 1, "127.0.0.1", 2, "http")

    assert workshop.client.get("https://httpbingo.org/headers").status_code == 403


def test_identity_comes_before_everything_else_that_could_be_wrong(workshop: RunningGateway) -> None:
    workshop.caller.chain = []

    for method, url in [("TRACE", "https://api.github.com/zen"), ("GET", "https://unknown.example/")]:
        assert workshop.client.request(method, url).status_code == 403


def test_the_certificate_that_the_listener_published_wins_over_the_scope(workshop: RunningGateway) -> None:
    """Else an application server that fills the scope from elsewhere could name another caller."""
    tls = {"client_cert_chain": [svid(TEAM_B)], "client_cert_error": None}
    workshop.caller.state[CONNECTION] = Connection("192.0.2.7", 1, "127.0.0.1", 2, "https", tls)

    answer = workshop.client.get("https://httpbingo.org/headers")

    assert answer.status_code == 403
    line = workshop.line(answer.headers["x-egress-decision-id"])
    assert (line["src.identity"], line["src.addr"]) == (TEAM_B, "192.0.2.7:1")


@pytest.mark.parametrize(
    ("identity", "status"),
    [
        ("spiffe://one.example/a", 503),
        ("spiffe://two.example/ns/team-a/sa/team-a", 503),
        (TEAM_A, 403),
    ],
)
def test_only_the_trust_domains_of_the_settings_are_accepted(identity: str, status: int, tmp_path: Path) -> None:
    settings = {"trust_domains": "one.example,two.example", "dial_allow": ""}
    with running(tmp_path, manifests(tmp_path), {"origin.test:8080": 1}, **settings) as gateway:
        gateway.caller.chain = [svid(identity)]

        assert gateway.client.get("https://origin.test/").status_code == status
