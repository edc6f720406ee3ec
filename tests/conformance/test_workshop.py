"""The workshop's requests and their documented answers, under every way uvicorn can be started."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.harness.certificates import spiffe_id
from tests.conformance.harness.client import request
from tests.conformance.harness.gateway import Gateway, each_way

if TYPE_CHECKING:
    from tests.conformance.harness.certificates import Pki
    from tests.conformance.harness.client import Answer
    from tests.conformance.harness.origin import Origin

WAYS = (
    "",
    "--http h11",
    "--http httptools",
    "--loop asyncio",
    "--workers 2",
    "--log-level trace",
)


pytestmark = each_way(WAYS)


@pytest.fixture(autouse=True)
def _forget(origin: Origin) -> None:
    origin.requests.clear()


def echoed(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer.text
    document: dict[str, Any] = json.loads(answer.body)
    return document


def refused(answer: Answer, status: int, body: str) -> None:
    assert (answer.status, answer.text) == (status, body)
    assert answer.value("content-type").startswith("text/plain")
    assert answer.value("x-egress-decision-id")


@pytest.mark.parametrize("target", ["/zen", "/repos/octocat/Hello-World", "/repos/octocat/Hello-World?per_page=1"])
def test_the_allowed_workload_reaches_the_allowed_paths(
    gateway: Gateway, pki: Pki, origin: Origin, target: str
) -> None:
    document = echoed(gateway.ask(pki.team_a, target))

    assert document["target"] == target
    assert origin.targets() == [target]


@pytest.mark.parametrize("target", ["/users/torvalds", "/", "/zen/", "/zenith", "/repos", "/reposecret/x"])
def test_the_allowed_workload_is_refused_every_other_path(
    gateway: Gateway, pki: Pki, origin: Origin, target: str
) -> None:
    refused(gateway.ask(pki.team_a, target), 403, "authorization failed")
    assert origin.requests == []


@pytest.mark.parametrize(
    ("host", "target"),
    [("api.github.com", "/zen"), ("api.github.com", "/users/torvalds"), ("httpbingo.org", "/headers")],
)
def test_the_other_workload_reaches_nothing(gateway: Gateway, pki: Pki, origin: Origin, host: str, target: str) -> None:
    refused(gateway.ask(pki.team_b, target, host=host), 403, "authorization failed")
    assert origin.requests == []


def test_an_unknown_host_is_answered_here(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    refused(gateway.ask(pki.team_a, "/zen", host="example.com"), 404, "route not found")
    assert origin.requests == []


def test_the_origin_reads_who_called_and_not_what_the_caller_claims(gateway: Gateway, pki: Pki) -> None:
    spoofed = ("X-Caller-Identity: evil", "x_caller_identity: evil", "X-Internal-Debug: 1", "X-Forwarded-By: evil")
    headers = echoed(gateway.ask(pki.team_a, "/headers", *spoofed, host="httpbingo.org"))["headers"]

    assert headers["x-caller-identity"] == ["team-a/team-a"]
    assert headers["x-forwarded-by"] == ["agentgateway-egress"]
    assert headers["host"] == ["httpbingo.org"]
    assert headers["via"] == ["1.1 egress-gateway"]
    assert not {"x_caller_identity", "x-internal-debug"} & headers.keys()


def test_nothing_is_added_that_neither_caller_nor_policy_sent(gateway: Gateway, pki: Pki) -> None:
    headers = echoed(gateway.ask(pki.team_a, "/headers", host="httpbingo.org"))["headers"]

    assert headers.keys() == {"host", "via", "x-caller-identity", "x-forwarded-by"}


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_body_arrives_as_it_was_sent(gateway: Gateway, pki: Pki, origin: Origin, framing: str) -> None:
    body = bytes(range(256)) * 400
    with gateway.connect(pki.team_a) as caller:
        if framing == "length":
            caller.send(request("/post", method="POST", host="httpbingo.org", body=body))
        else:
            caller.send(request("/post", "Transfer-Encoding: chunked", method="POST", host="httpbingo.org"))
            for part in (body[:1], body[1:70_000], body[70_000:]):
                caller.send(b"%x\r\n%b\r\n" % (len(part), part))
            caller.send(b"0\r\n\r\n")
        assert caller.read().status == 200
    assert origin.requests[0].body == body


def test_a_connection_carries_many_requests_and_each_is_judged(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    targets = ["/zen", "/users/torvalds", "/repos/a/b", "/users/torvalds", "/zen"]
    with gateway.connect(pki.team_a) as caller:
        statuses = [caller.ask(target).status for target in targets]

    assert statuses == [200, 403, 200, 403, 200]
    assert origin.targets() == ["/zen", "/repos/a/b", "/zen"]


def test_connections_of_two_identities_are_never_confused(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    dice = random.Random(2)  # noqa: S311  a fixed shuffle, no secret
    callers = [
        (identity, gateway.connect(pair))
        for _ in range(12)
        for identity, pair in (("team-a", pki.team_a), ("team-b", pki.team_b))
    ]
    try:
        for _ in range(6):
            dice.shuffle(callers)
            for _, caller in callers:
                caller.send(request("/headers", host="httpbingo.org"))
            dice.shuffle(callers)
            answers = [(identity, caller.read().status) for identity, caller in callers]
            assert answers == [(identity, 200 if identity == "team-a" else 403) for identity, _ in callers]
    finally:
        for _, caller in callers:
            caller.close()
    assert len(origin.requests) == 6 * 12


def test_the_access_log_says_who_asked_for_what_and_why_it_was_decided(gateway: Gateway, pki: Pki) -> None:
    denied = gateway.ask(pki.team_b, "/zen")
    line = gateway.line_of(denied)

    assert line["src.identity"] == spiffe_id("team-b", "team-b")
    assert (line["http.host"], line["http.path"], line["http.status"]) == ("api.github.com", "/zen", 403)
    assert (line["decision"], line["reason"], line["rule"]) == ("deny", "no_allow_matched", None)


def test_the_gateway_is_live_and_ready(gateway: Gateway) -> None:
    assert gateway.status("/healthz") == (200, b"ok")
    status, body = gateway.status("/readyz")
    readiness = json.loads(body)
    assert (status, readiness["status"], readiness["last_reload"]["result"]) == (200, "ready", "ok")
    assert len(bytes.fromhex(readiness["revision"])) == 6
    assert gateway.status("/metrics")[0] == 404
