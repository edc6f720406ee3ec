"""Bodies that stand still, over real sockets: each side is cut off, and what moves slowly is not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.conformance.harness.certificates import ORIGIN_HOSTS
from tests.conformance.harness.client import TruncatedError
from tests.conformance.harness.client import request as spell
from tests.conformance.harness.gateway import BOTH_PARSERS, Gateway, each_way, running_gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conformance.harness.certificates import Pki
    from tests.conformance.harness.origin import Exchange, Origin

MIB = bytes(1 << 20)
pytestmark = each_way(BOTH_PARSERS)


@pytest.fixture(scope="module")
def gateway(
    request: pytest.FixtureRequest, pki: Pki, origin: Origin, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """Run a gateway whose limit is one second, the shortest there is."""
    with running_gateway(
        pki,
        tmp_path_factory.mktemp("idle"),
        dict.fromkeys(ORIGIN_HOSTS, origin.port),
        arguments=request.param.split(),
        settings={"EGRESS_BODY_IDLE_TIMEOUT": "1"},
    ) as running:
        yield running


def test_a_caller_that_stops_within_its_body_is_answered_408_and_closed(
    gateway: Gateway, pki: Pki, origin: Origin
) -> None:
    origin.handlers["/repos/upload"] = lambda exchange: exchange.wait_for_the_end()
    with gateway.connect(pki.team_a) as caller:
        caller.send(spell("/repos/upload", "Content-Length: 9", method="POST") + b"half")
        answer = caller.read()
        assert (answer.status, answer.text) == (408, "request timeout")
        assert answer.value("connection") == "close"
        assert caller.is_ended()
    assert gateway.line_of(answer)["reason"] == "caller_idle"


def test_an_origin_that_stops_within_its_answer_never_leaves_a_clean_end(
    gateway: Gateway, pki: Pki, origin: Origin
) -> None:
    def half(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        exchange.wait_for_the_end()

    origin.handlers["/repos/half"] = half
    with gateway.connect(pki.team_a) as caller, pytest.raises(TruncatedError):
        caller.ask("/repos/half", "X-Request-Id: half")
    assert gateway.access_line("request_id", "half")["reason"] == "upstream_aborted"


def test_a_caller_that_does_not_read_is_cut_off(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    def endless(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            exchange.send(b"%x\r\n%b\r\n" % (len(MIB), MIB))

    origin.handlers["/repos/endless"] = endless
    with gateway.connect(pki.team_a, receive_buffer_bytes=65536) as caller:
        caller.send(spell("/repos/endless", "X-Request-Id: unread"))
        assert gateway.access_line("request_id", "unread")["reason"] == "caller_idle"


def test_a_stream_that_moves_lives_on(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    def events(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(8):
            time.sleep(0.25)
            exchange.send(b"5\r\ndata\n\r\n")
        exchange.send(b"0\r\n\r\n")

    origin.handlers["/repos/events"] = events
    assert gateway.ask(pki.team_a, "/repos/events").body == b"data\n" * 8
