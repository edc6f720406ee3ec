"""Example 25 over real sockets: what pages may read and send, and how large a body may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.harness.certificates import ORIGIN_HOSTS
from tests.conformance.harness.client import request as spell
from tests.conformance.harness.examples import example, rewritten, running_manifests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conformance.harness.certificates import Pki
    from tests.conformance.harness.client import Answer
    from tests.conformance.harness.gateway import Gateway
    from tests.conformance.harness.origin import Exchange, Origin

BINGO = "httpbingo.org"
PAGE, OTHER = "https://app.example", "https://evil.example"
MIB = 1 << 20
ALLOW_ORIGIN = "access-control-allow-origin"


@pytest.fixture(autouse=True)
def _forget(origin: Origin) -> None:
    origin.requests.clear()
    origin.handlers.clear()


@pytest.fixture(scope="module")
def pages(pki: Pki, origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    places = {f"{host}:443": origin.port for host in ORIGIN_HOSTS}
    with running_manifests(pki, tmp_path_factory.mktemp("pages"), [example("25")], places) as gateway:
        yield gateway


def preflight(page: str) -> tuple[str, ...]:
    return (f"Origin: {page}", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type")


def test_a_preflight_is_answered_here_without_a_rule_that_allows_it(pages: Gateway, pki: Pki, origin: Origin) -> None:
    for identity in (pki.team_a, pki.team_b):
        answer = pages.ask(identity, "/post", *preflight(PAGE), host=BINGO, method="OPTIONS")
        assert (answer.status, answer.body, answer.value(ALLOW_ORIGIN)) == (200, b"", PAGE)
        assert answer.value("access-control-allow-methods") == "GET, POST"
        assert answer.value("access-control-allow-headers") == "content-type"
        assert answer.value("access-control-max-age") == "600"
        assert answer.value("vary").lower() == "origin"
    assert origin.requests == []


def test_a_preflight_of_another_page_grants_nothing(pages: Gateway, pki: Pki, origin: Origin) -> None:
    answer = pages.ask(pki.team_a, "/post", *preflight(OTHER), host=BINGO, method="OPTIONS")

    assert not [name for name, _ in answer.headers if name.startswith("access-control-")]
    assert origin.requests == []


def test_policy_alone_says_which_pages_may_read(pages: Gateway, pki: Pki, origin: Origin) -> None:
    def lax(exchange: Exchange) -> None:
        exchange.answer(b"x", "Access-Control-Allow-Origin: *", "Access-Control-Allow-Credentials: true")

    origin.handlers["/lax"] = lax
    for page, allowed in ((PAGE, [PAGE]), (OTHER, []), (f"{PAGE}.evil.example", []), ("null", [])):
        answer = pages.ask(pki.team_a, "/lax", f"Origin: {page}", host=BINGO)
        assert (answer.status, answer.values(ALLOW_ORIGIN)) == (200, allowed)
        assert answer.values("access-control-allow-credentials") == []


def test_a_page_may_read_why_it_was_refused(pages: Gateway, pki: Pki) -> None:
    answer = pages.ask(pki.team_b, "/get", f"Origin: {PAGE}", host=BINGO)

    assert (answer.status, answer.text, answer.value(ALLOW_ORIGIN)) == (403, "authorization failed", PAGE)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ((), 200),
        ((f"Origin: {PAGE}",), 200),
        ((f"Origin: {PAGE}", "Sec-Fetch-Site: cross-site"), 200),
        (("Sec-Fetch-Site: same-origin", f"Origin: {OTHER}"), 200),
        ((f"Origin: {OTHER}",), 403),
        (("Origin: null",), 403),
        (("Sec-Fetch-Site: cross-site",), 403),
        ((f"Origin: {PAGE}", f"Origin: {OTHER}"), 403),
    ],
)
def test_pages_of_other_sites_change_nothing(
    pages: Gateway, pki: Pki, origin: Origin, fields: tuple[str, ...], status: int
) -> None:
    answer = pages.ask(pki.team_a, "/post", *fields, host=BINGO, method="POST")

    assert answer.status == status
    assert len(origin.requests) == (status == 200)
    if status == 403:
        assert answer.text == "CSRF validation failed"
        assert pages.line_of(answer)["reason"] == "csrf_validation_failed"
    assert pages.ask(pki.team_a, "/get", *fields, host=BINGO).status == 200


def posted(gateway: Gateway, pki: Pki, size: int, *, chunked: bool) -> Answer:
    with gateway.connect(pki.team_a) as caller:
        if chunked:
            caller.send(spell("/post", "Transfer-Encoding: chunked", method="POST", host=BINGO))
            for at in range(0, size, 1 << 16):
                part = min(1 << 16, size - at)
                caller.send(b"%x\r\n%b\r\n" % (part, bytes(part)))
            caller.send(b"0\r\n\r\n")
        else:
            caller.send(spell("/post", method="POST", host=BINGO, body=bytes(size)))
        return caller.read()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_is_held_up_to_its_limit(pages: Gateway, pki: Pki, origin: Origin, *, chunked: bool) -> None:
    origin.handlers["/post"] = lambda exchange: exchange.answer(b"%d" % len(exchange.read_body()))

    assert posted(pages, pki, MIB, chunked=chunked).text == str(MIB)
    assert origin.requests[0].values("content-length") == [str(MIB)]
    answer = posted(pages, pki, MIB + 1, chunked=chunked)
    assert (answer.status, answer.text) == (413, "payload too large")
    assert pages.line_of(answer)["reason"] == "payload_too_large"
    assert len(origin.requests) == 1


def test_an_answer_beyond_its_limit_streams_on_where_that_is_said(pages: Gateway, pki: Pki, origin: Origin) -> None:
    origin.handlers["/large"] = lambda exchange: exchange.answer(bytes(4 * MIB + 1))

    assert len(pages.ask(pki.team_a, "/large", host=BINGO).body) == 4 * MIB + 1


def test_an_answer_beyond_its_limit_is_a_502_where_it_fails_closed(
    pki: Pki, origin: Origin, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("closed")
    copy = rewritten(directory, "25", ("failureMode: FailOpen", "failureMode: FailClosed"))
    origin.handlers["/large"] = lambda exchange: exchange.answer(bytes(4 * MIB + 1))
    origin.handlers["/fits"] = lambda exchange: exchange.answer(bytes(4 * MIB))
    with running_manifests(pki, directory / "run", [copy], {f"{BINGO}:443": origin.port}) as gateway:
        answer = gateway.ask(pki.team_a, "/large", f"Origin: {PAGE}", host=BINGO)
        assert (answer.status, answer.text, answer.value(ALLOW_ORIGIN)) == (502, "response too large", PAGE)
        assert gateway.line_of(answer)["reason"] == "response_too_large"
        assert len(gateway.ask(pki.team_a, "/fits", host=BINGO).body) == 4 * MIB
