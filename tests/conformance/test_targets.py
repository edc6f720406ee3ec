"""Spellings of a destination: whatever is sent, nothing outside the allowlist reaches the origin."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from tests.conformance.harness.client import request as spell
from tests.conformance.harness.gateway import BOTH_PARSERS, Gateway, each_way

if TYPE_CHECKING:
    from tests.conformance.harness.certificates import Pki
    from tests.conformance.harness.origin import Origin

REFUSED_PATHS = (
    # dot segments, plain, escaped, and hidden by what some servers cut off
    "/repos/../users/x", "/repos/..", "/repos/./x", "/.", "/..", "/repos/%2e%2e/users/x", "/repos/.%2e/users/x",
    "/repos/%2E%2E/users/x", "/repos/%2e/x", "/repos/..;/users/x", "/repos/%2e%2e;/users/x", "/repos/..;a=b/users/x",
    "/repos/..%3B/users/x", "/repos/..%3b/users/x", "/repos/..%3F/users/x", "/repos/..%3f", "/repos/..%23/users/x",
    "/repos/..%20/users/x", "/repos/.;/x", "/;/../users/x", "/zen/..;/users/x",
    # separators and escapes that another reader decodes once more
    "/repos//x", "//repos/x", "//users/x", "/repos/%2f/x", "/repos%2Fx", "/repos%2fx",
    "/repos/%5c../x", "/repos\\..\\users", "/repos/%5C", "/repos/%252e%252e/users/x", "/repos/%25", "/zen%2e",
    "/repos/a%2Eb",
    # controls, look-alikes, overlong and broken escapes
    "/repos/%00", "/repos/%0a", "/repos/%0d%0aHost:x", "/repos/%1f", "/repos/%7f", "/repos/%",
    "/repos/%2", "/repos/%zz", "/repos/%c0%ae%c0%ae/users", "/repos/%c0%af", "/repos/%e0%80%af", "/repos/%ff",
    "/repos/%E2%80%A4%E2%80%A4/users", "/repos/%E2%81%84x", "/repos/%E2%88%95x", "/repos/%E2%A7%B8x",
    "/repos/%EF%BC%8E%EF%BC%8E/users", "/repos/%EF%BC%8Fx", "/repos/%EF%BC%BCx", "/repos/%ed%a0%80",
    # bytes that may not stand in a path
    '/repos/"', "/repos/<x>", "/repos/^", "/repos/`", "/repos/{x}", "/repos/|", "/repos/\xe9", "/repos/\x7f",
    "/repos/x#/../users", "/zen#", "/zen?x#y", "/zen?\xe9",
    # other forms
    "*", "zen", "api.github.com:443", "ftp://api.github.com/zen", "http://", "https:///zen", "http:/zen", "://api.github.com/",
)  # fmt: skip
DENIED_PATHS = (
    "/", "/users/torvalds", "/zen/", "/zen;x", "/zen%3Bx", "/Zen", "/ZEN", "/repos", "/repos;/x", "/repos%3B/x",
    "/repositories/x", "/users/../zen?/repos/", "/%7Ezen", "/?/repos/x", "/users?x=/zen", "/...", "/.zen",
    "/repos%20/x",
)  # fmt: skip
"""Unambiguous or not, and in any case not on the list."""
ALLOWED_PATHS = {
    "/zen": "/zen", "/zen?": "/zen?", "/zen?a=/../b&c=%2e%2e%2f": "/zen?a=/../b&c=%2e%2e%2f", "/z%65n": "/zen",
    "/repos/%7Ex": "/repos/~x", "/repos/a;b/c": "/repos/a;b/c", "/repos/...": "/repos/...", "/repos/x/": "/repos/x/",
    "/repos/caf%C3%A9": "/repos/caf%C3%A9", "/repos/": "/repos/", "/repos/a..b": "/repos/a..b", "/zen??x": "/zen??x",
    "/repos/%41%2D%2d": "/repos/A--", "http://api.github.com/zen": "/zen", "https://API.github.com:443/zen": "/zen",
    "HTTP://api.github.com./repos/x?y": "/repos/x?y",
}  # fmt: skip
"""As sent, and as the origin must get it."""


pytestmark = each_way(BOTH_PARSERS)


@pytest.fixture(autouse=True)
def _forget(origin: Origin) -> None:
    origin.requests.clear()


def is_listed(target: str) -> bool:
    path = target.partition("?")[0]
    segments = path.split("/")
    return path == "/zen" or (path.startswith("/repos/") and not {".", ".."} & set(segments))


@pytest.mark.parametrize("target", REFUSED_PATHS, ids=ascii)
def test_an_ambiguous_target_is_refused_and_logged(gateway: Gateway, pki: Pki, origin: Origin, target: str) -> None:
    answer = gateway.send(pki.team_a, spell(target))

    assert (answer.status, answer.text) == (400, "invalid request")
    assert origin.requests == []
    assert gateway.line_of(answer)["reason"] == "invalid_request"


@pytest.mark.parametrize("target", DENIED_PATHS)
def test_a_path_that_is_not_listed_is_refused(gateway: Gateway, pki: Pki, origin: Origin, target: str) -> None:
    assert gateway.send(pki.team_a, spell(target)).status in {400, 403}
    assert origin.requests == []


@pytest.mark.parametrize(("sent", "got"), ALLOWED_PATHS.items())
def test_a_listed_path_arrives_in_its_one_spelling(
    gateway: Gateway, pki: Pki, origin: Origin, sent: str, got: str
) -> None:
    assert gateway.send(pki.team_a, spell(sent)).status == 200
    assert origin.targets() == [got]


def test_no_combination_of_pieces_reaches_a_path_that_is_not_listed(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    pieces = ("repos", "zen", "users", "..", "%2e.", "..;x", "", "%2F", ".", "Repos")
    with_three = ["/" + "/".join(parts) for parts in itertools.product(pieces, repeat=3)][::3]
    caller = gateway.connect(pki.team_a)
    allowed = 0
    try:
        for target in ["/" + "/".join(parts) for parts in itertools.product(pieces, repeat=2)] + with_three:
            answer = caller.ask(target)
            allowed += answer.status == 200
            assert (answer.status == 200) is is_listed(target) or answer.status in {400, 403}, target
            if "close" in answer.values("connection"):
                caller.close()
                caller = gateway.connect(pki.team_a)
    finally:
        caller.close()
    assert len(origin.requests) == allowed > 0
    assert all(is_listed(target) for target in origin.targets())


@pytest.mark.parametrize(
    "host",
    [
        "api.github.com",
        "api.github.com:80",
        "api.github.com:443",
        "API.GitHub.COM",
        "api.github.com.",
        "API.GITHUB.COM.:80",
    ],
)
def test_every_spelling_of_a_host_is_judged_as_that_host(gateway: Gateway, pki: Pki, origin: Origin, host: str) -> None:
    with gateway.connect(pki.team_a) as caller:
        assert caller.ask("/zen", host=host).status == 200
        assert caller.ask("/users/torvalds", host=host).status == 403
    with gateway.connect(pki.team_b) as caller:
        assert caller.ask("/zen", host=host).status == 403
    assert [(request.target, request.values("host")) for request in origin.requests] == [("/zen", ["api.github.com"])]


@pytest.mark.parametrize(
    "host",
    ["example.com", "github.com", "x.api.github.com", "api.github.com:8080", "api.github.com:22", "127.0.0.1", "[::1]",
     "169.254.169.254", "localhost", "api.github.com.evil.example", "httpbingo.org:444"],
)  # fmt: skip
def test_a_host_that_is_no_service_is_unknown(gateway: Gateway, pki: Pki, origin: Origin, host: str) -> None:
    answer = gateway.ask(pki.team_a, "/zen", host=host)

    assert (answer.status, answer.text) == (404, "route not found")
    assert origin.requests == []


@pytest.mark.parametrize(
    "host",
    ["", "api.github.com..", "user@api.github.com", "api.github.com:", "api.github.com:0", "api.github.com:99999",
     "api.github.com:80:80", "api.github.com/zen", "api%2egithub.com", "api.github.com, httpbingo.org", "[::1", "*",
     "api .github.com", "api.github.com\xe9", "api.github.com:+80", "-", "httpbingo.org#api.github.com"],
    ids=ascii,
)  # fmt: skip
def test_a_host_that_is_none_is_refused(gateway: Gateway, pki: Pki, origin: Origin, host: str) -> None:
    answer = gateway.send(pki.team_a, spell("/zen", host=host))

    assert (answer.status, answer.text) == (400, "invalid request")
    assert origin.requests == []


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("http://httpbingo.org/zen", "api.github.com"),
        ("http://api.github.com/headers", "httpbingo.org"),
        ("http://api.github.com:8080/zen", "api.github.com"),
        ("http://api.github.com@httpbingo.org/zen", "api.github.com"),
        ("http://httpbingo.org#@api.github.com/zen", "api.github.com"),
        ("http://httpbingo.org\\@api.github.com/zen", "api.github.com"),
    ],
)
def test_an_absolute_target_must_agree_with_host(
    gateway: Gateway, pki: Pki, origin: Origin, target: str, host: str
) -> None:
    answer = gateway.send(pki.team_a, spell(target, host=host))

    assert (answer.status, answer.text) == (400, "invalid request")
    assert origin.requests == []


def test_the_path_of_an_absolute_target_is_judged_like_any_other(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    assert gateway.send(pki.team_a, spell("http://api.github.com/users/torvalds")).status == 403
    assert gateway.send(pki.team_a, spell("http://api.github.com/repos/../users/x")).status == 400
    assert gateway.send(pki.team_a, spell("http://api.github.com")).status == 403
    assert origin.requests == []


@pytest.mark.parametrize(
    "field",
    ["X-Forwarded-Host: httpbingo.org", "X-Original-URL: /zen", "X-Rewrite-URL: /zen", "X-HTTP-Method-Override: GET",
     "Forwarded: host=httpbingo.org"],
)  # fmt: skip
def test_no_field_changes_what_is_judged(gateway: Gateway, pki: Pki, origin: Origin, field: str) -> None:
    assert gateway.ask(pki.team_a, "/users/torvalds", field).status == 403
    assert origin.requests == []
