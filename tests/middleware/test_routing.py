"""The host decides; what is ambiguous is refused before any policy runs; the path judged is the path forwarded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from middleware.context import TARGET

if TYPE_CHECKING:
    from tests.support.gateway import RunningGateway


def status(gateway: RunningGateway, target: bytes, *headers: tuple[bytes, bytes], method: str = "GET") -> int:
    """Make a request whose target and header fields are exactly these."""
    gateway.caller.state[TARGET] = target
    gateway.caller.scope = {"headers": list(headers)}
    answer = gateway.client.request(method, "https://placeholder.example/")
    return answer.status_code


HOST = (b"host", b"origin.test")


@pytest.mark.parametrize(
    "host",
    [b"origin.test", b"ORIGIN.Test", b"origin.test.", b"origin.test:80", b"origin.test:443", b"origin.test.:8080"],
)
def test_every_spelling_of_a_host_finds_its_service(host: bytes, plain: RunningGateway) -> None:
    assert status(plain, b"/", (b"host", host)) == 200


@pytest.mark.parametrize(
    "host", [b"other.test", b"x.origin.test", b"origin.test:8081", b"test", b"127.0.0.1", b"[::1]", b"origin.test:8443"]
)
def test_a_host_or_port_that_no_service_has_is_not_found(host: bytes, plain: RunningGateway) -> None:
    assert status(plain, b"/", (b"host", host)) == 404


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [HOST, HOST],
        [HOST, (b"host", b"other.test")],
        [(b"host", b"")],
        [(b"host", b"user@origin.test")],
        [(b"host", b"origin.test:")],
        [(b"host", b"origin.test:0")],
        [(b"host", b"origin.test:65536")],
        [(b"host", b"origin.test:80:80")],
        [(b"host", b"origin.test..")],
        [(b"host", b"origin.test, other.test")],
        [(b"host", b"origin.test/other")],
        [(b"host", b"origin%2etest")],
        [(b"host", "origin\u3002test".encode())],
        [HOST, (b"content-length", b"1"), (b"content-length", b"2")],
        [HOST, (b"content-length", b"1"), (b"transfer-encoding", b"chunked")],
        [HOST, (b"transfer-encoding", b"gzip")],
    ],
)
def test_an_ambiguous_authority_or_framing_is_refused(
    headers: list[tuple[bytes, bytes]], plain: RunningGateway
) -> None:
    assert status(plain, b"/", *headers) == 400


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"http://origin.test/a", 200),
        (b"https://ORIGIN.test.:443/a", 200),
        (b"http://origin.test:80/a", 200),
        (b"http://origin.test?b", 200),
        (b"http://other.test/a", 400),
        (b"http://origin.test:8080/a", 400),
        (b"http://user:pass@origin.test/a", 400),
        (b"ftp://origin.test/a", 400),
        (b"http://origin.test/a#b", 400),
        (b"http://origin.test#/a", 400),
        (b"http:///a", 400),
        (b"//origin.test/a", 400),
        (b"*", 400),
        (b"origin.test:80", 400),
        (b"a", 400),
        (b"", 400),
    ],
)
def test_an_absolute_target_must_agree_with_host(target: bytes, expected: int, plain: RunningGateway) -> None:
    assert status(plain, target, HOST) == expected


def test_an_absolute_target_is_forwarded_in_origin_form(plain: RunningGateway) -> None:
    plain.caller.state[TARGET] = b"http://origin.test?a=b"

    assert plain.client.get("https://origin.test/").json()["line"] == "GET /?a=b HTTP/1.1"


@pytest.mark.parametrize(
    "target",
    [b"/a/../b", b"/a/%2e%2e/b", b"/a%2fb", b"/a//b", b"/a\\b", b"/a%00", b"/a%zz", b"/..;/b", b"/a#b", b"/a?b#c"],
)
def test_an_ambiguous_path_or_query_is_refused_not_repaired(target: bytes, plain: RunningGateway) -> None:
    assert status(plain, target, HOST) == 400


@pytest.mark.parametrize(
    ("target", "forwarded"),
    [
        (b"/%7Ea/%41", "/~a/A"),
        (b"/a%20b/", "/a%20b/"),
        (b"/a?", "/a?"),
        (b"/a?b=%2e%2e/&c=//?d", "/a?b=%2e%2e/&c=//?d"),
    ],
)
def test_the_path_is_forwarded_as_it_was_judged_and_the_query_as_it_came(
    target: bytes, forwarded: str, plain: RunningGateway
) -> None:
    plain.caller.state[TARGET] = target

    assert plain.client.get("https://origin.test/").json()["line"] == f"GET {forwarded} HTTP/1.1"


def test_the_target_as_received_is_judged_not_the_scope(plain: RunningGateway) -> None:
    """Httptools drops a fragment and an absolute form's authority before the scope shows them."""
    plain.caller.state[TARGET] = b"/denied#x"
    assert plain.client.get("https://origin.test/").status_code == 400

    plain.caller.state[TARGET] = b"/judged"
    assert plain.client.get("https://origin.test/scope").json()["line"] == "GET /judged HTTP/1.1"


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
def test_methods_that_no_proxy_should_forward_are_refused(method: str, plain: RunningGateway) -> None:
    answer = plain.client.request(method, "https://origin.test/")

    assert (answer.status_code, answer.text) == (405, "method not allowed")
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_other_methods_are_forwarded_as_they_are(method: str, plain: RunningGateway) -> None:
    plain.caller.scope = {"method": method}

    assert plain.client.request(method, "https://origin.test/").json()["line"].startswith(f"{method} /")


@pytest.mark.parametrize("protocol", ["websocket", "h2c", "TLS/1.3"])
def test_upgrades_are_refused(protocol: str, plain: RunningGateway) -> None:
    answer = plain.client.get("https://origin.test/", headers={"upgrade": protocol, "connection": "upgrade"})

    assert (answer.status_code, answer.text) == (501, "upgrade not supported")


@pytest.mark.parametrize("version", ["2", "0.9", "1.2", "3"])
def test_other_versions_of_http_are_refused(version: str, plain: RunningGateway) -> None:
    plain.caller.scope = {"http_version": version}
    answer = plain.client.get("https://origin.test/")

    assert (answer.status_code, answer.text) == (505, "http version not supported")


def test_http_1_0_is_served(plain: RunningGateway) -> None:
    plain.caller.scope = {"http_version": "1.0"}

    assert plain.client.get("https://origin.test/").json()["line"] == "GET / HTTP/1.1"


@pytest.mark.parametrize("host", [b"API.GitHub.com", b"api.github.com.", b"api.github.com:80", b"api.github.com.:443"])
def test_policy_sees_the_canonical_host_however_it_was_spelt(host: bytes, workshop: RunningGateway) -> None:
    assert status(workshop, b"/zen", (b"host", host)) == 200
    assert status(workshop, b"/users/torvalds", (b"host", host)) == 403
