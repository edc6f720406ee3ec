"""From ready to ended: SIGTERM lets requests finish, waits for nobody who is idle, and loses no log line."""

from __future__ import annotations

import http.client
import json
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from tests.conformance.harness.certificates import ORIGIN_HOSTS
from tests.conformance.harness.client import TruncatedError
from tests.conformance.harness.client import request as spell
from tests.conformance.harness.gateway import Gateway, running_gateway
from tests.conformance.harness.waiting import PATIENCE_SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conformance.harness.certificates import Pki
    from tests.conformance.harness.origin import Exchange, Origin

ENDED = -signal.SIGTERM
"""uvicorn raises the signal again once everything is closed: the shell sees 143."""


@pytest.fixture(params=["httptools", "h11"])
def gateway(request: pytest.FixtureRequest, pki: Pki, origin: Origin, tmp_path: Path) -> Iterator[Gateway]:
    origins = dict.fromkeys(ORIGIN_HOSTS, origin.port)
    with running_gateway(pki, tmp_path, origins, arguments=("--http", request.param)) as running:
        yield running


def ended_in_order(gateway: Gateway) -> bool:
    return "Application shutdown complete." in gateway.stderr and "Traceback" not in gateway.stderr


def test_every_request_is_in_the_log_after_sigterm(gateway: Gateway, pki: Pki) -> None:
    wanted = [f"request-{number}" for number in range(300)]
    with gateway.connect(pki.team_a) as caller:
        for request_id in wanted:
            assert caller.ask("/zen", f"X-Request-Id: {request_id}").status == 200
    assert gateway.terminate() == ENDED
    assert ended_in_order(gateway)
    assert [line["request_id"] for line in gateway.access_lines()] == wanted


def test_idle_connections_do_not_hold_up_the_end(gateway: Gateway, pki: Pki) -> None:
    callers = [gateway.connect(pki.team_a) for _ in range(3)]
    try:
        assert callers[0].ask("/zen").status == 200
        # Nobody reads any more, so nobody confirms the end of TLS: asyncio would wait 30 s for it.
        assert gateway.terminate(seconds=15.0) == ENDED
    finally:
        for caller in callers:
            caller.close()
    assert ended_in_order(gateway)


def test_a_running_request_is_finished_before_the_end(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        asked.set()
        go_on.wait(PATIENCE_SECONDS)
        exchange.send(b"world")

    origin.handlers["/repos/slow"] = slow
    with gateway.connect(pki.team_a) as caller:
        caller.send(spell("/repos/slow", "X-Request-Id: last"))
        assert asked.wait(PATIENCE_SECONDS)
        gateway.process.send_signal(signal.SIGTERM)
        eventually("the end to begin", lambda: "Shutting down" in gateway.stderr)
        assert gateway.status("/readyz")[0] == http.client.SERVICE_UNAVAILABLE
        with pytest.raises(OSError):  # noqa: PT011  refused, or reset while being accepted
            gateway.connect(pki.team_a)
        go_on.set()
        assert caller.read().body == b"helloworld"
    assert gateway.process.wait(PATIENCE_SECONDS) == ENDED
    assert gateway.access_line("request_id", "last")["http.status"] == 200


def test_a_request_that_outlives_the_drain_is_cut_off_and_logged(pki: Pki, origin: Origin, tmp_path: Path) -> None:
    asked = threading.Event()

    def endless(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        asked.set()
        exchange.wait_for_the_end()

    origin.handlers["/repos/endless"] = endless
    origins = dict.fromkeys(ORIGIN_HOSTS, origin.port)
    with (
        running_gateway(pki, tmp_path, origins, settings={"EGRESS_DRAIN_TIMEOUT": "1"}) as gateway,
        gateway.connect(pki.team_a) as caller,
    ):
        caller.send(spell("/repos/endless", "X-Request-Id: endless"))
        assert asked.wait(PATIENCE_SECONDS)
        assert gateway.terminate() == ENDED
        with pytest.raises(TruncatedError):
            caller.read()
        line = gateway.access_line("request_id", "endless")
        assert line["error"]


def test_workers_end_with_their_supervisor_and_keep_their_lines_whole(pki: Pki, origin: Origin, tmp_path: Path) -> None:
    origins = dict.fromkeys(ORIGIN_HOSTS, origin.port)
    wanted = set()
    with running_gateway(pki, tmp_path, origins, arguments=("--workers", "2")) as gateway:
        callers = [gateway.connect(pki.team_a) for _ in range(16)]
        try:
            for number in range(20):
                for at, caller in enumerate(callers):
                    wanted.add(f"{number}-{at}")
                    caller.send(spell("/zen", f"X-Request-Id: {number}-{at}"))
                assert {caller.read().status for caller in callers} == {200}
        finally:
            for caller in callers:
                caller.close()
        assert gateway.terminate() == 0
        assert {line["request_id"] for line in gateway.access_lines()} == wanted
        with pytest.raises(OSError):  # noqa: PT011  nobody listens any more
            gateway.status("/healthz")


def test_the_revision_names_the_manifests(pki: Pki, gateway: Gateway, tmp_path: Path, origin: Origin) -> None:
    origins = dict.fromkeys(ORIGIN_HOSTS, origin.port)
    revision = json.loads(gateway.status("/readyz")[1])["revision"]
    with running_gateway(pki, tmp_path / "again", origins) as again:
        assert json.loads(again.status("/readyz")[1])["revision"] == revision
