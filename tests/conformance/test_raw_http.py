"""HTTP as bytes: framing, versions, methods, upgrades. What is refused has its answer, its log line, and no origin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.harness.client import request as spell
from tests.conformance.harness.gateway import BOTH_PARSERS, Gateway, each_way

if TYPE_CHECKING:
    from tests.conformance.harness.certificates import Pki
    from tests.conformance.harness.client import Answer
    from tests.conformance.harness.origin import Origin

GITHUB = b"Host: api.github.com\r\n"
GET = b"GET /zen HTTP/1.1\r\n" + GITHUB
POST = b"POST /zen HTTP/1.1\r\n" + GITHUB

BAD_FRAMING = {
    "length and chunked": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "two lengths in one": POST + b"Content-Length: 5, 6\r\n\r\nhello!",
    "a signed length": POST + b"Content-Length: +5\r\n\r\nhello",
    "a negative length": POST + b"Content-Length: -5\r\n\r\nhello",
    "a hexadecimal length": POST + b"Content-Length: 0x5\r\n\r\nhello",
    "an enormous length": POST + b"Content-Length: 99999999999999999999999\r\n\r\nhello",
    "gzip, chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked, identity": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "xchunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "identity": POST + b"Transfer-Encoding: identity\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": POST + b"Content-Length : 5\r\n\r\nhello",
    "a space in a field name": GET + b"X A: 1\r\n\r\n",
    "no colon": GET + b"X-A\r\n\r\n",
    "a field without a name": GET + b": 1\r\n\r\n",
    "NUL in a value": GET + b"X-A: a\x00b\r\n\r\n",
    "a bare CR in a value": GET + b"X-A: a\rb\r\n\r\n",
    "two hosts": GET + b"Host: api.github.com\r\n\r\n",
    "two different hosts": GET + b"Host: httpbingo.org\r\n\r\n",
    "no host": b"GET /zen HTTP/1.1\r\n\r\n",
    "no host in 1.0": b"GET /zen HTTP/1.0\r\n\r\n",
    "two spaces": b"GET /zen x HTTP/1.1\r\n" + GITHUB + b"\r\n",
    "a space before the method": b" " + GET + b"\r\n",
    "the asterisk form": b"OPTIONS * HTTP/1.1\r\n" + GITHUB + b"\r\n",
    "TLS within TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "zeros": bytes(32),
    "words": b"hello, is anybody there?\r\n\r\n",
}
BAD_VERSIONS = {
    "the HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "2.0": b"GET /zen HTTP/2.0\r\n" + GITHUB + b"\r\n",
    "3.0": b"GET /zen HTTP/3.0\r\n" + GITHUB + b"\r\n",
    "1.2": b"GET /zen HTTP/1.2\r\n" + GITHUB + b"\r\n",
    "0.9": b"GET /zen HTTP/0.9\r\n" + GITHUB + b"\r\n",
}
BAD_METHODS = {
    "CONNECT with an authority": b"CONNECT api.github.com:443 HTTP/1.1\r\nHost: api.github.com:443\r\n\r\n",
    "CONNECT with a path": b"CONNECT /zen HTTP/1.1\r\n" + GITHUB + b"\r\n",
    "CONNECT with an absolute target": b"CONNECT http://api.github.com/zen HTTP/1.1\r\n" + GITHUB + b"\r\n",
    "CONNECT in HTTP/1.0": b"CONNECT api.github.com:443 HTTP/1.0\r\n" + GITHUB + b"\r\n",
    "TRACE": b"TRACE /zen HTTP/1.1\r\n" + GITHUB + b"\r\n",
}
UPGRADES = {
    "websocket": GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    "h2c": GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    "without Connection": GET + b"Upgrade: foo\r\n\r\n",
}


pytestmark = each_way(BOTH_PARSERS)


@pytest.fixture(autouse=True)
def _forget(origin: Origin) -> None:
    origin.requests.clear()


def refused(gateway: Gateway, pki: Pki, raw: bytes) -> tuple[Answer, dict[str, Any]]:
    """Send bytes, expect one answer, the end of the connection and one log line."""
    with gateway.connect(pki.team_a) as caller:
        caller.send(raw)
        answer = caller.read()
        assert caller.is_ended()
        line = gateway.line_of(answer)
        assert line["src.addr"] == caller.address
    assert answer.values("connection") == ["close"]
    assert line["http.status"] == answer.status
    assert (line["decision"], line["level"]) == ("deny", "warning")
    return answer, line


@pytest.mark.parametrize("raw", BAD_FRAMING.values(), ids=BAD_FRAMING.keys())
def test_what_two_readers_could_frame_in_two_ways_is_refused(
    gateway: Gateway, pki: Pki, origin: Origin, raw: bytes
) -> None:
    answer, line = refused(gateway, pki, raw)

    assert (answer.status, answer.text, line["reason"]) == (400, "invalid request", "invalid_request")
    assert origin.requests == []


@pytest.mark.parametrize("raw", BAD_VERSIONS.values(), ids=BAD_VERSIONS.keys())
def test_other_versions_are_not_spoken(gateway: Gateway, pki: Pki, origin: Origin, raw: bytes) -> None:
    answer, line = refused(gateway, pki, raw)

    assert (answer.status, answer.text) == (505, "http version not supported")
    assert line["reason"] == "http_version_not_supported"
    assert origin.requests == []


@pytest.mark.parametrize("line", [b"GET /zen\r\n", b"GET /zen \r\n", b"GET /zen HTTP\r\n", b"GET /zen http/1.1\r\n"])
def test_a_request_line_without_a_version_is_refused(gateway: Gateway, pki: Pki, origin: Origin, line: bytes) -> None:
    answer, _ = refused(gateway, pki, line + GITHUB + b"\r\n")

    assert answer.status in {400, 505}
    assert origin.requests == []


def test_a_folded_field_is_refused_or_unfolded(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    answer = gateway.send(pki.team_a, b"GET /zen HTTP/1.1\r\n" + GITHUB + b"X-A: 1\r\n Host: 2\r\n\r\n")

    # RFC 9112 section 5.2 leaves the choice; what may not happen is that the origin reads two lines.
    assert answer.status in {200, 400}
    assert [request.values("x-a") for request in origin.requests] == [["1 Host: 2"]] * (answer.status == 200)


@pytest.mark.parametrize("raw", BAD_METHODS.values(), ids=BAD_METHODS.keys())
def test_connect_and_trace_are_no_methods_here(gateway: Gateway, pki: Pki, origin: Origin, raw: bytes) -> None:
    answer, line = refused(gateway, pki, raw)

    assert (answer.status, answer.text, line["reason"]) == (405, "method not allowed", "method_not_allowed")
    assert "GET" in answer.value("allow")
    assert origin.requests == []


@pytest.mark.parametrize("raw", UPGRADES.values(), ids=UPGRADES.keys())
def test_no_connection_becomes_something_else(gateway: Gateway, pki: Pki, origin: Origin, raw: bytes) -> None:
    answer, line = refused(gateway, pki, raw + b"\x81\x05hello" + GET + b"\r\n")

    assert (answer.status, answer.text, line["reason"]) == (501, "upgrade not supported", "upgrade_not_supported")
    assert origin.requests == []


@pytest.mark.parametrize("method", ["BREW", "get", "GETS", "VERSION-CONTROL"])
def test_an_unknown_method_is_no_way_around_policy(gateway: Gateway, pki: Pki, origin: Origin, method: str) -> None:
    answer = gateway.send(pki.team_a, spell("/users/torvalds", method=method))

    # httptools knows its methods and refuses others; h11 passes any token on, and policy judges it.
    assert (answer.status, answer.text) in {(405, "method not allowed"), (403, "authorization failed")}
    assert gateway.line_of(answer)["http.status"] == answer.status
    assert origin.requests == []


def test_garbage_in_several_packets_is_answered_and_logged_once(gateway: Gateway, pki: Pki) -> None:
    before = len(gateway.access_lines())
    with gateway.connect(pki.team_a) as caller:
        for _ in range(5):
            caller.send(b"garbage garbage garbage garbage\r\n\r\n")
        answer = caller.read()
        assert caller.is_ended()
    gateway.line_of(answer)
    # A request of another connection, logged later: whatever the first connection left is logged by then.
    gateway.line_of(gateway.ask(pki.team_b, "/zen"))
    assert len(gateway.access_lines()) == before + 2


def test_a_connection_without_a_request_is_not_logged(gateway: Gateway, pki: Pki) -> None:
    before = len(gateway.access_lines())
    gateway.connect(pki.team_a).close()
    gateway.line_of(gateway.ask(pki.team_b, "/zen"))
    assert len(gateway.access_lines()) == before + 1


@pytest.mark.parametrize("control", [b"\x01", b"\x0b", b"\x1f", b"\x7f"])
def test_a_control_character_in_a_field_is_the_callers_fault(
    gateway: Gateway, pki: Pki, origin: Origin, control: bytes
) -> None:
    origin.requests.clear()
    raw = spell("/zen").replace(b"\r\n\r\n", b"\r\nX-Sent: a" + control + b"b\r\n\r\n")
    answer = gateway.send(pki.team_a, raw)

    assert answer.status == 400
    assert origin.requests == []
