"""Found by attack: callers who leave at odd moments, origins that cut TLS, values that look alike."""

from __future__ import annotations

import socket
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.conformance.harness.certificates import ORIGIN_HOSTS, issue, workload
from tests.conformance.harness.client import TruncatedError
from tests.conformance.harness.client import request as spell
from tests.conformance.harness.gateway import WORKSHOP, Gateway, running_gateway
from tests.conformance.harness.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conformance.harness.certificates import Pki
    from tests.conformance.harness.origin import Exchange, Origin

DENY_PROD = """\
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayPolicy
metadata: {name: no-prod, namespace: egress-direct}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: egress}]
  traffic:
    authorization:
      action: Deny
      policy:
        matchExpressions:
          - '"x-env" in request.headers && request.headers["x-env"] == "prod"'
          - request.method == "DELETE"
"""
ARGUMENTS = {
    "httptools": ("--http", "httptools"),
    "httptools asyncio": ("--http", "httptools", "--loop", "asyncio"),
    "h11": ("--http", "h11"),
}


@pytest.fixture(scope="module", params=list(ARGUMENTS))
def gateway(
    request: pytest.FixtureRequest, pki: Pki, origin: Origin, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("departures")
    policy = directory / "deny.yaml"
    policy.write_text(DENY_PROD)
    origins = dict.fromkeys(ORIGIN_HOSTS, origin.port)
    arguments = ARGUMENTS[request.param]
    with running_gateway(pki, directory, origins, manifests=[WORKSHOP, policy], arguments=arguments) as running:
        yield running


def parser(request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["gateway"])


@pytest.mark.parametrize("value", ["prod", "prod ", "prod\t", " prod  "])
def test_white_space_around_a_value_slips_no_rule(value: str, gateway: Gateway, pki: Pki, origin: Origin) -> None:
    seen = len(origin.requests)
    with gateway.connect(pki.team_a) as caller:
        caller.send(spell("/zen", f"X-Env: {value}"))
        assert caller.read().status == 403
    assert len(origin.requests) == seen


@pytest.mark.parametrize("method", ["DELETE", "delete", "Delete"])
def test_the_spelling_of_a_method_slips_no_rule(method: str, gateway: Gateway, pki: Pki, origin: Origin) -> None:
    seen = len(origin.requests)
    with gateway.connect(pki.team_a) as caller:
        caller.send(spell("/zen", method=method))
        assert caller.read().status in {403, 405}
    assert len(origin.requests) == seen


@pytest.mark.parametrize("name", ["X_Forwarded-Client_Cert", "Transfer_Encoding", "X_Caller-Identity"])
def test_no_spelling_of_a_reserved_name_reaches_the_origin(
    name: str, gateway: Gateway, pki: Pki, origin: Origin
) -> None:
    with gateway.connect(pki.team_a) as caller:
        caller.send(spell("/zen", f"{name}: chunked"))
        assert caller.read().status == 200
    assert origin.requests[-1].values(name.lower()) == []


def test_a_caller_who_pipelines_and_leaves_ends_the_exchange_it_waited_for(
    gateway: Gateway, pki: Pki, origin: Origin
) -> None:
    asked, gone = threading.Event(), threading.Event()

    def endless(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        asked.set()
        exchange.wait_for_the_end()
        gone.set()

    origin.handlers["/repos/endless"] = endless
    caller = gateway.connect(pki.team_a)
    caller.send(spell("/repos/endless") + spell("/zen"))
    assert asked.wait(PATIENCE_SECONDS)
    caller.close()
    assert gone.wait(PATIENCE_SECONDS)


def test_a_caller_who_leaves_before_its_upload_is_taken_ends_the_exchange(
    gateway: Gateway, pki: Pki, origin: Origin
) -> None:
    asked, leave, gone = threading.Event(), threading.Event(), threading.Event()

    def reads_late(exchange: Exchange) -> None:
        asked.set()
        leave.wait(PATIENCE_SECONDS)
        time.sleep(0.5)  # the gateway knows by now, though the origin has not read a byte of the body
        exchange.wait_for_the_end()
        gone.set()

    origin.handlers["/repos/late"] = reads_late
    caller = gateway.connect(pki.team_a)
    caller.send(spell("/repos/late", "Content-Length: 50000", method="POST") + b"a" * 20_000)
    assert asked.wait(PATIENCE_SECONDS)
    caller.close()
    leave.set()
    assert gone.wait(PATIENCE_SECONDS)


def test_an_answer_that_is_cut_without_the_end_of_tls_is_not_taken_for_whole(
    gateway: Gateway, pki: Pki, origin: Origin
) -> None:
    def cut(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\n\r\npart of an answer")
        socket.socket.shutdown(exchange.sock, socket.SHUT_WR)  # TCP's end, without TLS's
        exchange.wait_for_the_end()

    origin.handlers["/repos/cut"] = cut
    with gateway.connect(pki.team_a) as caller:
        caller.send(spell("/repos/cut"))
        with pytest.raises(TruncatedError):
            caller.read()


def test_an_origin_that_closes_on_a_request_sees_it_twice_at_most(
    gateway: Gateway, pki: Pki, origin: Origin, request: pytest.FixtureRequest
) -> None:
    together = threading.Barrier(8)

    def slow(exchange: Exchange) -> None:
        together.wait(PATIENCE_SECONDS)
        exchange.answer(b"ok")

    def poison(exchange: Exchange) -> None:
        exchange.reset()

    target = f"/repos/poison-{parser(request).replace(' ', '-')}"
    origin.handlers["/repos/slow"], origin.handlers[target] = slow, poison
    callers = [gateway.connect(pki.team_a) for _ in range(8)]  # eight connections to the origin, then idle
    for caller in callers:
        caller.send(spell("/repos/slow"))
    assert {caller.read().status for caller in callers} == {200}
    for caller in callers:
        caller.close()

    assert gateway.ask(pki.team_a, target).status == 502
    assert 1 <= sum(received.target == target for received in origin.requests) <= 2


def test_an_open_connection_does_not_outlive_its_certificate(gateway: Gateway, pki: Pki, tmp_path: Path) -> None:
    leaf = issue(tmp_path, pki.mesh, workload("team-a", "team-a"), timedelta(seconds=3))
    with gateway.connect(leaf) as caller:
        assert caller.ask("/zen").status == 200
        time.sleep(3.5)
        assert caller.ask("/zen").status == 403


def test_a_long_path_leaves_a_line_that_a_pipe_takes_whole(gateway: Gateway, pki: Pki) -> None:
    with gateway.connect(pki.team_a) as caller:
        caller.send(spell("/repos/" + "a" * 20_000, "X-Request-Id: long-path"))
        assert caller.read().status == 200
    line = gateway.access_line("request_id", "long-path")
    assert len(line["http.path"]) < 1000
