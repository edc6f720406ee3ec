"""The access line, field by field, against the request that was sent."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.conformance.harness.certificates import ORIGIN_HOSTS, spiffe_id
from tests.conformance.harness.client import request as spell
from tests.conformance.harness.gateway import Gateway, running_gateway

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conformance.harness.certificates import Pki
    from tests.conformance.harness.origin import Origin

KEYS = {
    "time", "level", "request_id", "decision_id", "gateway", "route", "backend", "endpoint", "src.addr", "src.identity",
    "http.method", "http.host", "http.path", "http.version", "http.status", "bytes_in", "bytes_out", "duration_ms",
    "upstream_ms", "decision", "reason", "rule", "error",
}  # fmt: skip


def test_a_forwarded_request(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    with gateway.connect(pki.team_a) as caller:
        body = b"x" * 1234
        raw = spell(
            "/post?token=secret-value", "X-Request-Id: my.id_1-2", method="POST", host="HTTPBINGO.org:80", body=body
        )
        caller.send(raw)
        answer = caller.read()
        line = gateway.access_line("request_id", "my.id_1-2")

        assert line.keys() >= KEYS
        assert line["src.addr"] == caller.address
    assert line["gateway"] == "egress-direct/egress"
    assert line["route"] == line["backend"] == "egress-direct/httpbingo"
    assert line["endpoint"] == f"127.0.0.1:{origin.port}"
    assert line["src.identity"] == spiffe_id("team-a", "team-a")
    assert (line["http.method"], line["http.host"], line["http.path"]) == ("POST", "httpbingo.org", "/post")
    assert (line["http.version"], line["http.status"]) == ("HTTP/1.1", 200)
    assert (line["bytes_in"], line["bytes_out"]) == (1234, len(answer.body))
    assert (line["decision"], line["rule"], line["error"]) == ("allow", "egress-direct/rbac-team-a#0", None)
    assert line["level"] == "info"
    assert 0 < line["upstream_ms"] <= line["duration_ms"]
    assert abs(datetime.fromisoformat(line["time"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert "secret-value" not in gateway.output()


def test_a_path_that_policy_refuses(gateway: Gateway, pki: Pki) -> None:
    line = gateway.line_of(gateway.ask(pki.team_a, "/users/%74orvalds?x=secret-value"))

    assert (line["http.path"], line["http.status"], line["decision"]) == ("/users/torvalds", 403, "deny")
    assert (line["reason"], line["rule"]) == ("deny_matched", "egress-direct/github-path-allowlist#0")
    assert (line["endpoint"], line["upstream_ms"]) == (None, None)
    assert line["level"] == "warning"


@pytest.mark.parametrize(
    ("host", "target", "status", "reason"),
    [
        ("api.github.com", "/zen", 403, "no_allow_matched"),
        ("example.com", "/zen", 404, "route_not_found"),
        ("api.github.com", "/a/../b", 400, "invalid_request"),
        ("api..com", "/zen", 400, "invalid_request"),
    ],
)
def test_a_refusal(  # noqa: PLR0913, PLR0917  two fixtures, four values
    gateway: Gateway, pki: Pki, host: str, target: str, status: int, reason: str
) -> None:
    line = gateway.line_of(gateway.ask(pki.team_b, target, host=host))

    assert line.keys() >= KEYS
    assert (line["http.status"], line["decision"], line["reason"]) == (status, "deny", reason)
    assert line["src.identity"] == spiffe_id("team-b", "team-b")
    assert line["http.path"] == target


@pytest.mark.parametrize("request_id", ["", "a b", "x" * 129, "a/b", '"', "\xe9", "a,b"], ids=ascii)
def test_a_request_id_that_could_spoil_a_log_is_replaced(gateway: Gateway, pki: Pki, request_id: str) -> None:
    line = gateway.line_of(gateway.ask(pki.team_b, "/zen", f"X-Request-Id: {request_id}"))

    assert str(uuid.UUID(line["request_id"])) == line["request_id"]
    assert line["request_id"] != line["decision_id"]


def test_the_decision_id_is_new_for_every_request(gateway: Gateway, pki: Pki) -> None:
    spoofed = f"X-Egress-Decision-Id: {uuid.UUID(int=0)}"
    with gateway.connect(pki.team_b) as caller:
        seen = {caller.ask("/zen", spoofed).value("x-egress-decision-id") for _ in range(5)}

    assert len(seen) == 5
    assert str(uuid.UUID(int=0)) not in seen
    assert {str(uuid.UUID(decision_id)) for decision_id in seen} == seen


def test_a_local_answer_names_neither_rule_nor_backend_nor_address(gateway: Gateway, pki: Pki) -> None:
    answer = gateway.ask(pki.team_a, "/users/x", "Accept: application/problem+json")

    assert answer.value("content-type") == "application/problem+json"
    assert not re.search(r"egress-direct|allowlist|127\.0\.0\.1|Error", f"{answer.headers} {answer.text}")


def test_a_grpc_caller_is_answered_in_its_words(gateway: Gateway, pki: Pki) -> None:
    answer = gateway.ask(pki.team_b, "/zen", "Content-Type: application/grpc", method="POST")

    assert (answer.status, answer.value("grpc-status")) == (200, "7")
    assert answer.value("grpc-message") == "authorization failed"
    assert gateway.line_of(answer)["decision"] == "deny"


@pytest.mark.parametrize("destination", ["file", "stderr", "off"])
def test_the_log_goes_where_the_setting_says(pki: Pki, origin: Origin, tmp_path: Path, destination: str) -> None:
    file = tmp_path / "access.log"
    settings = {"EGRESS_ACCESS_LOG": str(file) if destination == "file" else destination}
    origins = dict.fromkeys(ORIGIN_HOSTS, origin.port)
    with running_gateway(pki, tmp_path / "run", origins, settings=settings) as gateway:
        assert gateway.ask(pki.team_a, "/zen", "X-Request-Id: one").status == 200
        gateway.terminate()
        assert gateway.access_lines() == []
        assert ('"request_id": "one"' in gateway.stderr) is (destination == "stderr")
        assert (file.exists() and '"request_id": "one"' in file.read_text()) is (destination == "file")
