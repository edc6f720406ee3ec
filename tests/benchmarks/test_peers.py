"""What the proxies of the benchmark are told."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.benchmarks.jobs import request_head
from tests.benchmarks.load_connection import Connection
from tests.benchmarks.options import Options
from tests.benchmarks.origin import fault
from tests.benchmarks.peers import envoy, gateway, haproxy, mitmproxy, nginx, variants
from tests.benchmarks.peers.base import PeerUnavailableError, Work
from tests.benchmarks.pki import Pki

if TYPE_CHECKING:
    from pathlib import Path

RULES = (gateway.WORKSHOP / gateway.RULES).read_text()
GOOD = [(b"host", b"h"), (b"x-caller-identity", b"team-a/team-a"), (b"x-forwarded-by", b"agentgateway-egress")]


def work(directory: Path) -> Work:
    return Work(Options(rules=3, hosts=2), Pki.create(directory), 4430, 8443, directory)


def test_every_configuration_has_all_rules_and_hosts(tmp_path: Path) -> None:
    one = work(tmp_path)
    texts = [
        json.dumps(envoy.configuration(one)),
        nginx.configuration(one),
        json.dumps(mitmproxy.settings(one)),
        gateway.rules_manifest(RULES, one.teams()) + gateway.host_manifests(one.other_hosts()),
    ]
    assert all(team in text for team in ("other-000000", "other-000001", "team-a") for text in texts)
    assert all("h000000.bench.example" in text for text in texts)
    assert "acl caller" in haproxy.configuration(one)


def test_the_manifests_hold_one_expression_a_rule() -> None:
    teams = [f"x{number}" for number in range(gateway.RULES_PER_POLICY)] + ["team-a"]
    first, second = yaml.safe_load_all(gateway.rules_manifest(RULES, teams))

    def expressions(manifest: Any) -> list[str]:
        found: list[str] = manifest["spec"]["traffic"]["authorization"]["policy"]["matchExpressions"]
        return found

    assert [text.count(f'"x{number}"') for number, text in enumerate(expressions(first))] == [2] * len(teams[:-1])
    assert expressions(second) == [gateway.ITS_RULE]
    assert first["metadata"]["name"] != second["metadata"]["name"]


def test_the_origin_finds_every_fault() -> None:
    assert fault(GOOD, 0, b"h") is None
    assert fault([*GOOD, (b"x-bench-sent", b"7")], 7, b"h") is None
    for headers, received_bytes in (
        (GOOD[:2], 0),
        ([*GOOD[:1], (b"x-caller-identity", b"evil"), GOOD[2]], 0),
        ([*GOOD, (b"x-caller-identity", b"team-a/team-a")], 0),
        ([*GOOD, (b"x-internal-debug", b"1")], 0),
        ([*GOOD, (b"x-bench-sent", b"7")], 6),
    ):
        assert fault(headers, received_bytes, b"h")
    assert fault(GOOD, 0, b"other")


def test_a_caller_claims_to_be_somebody_else_and_the_direct_one_does_not() -> None:
    assert "X-Caller-Identity: evil\r\n" in request_head(5, upload=False, direct=False)
    assert "X-Internal-Debug" not in request_head(5, upload=False, direct=True)
    assert "Content-Length: 5\r\nx-bench-sent: 5\r\n\r\n" in request_head(5, upload=True, direct=False)


class _Transport(asyncio.Transport):
    def write(self, data: object) -> None:
        pass

    def abort(self) -> None:
        pass


def _answers(*parts: bytes) -> list[str]:
    """Return what the load generator makes of an answer of five bytes."""
    seen: list[str] = []
    connection = Connection(b"", 0, 5, lambda _: seen.append("done"), lambda _, reason: seen.append(reason))
    connection.connection_made(_Transport())
    connection.ask()
    for part in parts:
        connection.get_buffer(-1)[: len(part)] = part
        connection.buffer_updated(len(part))
    return seen


def test_the_load_generator_takes_a_whole_answer_only() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    assert _answers(head + b"12345") == ["done"]
    assert _answers(head[:20], head[20:] + b"12", b"345") == ["done"]
    assert _answers(head + b"1234") == []
    assert "1 bytes too many" in _answers(head + b"123456")
    assert "599" in _answers(b"HTTP/1.1 599 Wrong\r\nContent-Length: 5\r\n\r\n12345")[0]
    assert "not a body of 5 bytes" in _answers(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n1234")[0]
    assert "not asked for" in _answers(head + b"12345", head + b"12345")[1]


def test_a_variant_differs_from_the_gateway_in_one_thing() -> None:
    assert variants.compared(Options()) == variants.compared(Options(otel="1%")) == variants.started(Options()) == {}

    options = Options(otel="on", scale=True, hosts=10, rules=20, manifests=600)

    assert variants.compared(options) == {
        variants.NO_TRACES: replace(options, otel="off"),
        variants.ONE: replace(options, hosts=1, rules=1),
    }
    assert all(map(variants.is_gateway, variants.compared(options)))


def test_a_start_has_as_many_manifests_as_were_asked_for(tmp_path: Path) -> None:
    [options] = variants.started(Options(manifests=600)).values()
    hosts = Work(options, Pki.create(tmp_path), 4430, 8443, tmp_path).other_hosts()

    assert len(list(yaml.safe_load_all(gateway.host_manifests(hosts)))) == 600


def test_only_a_gateway_with_a_collector_makes_traces(tmp_path: Path) -> None:
    quiet = replace(work(tmp_path), options=Options(otel="on"))
    plain = gateway.launch(quiet)
    (tmp_path / "traced").mkdir()
    traced = gateway.launch(replace(quiet, collector="http://127.0.0.1:4318/x", directory=tmp_path / "traced"))

    assert not any(name.startswith("OTEL_") for name in plain.environment)
    assert traced.environment["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://127.0.0.1:4318/x"
    assert "parentbased_always_on" in traced.notes[0]


def test_a_peer_that_is_not_installed_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    one = work(tmp_path)
    for launch in (nginx.launch, haproxy.launch):
        with pytest.raises(PeerUnavailableError, match="not on PATH"):
            launch(one)
