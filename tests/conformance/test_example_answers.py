"""Examples 13 to 15 over real sockets: answers of the gateway's own, rewritten targets, redirects and mirrors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.harness.certificates import ORIGIN_HOSTS
from tests.conformance.harness.examples import example, mirror_all, running_manifests
from tests.conformance.harness.origin import running_origin
from tests.conformance.harness.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conformance.harness.certificates import Pki
    from tests.conformance.harness.client import Answer
    from tests.conformance.harness.gateway import Gateway
    from tests.conformance.harness.origin import Exchange, Origin

BINGO = "httpbingo.org"
SHADOW = "shadow.egress-direct.svc.cluster.local:8080"


@pytest.fixture(autouse=True)
def _forget(origin: Origin) -> None:
    origin.requests.clear()
    origin.handlers.clear()


def both(origin: Origin) -> dict[str, int]:
    return {f"{host}:443": origin.port for host in ORIGIN_HOSTS}


def echoed(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer.text
    document: dict[str, Any] = json.loads(answer.body)
    return document


@pytest.fixture(scope="module")
def closed(pki: Pki, origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Run the maintenance page, and the same for the host whose paths no other policy of the workshop refuses."""
    directory = tmp_path_factory.mktemp("direct")
    first = example("13").read_text().partition("\n---\n")[0] + "\n"
    other = first.replace("github-maintenance", "bingo-maintenance").replace("name: github\n", "name: httpbingo\n")
    manifests = [directory / "first.yaml", directory / "other.yaml"]
    for path, text in zip(manifests, (first, other), strict=True):
        path.write_text(text)
    with running_manifests(pki, directory, manifests, both(origin)) as gateway:
        yield gateway


@pytest.mark.parametrize("target", ["/emojis", "/mock/x"])
def test_policy_comes_before_a_direct_response(closed: Gateway, pki: Pki, target: str) -> None:
    answer = closed.ask(pki.team_a, target)

    assert (answer.status, answer.text) == (403, "authorization failed")
    assert closed.ask(pki.team_b, target, host=BINGO).status == 403


def test_a_fixed_answer_names_its_fields_and_calls_nobody(closed: Gateway, pki: Pki, origin: Origin) -> None:
    answer = closed.ask(pki.team_a, "/emojis", host=BINGO)

    assert (answer.status, answer.text) == (503, "api.github.com is closed for maintenance\n")
    assert answer.value("retry-after") == "120"
    line = closed.line_of(answer)
    assert (line["http.status"], line["endpoint"], line["decision"]) == (503, None, "allow")
    assert closed.ask(pki.team_a, "/emojis", host=BINGO, method="HEAD").body == b""
    assert origin.requests == []


def test_an_answer_is_written_by_an_expression(closed: Gateway, pki: Pki, origin: Origin) -> None:
    answer = closed.ask(pki.team_a, "/mock/a?b=c", host=BINGO)

    assert (answer.status, answer.value("content-type")) == (200, "application/json")
    assert json.loads(answer.body) == {"path": "/mock/a", "caller": "team-a"}
    assert origin.requests == []


def test_where_no_condition_holds_the_origin_answers(closed: Gateway, pki: Pki, origin: Origin) -> None:
    assert closed.ask(pki.team_a, "/emojis/", host=BINGO).status == 200
    assert closed.ask(pki.team_a, "/zen").status == 200
    assert origin.targets() == ["/emojis/", "/zen"]


@pytest.fixture(scope="module")
def rewriting(pki: Pki, origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("rewriting")
    with running_manifests(pki, directory, [example("14")], both(origin)) as gateway:
        yield gateway


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("/v1/code", "/anything"),
        ("/v1/code/octocat?x=1", "/anything/octocat?x=1"),
        ("/v1/code/a%20b;c=%7E/?q=%7E%2F&&=?/..%00", "/anything/a%20b;c=~/?q=%7E%2F&&=?/..%00"),
        ("/v1/codex", "/v1/codex"),
        ("/motto", "/anything/zen"),
        ("/motto?a=%41", "/anything/zen?a=%41"),
        ("/motto/", "/motto/"),
    ],
)
def test_a_target_is_rewritten_and_its_query_kept(
    rewriting: Gateway, pki: Pki, origin: Origin, target: str, sent: str
) -> None:
    assert echoed(rewriting.ask(pki.team_a, target, host=BINGO))["headers"]["host"] == [BINGO]
    assert origin.targets() == [sent]


