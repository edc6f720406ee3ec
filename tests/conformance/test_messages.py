"""Messages on one connection: their order, their bodies and trailers, and where one ends and the next begins."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import pytest

from tests.conformance.harness.client import TruncatedError
from tests.conformance.harness.client import request as spell
from tests.conformance.harness.gateway import BOTH_PARSERS, Gateway, each_way

if TYPE_CHECKING:
    from tests.conformance.harness.certificates import Pki
    from tests.conformance.harness.origin import Origin

pytestmark = each_way(BOTH_PARSERS)

GITHUB = b"Host: api.github.com\r\n"
TRAILERS = b"Host: api.github.com\r\nX-Caller-Identity: evil\r\nConnection: x-sent\r\n"


@pytest.fixture(autouse=True)
def _forget(origin: Origin) -> None:
    origin.requests.clear()


def test_pipelined_requests_are_answered_in_their_order(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    targets = ["/repos/a/1", "/users/x", "/repos/a/2", "/zen"]
    with gateway.connect(pki.team_a) as caller:
        caller.send(b"".join(map(spell, targets)))
        answers = [caller.read() for _ in targets]

    assert [answer.status for answer in answers] == [200, 403, 200, 200]
    assert [json.loads(answers[at].body)["target"] for at in (0, 2, 3)] == ["/repos/a/1", "/repos/a/2", "/zen"]
    assert origin.targets() == ["/repos/a/1", "/repos/a/2", "/zen"]


def test_what_follows_a_good_request_is_refused_by_itself(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    with gateway.connect(pki.team_a) as caller:
        assert caller.ask("/zen").status == 200
        caller.send(b"GET /users/torvalds HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        assert caller.read().status == 400
        assert caller.is_ended()
    assert origin.targets() == ["/zen"]


def test_what_is_pipelined_behind_a_good_request_does_not_take_its_answer(
    gateway: Gateway, pki: Pki, origin: Origin
) -> None:
    with gateway.connect(pki.team_a) as caller:
        caller.send(spell("/zen") + b"\x00\x01\x02 garbage\r\n\r\n")
        assert caller.read().status == 200
        with contextlib.suppress(TruncatedError):
            assert caller.read().status == 400
        assert caller.is_ended()
    assert origin.targets() == ["/zen"]


def test_a_body_that_reads_like_a_request_is_a_body(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    hidden = b"GET /users/torvalds HTTP/1.1\r\nHost: api.github.com\r\n\r\n"
    with gateway.connect(pki.team_a) as caller:
        caller.send(spell("/zen", body=hidden) + spell("/repos/a"))
        assert [caller.read().status, caller.read().status] == [200, 200]
    assert origin.targets() == ["/zen", "/repos/a"]
    assert origin.requests[0].body == hidden


def test_trailer_fields_change_nothing(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    head = spell("/post", "Transfer-Encoding: chunked", "X-Sent: head", method="POST", host="httpbingo.org")
    with gateway.connect(pki.team_a) as caller:
        caller.send(head + b"5\r\nhello\r\n0\r\n" + TRAILERS + b"X-Sent: trailer\r\n\r\n" + spell("/zen"))
        first, second = caller.read(), caller.read()

    assert (first.status, second.status) == (200, 200)
    received = origin.requests[0]
    assert received.values("host") == ["httpbingo.org"]
    assert received.values("x-caller-identity") == ["team-a/team-a"]
    assert received.values("x-sent") == ["head"]
    assert received.values("content-length") == []
    assert received.body == b"hello"
    assert origin.requests[1].values("x-sent") == []


def test_trailer_fields_do_not_save_a_bad_head(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    head = b"POST /zen HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = gateway.send(pki.team_a, head + b"0\r\nHost: api.github.com\r\n\r\n")

    assert answer.status == 400
    assert origin.requests == []


def test_a_broken_chunk_breaks_the_request(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    head = spell(
        "/post", "Transfer-Encoding: chunked", "X-Request-Id: broken-chunk", method="POST", host="httpbingo.org"
    )
    with gateway.connect(pki.team_a) as caller:
        caller.send(head + b"5\r\nhello\r\n")
        caller.send(b"xyz\r\nhello\r\n0\r\n\r\n" + spell("/zen"))
        assert caller.is_ended()
    gateway.access_line("request_id", "broken-chunk")
    assert origin.targets() in ([], ["/post"])


def test_100_continue_is_sent_when_the_body_is_wanted(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    fields = ("Expect: 100-continue", "Content-Length: 5")
    with gateway.connect(pki.team_a) as caller:
        caller.send(spell("/post", *fields, method="POST", host="httpbingo.org"))
        assert caller.read_head().status == 100
        caller.send(b"hello")
        assert caller.read().status == 200
    assert origin.requests[0].body == b"hello"
    assert origin.requests[0].values("expect") == []


def test_100_continue_is_not_sent_when_the_request_is_refused(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    fields = ("Expect: 100-continue", "Content-Length: 5")
    with gateway.connect(pki.team_b) as caller:
        caller.send(spell("/post", *fields, method="POST", host="httpbingo.org"))
        assert caller.read_head().status == 403
    assert origin.requests == []


def test_http_1_0_is_answered_and_closed(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    with gateway.connect(pki.team_a) as caller:
        caller.send(b"GET /zen HTTP/1.0\r\n" + GITHUB + b"\r\n")
        answer = caller.read()
        assert answer.status == 200
        assert caller.is_ended()
    assert origin.requests[0].head.startswith(b"GET /zen HTTP/1.1\r\n")


def test_http_1_0_gets_no_chunks(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    origin.handlers["/repos/chunked"] = lambda exchange: exchange.send(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    )
    with gateway.connect(pki.team_a) as caller:
        caller.send(b"GET /repos/chunked HTTP/1.0\r\n" + GITHUB + b"\r\n")
        answer = caller.read_head()
        assert answer.values("transfer-encoding") == []  # RFC 9112 section 6.1
        assert caller.read_to_end() == b"hello"


def test_head_has_the_fields_of_get_and_no_body(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    origin.handlers["/repos/head"] = lambda exchange: exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    with gateway.connect(pki.team_a) as caller:
        answer = caller.ask("/repos/head", method="HEAD")
        assert (answer.status, answer.value("content-length")) == (200, "1000")
        assert caller.ask("/users/torvalds", method="HEAD").status == 403
        assert caller.ask("/zen").status == 200


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_an_answer_without_a_body_leaves_the_connection_usable(
    gateway: Gateway, pki: Pki, origin: Origin, status: str
) -> None:
    origin.handlers["/repos/bodyless"] = lambda exchange: exchange.send(
        f"HTTP/1.1 {status}\r\nContent-Length: 7\r\nETag: x\r\n\r\n".encode()
    )
    with gateway.connect(pki.team_a) as caller:
        answer = caller.ask("/repos/bodyless")
        assert (answer.status, answer.value("etag")) == (int(status[:3]), "x")
        assert caller.ask("/zen").status == 200
