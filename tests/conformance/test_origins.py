"""The other side: origins that are dead, foreign, broken or talkative, and what their answers may not do."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from app.cli.certificates import CertificateAuthority, Leaf
from tests.conformance.harness.certificates import issue
from tests.conformance.harness.client import TruncatedError
from tests.conformance.harness.client import request as spell
from tests.conformance.harness.gateway import Gateway, running_gateway
from tests.conformance.harness.origin import running_origin
from tests.conformance.harness.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conformance.harness.certificates import Pki
    from tests.conformance.harness.origin import Exchange, Origin

OK = b"HTTP/1.1 200 OK\r\n"
FORGED = OK + b"Content-Length: 6\r\n\r\nforged"
BROKEN_HEADS = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
    "two lengths": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length and chunked": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a space in a name": OK + b"X A: 1\r\n\r\n",
    "a switch of protocols": b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "status 600": b"HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n",
    "201 fields": OK + b"X-A: 1\r\n" * 201 + b"\r\n",
    "64 KiB of fields": OK + b"X-A: " + b"a" * 66_000 + b"\r\n\r\n",
    "seventeen interim answers": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 17 + FORGED,
    "nothing": b"",
    "half a head": OK + b"Content-Le",
}
BROKEN_BODIES = {
    "half of a length": OK + b"Content-Length: 100\r\n\r\n" + b"a" * 50,
    "half of a chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n64\r\n" + b"a" * 50,
    "no last chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\naaaaa\r\n",
    "a broken chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\naaaaa\r\nxyz\r\n",
}
LEFTOVERS = {
    "a second answer": OK + b"Content-Length: 2\r\n\r\nok" + FORGED,
    "after chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + FORGED,
    "a longer body than said": OK + b"Content-Length: 2\r\n\r\nokforged",
    "after no content": b"HTTP/1.1 204 No Content\r\n\r\n" + FORGED,
    "after not modified": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\n" + FORGED,
}


@pytest.fixture(scope="module")
def stranger(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    """Run an origin whose certificate is good, but another host's; its common name says otherwise."""
    leaf = Leaf("httpbingo.org", names=("example.com",))
    with running_origin(issue(tmp_path_factory.mktemp("stranger"), pki.origins, leaf)) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(pki: Pki, origin: Origin, stranger: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    origins = {"api.github.com": origin.port, "httpbingo.org": stranger.port}
    with running_gateway(pki, tmp_path_factory.mktemp("gateway"), origins) as running:
        yield running


@pytest.fixture(autouse=True)
def _forget(origin: Origin) -> None:
    origin.requests.clear()


def saying(data: bytes) -> Callable[[Exchange], None]:
    """Return a handler that answers with these bytes and ends the connection."""

    def handler(exchange: Exchange) -> None:
        exchange.send(data)
        exchange.reset()

    return handler


def test_an_origin_with_another_name_gets_no_byte_of_a_request(gateway: Gateway, pki: Pki, stranger: Origin) -> None:
    answer = gateway.ask(pki.team_a, "/headers", "Authorization: secret", host="httpbingo.org")
    line = gateway.line_of(answer)

    assert (answer.status, answer.text) == (503, "upstream call failed")
    assert (line["reason"], line["decision"]) == ("upstream_call_failed", "allow")
    assert "httpbingo.org" in line["error"]
    assert stranger.connections > 0
    assert stranger.requests == []


def test_an_origin_of_an_unknown_authority_gets_no_byte_of_a_request(pki: Pki, tmp_path: Path) -> None:
    leaf = Leaf("api.github.com", names=("api.github.com",))
    unknown = issue(tmp_path, CertificateAuthority.create("origins"), leaf)
    with (
        running_origin(unknown) as impostor,
        running_gateway(pki, tmp_path / "run", {"api.github.com": impostor.port}) as gateway,
    ):
        assert gateway.ask(pki.team_a, "/zen").status == 503
        assert impostor.connections > 0
        assert impostor.requests == []


def test_a_dead_origin_is_unavailable(pki: Pki, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    origins = {"api.github.com": port, "httpbingo.org": port}
    with running_gateway(pki, tmp_path, origins) as gateway:
        answer = gateway.ask(pki.team_a, "/zen")
        assert (answer.status, answer.text) == (503, "upstream call failed")
        assert str(port) not in answer.text
        assert gateway.line_of(answer)["reason"] == "upstream_call_failed"


def test_a_private_address_is_not_dialled(pki: Pki, origin: Origin, tmp_path: Path) -> None:
    settings = {"EGRESS_DIAL_ALLOW": "127.0.0.2/32"}
    with running_gateway(pki, tmp_path, {"api.github.com": origin.port}, settings=settings) as gateway:
        before = origin.connections
        answer = gateway.ask(pki.team_a, "/zen")
    assert (answer.status, answer.text) == (503, "upstream call failed")
    assert origin.connections == before


def test_sni_is_the_name_of_the_backend(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    assert gateway.ask(pki.team_a, "/zen", host="API.GITHUB.COM.:80").status == 200
    assert set(origin.handshakes) == {"api.github.com"}


def test_a_connection_to_an_origin_is_used_again(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    assert gateway.ask(pki.team_a, "/zen").status == 200
    before = origin.connections
    for _ in range(10):
        assert gateway.ask(pki.team_a, "/zen").status == 200
    assert origin.connections == before


def test_an_idle_connection_that_the_origin_closed_is_not_noticed_by_the_caller(
    gateway: Gateway, pki: Pki, origin: Origin
) -> None:
    def answer_and_close(exchange: Exchange) -> None:
        exchange.answer(b"ok")  # no Connection: close
        exchange.reset()

    origin.handlers["/repos/closing"] = answer_and_close
    for _ in range(20):
        assert gateway.ask(pki.team_a, "/repos/closing").status == 200


@pytest.mark.parametrize("data", BROKEN_HEADS.values(), ids=BROKEN_HEADS.keys())
def test_an_origin_that_breaks_http_before_its_answer_is_a_502(
    gateway: Gateway, pki: Pki, origin: Origin, data: bytes
) -> None:
    origin.handlers["/repos/broken"] = saying(data)
    answer = gateway.ask(pki.team_a, "/repos/broken")

    assert (answer.status, answer.text) == (502, "upstream protocol error")
    assert gateway.line_of(answer)["reason"] == "upstream_protocol_error"


@pytest.mark.parametrize("data", BROKEN_BODIES.values(), ids=BROKEN_BODIES.keys())
def test_an_origin_that_dies_within_its_body_leaves_the_caller_no_clean_end(
    gateway: Gateway, pki: Pki, origin: Origin, data: bytes
) -> None:
    origin.handlers["/repos/dying"] = saying(data)
    request_id = f"dying-{len(data)}"
    with gateway.connect(pki.team_a) as caller:
        caller.send(spell("/repos/dying", f"X-Request-Id: {request_id}"))
        with pytest.raises(TruncatedError):
            caller.read()
    line = gateway.access_line("request_id", request_id)
    assert (line["http.status"], line["reason"], line["level"]) == (200, "upstream_aborted", "warning")


@pytest.mark.parametrize("data", LEFTOVERS.values(), ids=LEFTOVERS.keys())
def test_bytes_after_an_answer_never_reach_the_next_caller(
    gateway: Gateway, pki: Pki, origin: Origin, data: bytes
) -> None:
    origin.handlers["/repos/talkative"] = lambda exchange: exchange.send(data)
    with gateway.connect(pki.team_a) as first, gateway.connect(pki.team_a) as second:
        for number in range(5):
            answer = first.ask("/repos/talkative")
            assert answer.status in {200, 204, 304}
            assert b"forged" not in answer.body
            following = second.ask(f"/repos/next/{number}")
            assert f"/repos/next/{number}" in following.text


def test_bytes_on_an_idle_connection_never_reach_the_next_caller(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    def answer_then_more(exchange: Exchange) -> None:
        exchange.answer(b"ok")
        exchange.send(FORGED)
        exchange.wait_for_the_end()

    origin.handlers["/repos/later"] = answer_then_more
    for number in range(10):
        assert gateway.ask(pki.team_a, "/repos/later").body == b"ok"
        assert f"/repos/next/{number}" in gateway.ask(pki.team_a, f"/repos/next/{number}").text


def test_a_body_after_head_never_reaches_the_next_caller(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    origin.handlers["/repos/head"] = lambda exchange: exchange.send(OK + b"Content-Length: 6\r\n\r\n" + FORGED)
    for number in range(5):
        assert gateway.ask(pki.team_a, "/repos/head", method="HEAD").status == 200
        assert f"/repos/next/{number}" in gateway.ask(pki.team_a, f"/repos/next/{number}").text


def test_hop_by_hop_fields_of_an_answer_are_not_passed_on(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    fields = ("Connection: x-hop, keep-alive", "X-Hop: 1", "Keep-Alive: timeout=5", "X-End: 1", "Proxy-Authenticate: x")
    origin.handlers["/repos/hops"] = lambda exchange: exchange.answer(b"ok", *fields)
    answer = gateway.ask(pki.team_a, "/repos/hops")
    names = {name for name, _ in answer.headers}

    assert not {"connection", "x-hop", "keep-alive", "proxy-authenticate"} & names
    assert answer.values("x-end") == ["1"]


def test_hop_by_hop_fields_of_a_request_are_not_passed_on(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    fields = ("Connection: keep-alive, x-hop, x-caller-identity, host", "X-Hop: 1", "Keep-Alive: 5", "TE: trailers")
    assert gateway.ask(pki.team_a, "/zen", *fields, "Proxy-Authorization: x", "X-End: 1").status == 200
    received = origin.requests[0]

    assert {name for name, _ in received.headers} == {"host", "via", "x-caller-identity", "x-forwarded-by", "x-end"}
    assert received.values("x-caller-identity") == ["team-a/team-a"]


def test_fields_arrive_as_they_were_sent_in_both_directions(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    sent = (
        "Set-Cookie: a=1",
        "Set-Cookie: b=2",
        "Server: origin/1",
        "Date: Thu, 01 Jan 1970 00:00:00 GMT",
        "X-B: \xe9",
    )
    origin.handlers["/repos/fields"] = lambda exchange: exchange.send(
        OK + "".join(f"{field}\r\n" for field in (*sent, "Content-Length: 0")).encode("latin-1") + b"\r\n"
    )
    answer = gateway.ask(pki.team_a, "/repos/fields", "X-A: 1", "X-A: 2", "Accept-Encoding: br", "X-C: \xe9")

    assert answer.values("set-cookie") == ["a=1", "b=2"]
    assert answer.values("server") == ["origin/1"]
    assert answer.values("date") == ["Thu, 01 Jan 1970 00:00:00 GMT"]
    assert answer.values("x-b") == ["\xe9"]
    received = origin.requests[0]
    assert received.values("x-a") == ["1", "2"]
    assert received.values("accept-encoding") == ["br"]
    assert received.values("x-c") == ["\xe9"]


def test_a_redirect_is_the_callers_to_follow(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    location = "Location: https://api.github.com/users/torvalds"
    origin.handlers["/repos/moved"] = lambda exchange: exchange.answer(b"", location, status="302 Found")
    answer = gateway.ask(pki.team_a, "/repos/moved")

    assert (answer.status, answer.value("location")) == (302, location.partition(" ")[2])
    assert origin.targets() == ["/repos/moved"]


def test_interim_answers_are_skipped(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    origin.handlers["/repos/hints"] = lambda exchange: exchange.send(
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok"
    )
    answer = gateway.ask(pki.team_a, "/repos/hints")

    assert (answer.status, answer.body, answer.values("link")) == (200, b"ok", [])


def test_an_answer_before_the_end_of_the_body_is_passed_on(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    ended = threading.Event()

    def refuse(exchange: Exchange) -> None:
        exchange.answer(b"too large", "Connection: close", status="413 Content Too Large")
        exchange.wait_for_the_end()
        ended.set()

    origin.handlers["/repos/early"] = refuse
    with gateway.connect(pki.team_a) as caller:
        caller.send(spell("/repos/early", "Content-Length: 1000000", method="POST") + b"a" * 10)
        answer = caller.read()
    assert (answer.status, answer.body) == (413, b"too large")
    assert ended.wait(PATIENCE_SECONDS)