def test_policy_judges_the_path_before_and_after_it_is_rewritten(rewriting: Gateway, pki: Pki, origin: Origin) -> None:
    for target in ("/v1/code/octocat", "/motto"):
        answer = rewriting.ask(pki.team_a, target)
        assert (answer.status, answer.text) == (403, "authorization failed")
    for target in ("/v1/code/../users", "/v1/code/%2e%2e/users", "/v1/code//x"):
        assert rewriting.ask(pki.team_a, target, host=BINGO).status == 400
    assert origin.requests == []


@pytest.fixture(scope="module")
def shadow() -> Iterator[Origin]:
    with running_origin(None) as running:
        yield running


@pytest.fixture(scope="module")
def redirecting(
    pki: Pki, origin: Origin, shadow: Origin, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """Run the redirects and the mirrored routes, whose every request is copied."""
    directory = tmp_path_factory.mktemp("redirecting")
    with running_manifests(pki, directory, [mirror_all(directory)], {**both(origin), SHADOW: shadow.port}) as gateway:
        yield gateway


def test_a_redirect_is_answered_here(redirecting: Gateway, pki: Pki, origin: Origin) -> None:
    for target, location in (
        ("/old/x?y=1", "https://docs.github.com/rest/x?y=1"),
        ("/old", "https://docs.github.com/rest"),
        ("/old?%7E=/..//", "https://docs.github.com/rest?%7E=/..//"),
    ):
        answer = redirecting.ask(pki.team_a, target, host=BINGO)
        assert (answer.status, answer.value("location"), answer.body) == (301, location, b"")
    assert redirecting.ask(pki.team_a, "/old/x").status == 403
    assert redirecting.ask(pki.team_b, "/old/x", host=BINGO).status == 403
    assert origin.requests == []


def test_an_origins_own_redirect_is_passed_on_and_never_followed(
    redirecting: Gateway, pki: Pki, origin: Origin
) -> None:
    elsewhere = "https://httpbingo.org/elsewhere"
    origin.handlers["/moved"] = lambda exchange: exchange.answer(b"", f"Location: {elsewhere}", status="302 Found")

    answer = redirecting.ask(pki.team_a, "/moved", host=BINGO)

    assert (answer.status, answer.value("location")) == (302, elsewhere)
    assert origin.targets() == ["/moved"]


def named(exchange: Exchange) -> None:
    exchange.read_body()
    exchange.answer(b"done", "Server: origin/1", "X-Kept: 1")


def test_a_copy_goes_to_the_mirror_and_its_answer_to_nobody(
    redirecting: Gateway, pki: Pki, origin: Origin, shadow: Origin
) -> None:
    origin.handlers["/mirror/a"] = named

    def busy(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.answer(b"never seen", status="500 No")

    shadow.handlers["/mirror/a"] = busy
    with redirecting.connect(pki.team_a) as caller:
        fields = ("X-Mirrored: forged", "x_mirrored: forged", "X-Internal-Debug: 1")
        answer = caller.ask("/mirror/a?b=1", *fields, host=BINGO, method="POST", body=b"payload")

    assert (answer.status, answer.text, answer.values("server"), answer.value("x-kept")) == (200, "done", [], "1")
    eventually("the copy", lambda: [copy for copy in shadow.requests if copy.body == b"payload"])
    [sent], [copy] = origin.requests, shadow.requests
    assert (copy.method, copy.target) == (sent.method, sent.target) == ("POST", "/mirror/a?b=1")
    for received in (sent, copy):
        assert received.values("x-mirrored") == ["yes"]
        assert not received.values("x_mirrored")
        assert not received.values("x-internal-debug")
        assert received.values("x-caller-identity") == ["team-a/team-a"]


def test_a_mirror_that_is_away_takes_nothing_from_a_request(redirecting: Gateway, pki: Pki, shadow: Origin) -> None:
    def away(exchange: Exchange) -> None:
        exchange.reset()

    shadow.handlers["/mirror/b"] = away
    before = len(shadow.requests)

    assert redirecting.ask(pki.team_a, "/mirror/b", host=BINGO).status == 200
    eventually("the copy", lambda: len(shadow.requests) > before)
    assert redirecting.ask(pki.team_a, "/mirror", host=BINGO).status == 200
