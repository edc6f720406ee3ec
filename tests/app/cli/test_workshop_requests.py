from __future__ import annotations

import shlex
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from app.cli.certificates import CertificateAuthority, Leaf
from app.cli.workshop_requests import Answer, Expected, Request, curl, look_up, send

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADERS = {"content-type": "text/plain; charset=utf-8", "x-egress-decision-id": "1"}
DENIED = Expected(403, body="authorization failed")


@pytest.mark.parametrize(
    ("answer", "difference"),
    [
        (Answer(403, HEADERS, "authorization failed"), ""),
        (Answer(200, HEADERS, "authorization failed"), "got 200 OK"),
        (Answer(403, HEADERS, "authorization failed\n"), "expected the body 'authorization failed'"),
        (Answer(403, HEADERS | {"content-type": "text/html"}, "authorization failed"), "expected text/plain"),
        (Answer(403, {"content-type": "text/plain"}, "authorization failed"), "x-egress-decision-id"),
        (Answer(None), "got refused in the TLS handshake"),
    ],
)
def test_an_answer_of_the_gateway_is_compared_word_for_word(answer: Answer, difference: str) -> None:
    found = DENIED.differences(answer)

    assert len(found) == bool(difference)
    assert difference in "".join(found)


def test_only_a_refusal_counts_as_one() -> None:
    refused = Expected(None)

    assert refused.differences(Answer(None)) == []
    assert refused.differences(Answer(200))
    assert refused.differences(Answer(None, error="TimeoutError: timed out"))


@pytest.mark.parametrize(
    ("body", "difference"),
    [
        ('{"headers": {"x-caller-identity": ["team-a/team-a"]}}', ""),
        ('{"headers": {"X-Caller-Identity": ["evil"]}}', 'got ["evil"]'),
        ('{"headers": {"X-Caller-Identity": ["team-a/team-a"], "x-internal-debug": ["1"]}}', "expected headers.X-Int"),
        ("<html>", "expected JSON"),
        ("[]", "got absent"),
    ],
)
def test_values_in_a_json_body_are_compared(body: str, difference: str) -> None:
    wanted = {"headers.X-Caller-Identity": ["team-a/team-a"], "headers.X-Internal-Debug": None}

    found = Expected(200, document=wanted).differences(Answer(200, {}, body))

    assert len(found) == bool(difference)
    assert difference in "".join(found)


@pytest.mark.parametrize(("path", "value"), [("a.B", 1), ("a.c", None), ("a.b.c", None), ("x", None)])
def test_a_dotted_path_leads_to_a_value_or_nothing(path: str, value: Any) -> None:
    assert look_up({"A": {"b": 1}}, path) == value


def test_the_curl_line_is_the_same_request() -> None:
    directory = Path("my demo")

    assert shlex.split(curl(Request("api.github.com", "/zen"), directory, 8443)) == [
        *("curl", "--cacert", "my demo/ca.pem", "--cert", "my demo/team-a.pem", "--key", "my demo/team-a-key.pem"),
        *("--connect-to", "api.github.com:443:127.0.0.1:8443", "https://api.github.com/zen"),
    ]
    assert "--cert " not in curl(Request("api.github.com", "/zen", caller=None), directory, 8443)
    assert "--path-as-is" in curl(Request("api.github.com", "/repos/../users/x"), directory, 8443)
    assert "--header 'X-A: 1'" in curl(Request("h", "/", headers=(("X-A", "1"),)), directory, 8443)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory: Path = tmp_path_factory.mktemp("certificates")
    authority = CertificateAuthority.create("test CA")
    (directory / "ca.pem").write_bytes(authority.pem()[0])
    for leaf in (Leaf("gateway", names=("api.github.com",)), Leaf("team-a", uris=("spiffe://cluster.local/a",))):
        certificate, key = authority.issue(leaf)
        (directory / f"{leaf.name}.pem").write_bytes(certificate)
        (directory / f"{leaf.name}-key.pem").write_bytes(key)
    return directory


@contextmanager
def gateway(certificates: Path, answer: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A server that wants a client certificate, takes one connection and gives one answer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "gateway.pem", certificates / "gateway-key.pem")
    context.load_verify_locations(certificates / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    received: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        plain, _ = listener.accept()
        plain.settimeout(5)
        with plain, suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
            received.append(connection.recv(65536))
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield listener.getsockname()[1], received
        finally:
            thread.join(5)


def test_a_request_is_sent_as_it_is_written(certificates: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
    request = Request("api.github.com", "/repos/../users/x", headers=(("X_Caller_Identity", "evil"),))

    with gateway(certificates, answer) as (port, received):
        got = send(request, certificates, port)

    assert got == Answer(200, {"content-type": "text/plain", "content-length": "5"}, "hello")
    assert received[0].startswith(b"GET /repos/../users/x HTTP/1.1\r\nHost: api.github.com\r\n")
    assert b"\r\nX_Caller_Identity: evil\r\n" in received[0]


def test_a_call_without_a_certificate_is_refused(certificates: Path) -> None:
    with gateway(certificates, b"") as (port, received):
        answer = send(Request("api.github.com", "/zen", caller=None), certificates, port)

    assert (answer, received) == (Answer(None), [])


def test_a_gateway_with_another_name_is_no_refusal_by_it(certificates: Path) -> None:
    with gateway(certificates, b"") as (port, _):
        answer = send(Request("httpbingo.org", "/", caller=None), certificates, port)

    assert "SSLCertVerificationError" in answer.error


def test_a_broken_answer_is_an_error(certificates: Path) -> None:
    with gateway(certificates, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe") as (port, _):
        assert send(Request("api.github.com", "/zen"), certificates, port).error.startswith("IncompleteRead")


def test_nobody_listening_is_an_error(certificates: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    assert "ConnectionRefusedError" in send(Request("api.github.com", "/zen"), certificates, port).error
