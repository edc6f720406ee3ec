"""Messages rewritten on their way, over real sockets: the two examples, and policies of the test."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest

from tests.conformance.harness.certificates import ORIGIN_HOSTS
from tests.conformance.harness.client import request as spell
from tests.conformance.harness.gateway import ROOT, WORKSHOP, Gateway, running_gateway
from tests.conformance.harness.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conformance.harness.certificates import Pki
    from tests.conformance.harness.origin import Exchange, Origin

EXAMPLES = [ROOT / "deploy" / "examples" / name for name in ("13-direct-response.yaml", "27-transformation.yaml")]
HOST = "httpbingo.org"
FORGED = ("X-Caller-Identity: evil", "X_Caller_Identity: evil", "X-Forwarded-By: evil", "X-Internal-Debug: 1")
POLICIES = """\
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayPolicy
metadata: {name: responses, namespace: egress-direct}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: httpbingo}]
  traffic:
    transformation:
      conditional:
        - condition: request.path.startsWith("/body/")
          policy:
            response:
              set: [{name: X-Size, value: string(size(response.body))}]
              body: '"[" + string(response.body) + "]"'
        - condition: request.path.startsWith("/prefix/")
          policy:
            response:
              set:
                - {name: X-Whole, value: string(size(response.body))}
                - {name: X-Prefix, value: string(size(response.bodyPrefix))}
        - condition: request.path.startsWith("/sorry")
          policy: {response: {body: '"sorry"', set: [{name: ":status", value: "503"}]}}
        - condition: request.path.startsWith("/gone")
          policy: {response: {set: [{name: ":status", value: "204"}]}}
        - condition: request.path == "/no-path"
          policy: {request: {set: [{name: ":path", value: 'request.headers["x-path"]'}]}}
        - condition: request.path == "/failing"
          policy: {request: {set: [{name: ":method", value: "1 / 0"}]}}
        - condition: request.path == "/authority"
          policy:
            request: {set: [{name: ":authority", value: '"other.example:81"'}, {name: ":method", value: '"PUT"'}]}
        - policy: {response: {set: [{name: X-Code, value: response.code}]}}
    headerModifiers:
      response: {set: [{name: X-Fixed, value: "1"}]}
---
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayPolicy
metadata: {name: no-secret, namespace: egress-direct}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: httpbingo}]
  traffic:
    authorization:
      action: Deny
      policy: {matchExpressions: ['request.path.startsWith("/secret")']}
---
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayPolicy
metadata: {name: limits, namespace: egress-direct}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: github}]
  traffic:
    buffer: {request: {maxBytes: 1000}, response: {maxBytes: 100000}}
    delay: {duration: 'request.path == "/repos/slow" ? 60000 : 0'}
    directResponse:
      conditional:
        - {condition: request.path == "/repos/direct", policy: {status: 503, bodyExpression: '{"path": request.path}'}}
        - {condition: request.path == "/repos/none", policy: {status: 204}}
        - {condition: request.path == "/repos/fails", policy: {status: 200, bodyExpression: "1 / 0"}}
"""


@pytest.fixture(scope="module", params=["httptools", "h11"])
def gateway(
    request: pytest.FixtureRequest, pki: Pki, origin: Origin, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("transformation")
    policies = directory / "policies.yaml"
    policies.write_text(POLICIES)
    origins = dict.fromkeys(ORIGIN_HOSTS, origin.port)
    arguments = ("--http", request.param)
    with running_gateway(pki, directory, origins, manifests=[WORKSHOP, policies], arguments=arguments) as running:
        yield running


@pytest.fixture(scope="module")
def examples(pki: Pki, origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    origins = dict.fromkeys(ORIGIN_HOSTS, origin.port)
    with running_gateway(pki, tmp_path_factory.mktemp("examples"), origins, manifests=[WORKSHOP, *EXAMPLES]) as running:
        yield running


def test_the_direct_response_stays_behind_the_policies_of_the_workshop(
    examples: Gateway, pki: Pki, origin: Origin
) -> None:
    seen = len(origin.requests)
    for target in ("/emojis", "/mock/x"):
        assert examples.ask(pki.team_a, target).status == 403, "the workshop's path rule comes first"
    assert len(origin.requests) == seen
    answer = examples.ask(pki.team_a, "/maintenance", host=HOST)
    assert (answer.status, answer.value("retry-after")) == (503, "120")
    assert len(origin.requests) == seen
    assert examples.ask(pki.team_a, "/zen").status == 200


def test_the_example_rewrites_a_request_and_its_answer(examples: Gateway, pki: Pki, origin: Origin) -> None:
    with examples.connect(pki.team_a) as caller:
        answer = caller.ask("/events", *FORGED, method="POST", host=HOST, body=b'{"id": 7}')
        again = caller.ask("/get", "User-Agent: curl", *FORGED, host=HOST)

    received = origin.requests[-2]
    assert (received.method, received.target) == ("POST", "/post?team=team-a")
    assert json.loads(received.body) == {"team": "team-a", "event": {"id": 7}}
    assert received.values("content-length") == [str(len(received.body))]
    assert received.values("x-environment") == ["production"]
    assert json.loads(answer.text) == {"accepted": True, "team": "team-a"}
    assert answer.value("content-length") == str(len(answer.body))
    assert again.value("x-upstream-status") == "200"
    headers = json.loads(again.text)["headers"]
    assert (headers["user-agent"], headers["x-caller-identity"]) == (["egress-gateway"], ["team-a/team-a"])
    assert "x-internal-debug" not in headers
    for sent in origin.requests[-2:]:
        assert sent.values("x-caller-identity") == ["team-a/team-a"]
        assert sent.values("x-forwarded-by") == ["agentgateway-egress"]
        assert not sent.values("x_caller_identity")
        assert not sent.values("x-internal-debug")


def test_a_refused_request_is_answered_through_the_response_policies(gateway: Gateway, pki: Pki) -> None:
    answer = gateway.ask(pki.team_b, "/get", host=HOST)

    assert (answer.status, answer.text) == (403, "authorization failed")
    assert (answer.value("x-fixed"), answer.value("x-code")) == ("1", "403")
    assert gateway.line_of(answer)["http.status"] == 403


def test_a_body_made_from_the_body_has_its_own_length(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    def chunked(exchange: Exchange) -> None:
        exchange.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: x\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"
        )

    origin.handlers["/body/chunked"] = chunked
    with gateway.connect(pki.team_a) as caller:
        for _ in range(2):
            answer = caller.ask("/body/chunked", host=HOST)
            assert (answer.status, answer.body, answer.value("x-size")) == (200, b"[abcdef]", "6")
            assert answer.values("etag") == answer.values("transfer-encoding") == []


@pytest.mark.parametrize("framed", ["length", "chunked"])
def test_a_body_too_large_to_be_read_streams_on_unharmed(
    framed: str, gateway: Gateway, pki: Pki, origin: Origin
) -> None:
    large = b"0123456789" * 300_000

    def send(exchange: Exchange) -> None:
        if framed == "length":
            exchange.answer(large)
            return
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        exchange.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(large), large))

    origin.handlers["/prefix/large"] = send
    with gateway.connect(pki.team_a) as caller:
        answer = caller.ask("/prefix/large", host=HOST)
    assert answer.body == large
    assert answer.values("x-whole") == []
    assert answer.value("x-prefix") == str(2 * 1024 * 1024)


def test_a_replaced_stream_is_answered_at_once_and_ended(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    ended = threading.Event()

    def stream(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\n\r\nendless")
        exchange.wait_for_the_end()
        ended.set()

    origin.handlers["/sorry/stream"] = stream
    with gateway.connect(pki.team_a) as caller:
        for _ in range(2):
            ended.clear()
            answer = caller.ask("/sorry/stream", "X-Request-Id: replaced", host=HOST)
            assert (answer.status, answer.text, answer.value("content-length")) == (503, "sorry", "5")
            assert ended.wait(PATIENCE_SECONDS)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/sorry", "/gone", "/body/x", "/get"])
def test_framing_stays_right_so_that_the_next_request_is_answered(
    path: str, method: str, gateway: Gateway, pki: Pki, origin: Origin
) -> None:
    def answer(exchange: Exchange) -> None:
        body = b"text"
        if exchange.request.method == "HEAD":
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        else:
            exchange.answer(body)

    origin.handlers[path] = answer
    with gateway.connect(pki.team_a) as caller:
        statuses = [caller.ask(path, method=method, host=HOST).status for _ in range(3)]
    assert statuses == [{"/sorry": 503, "/gone": 204}.get(path, 200)] * 3


def test_a_body_is_never_added_where_none_may_be(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    origin.handlers["/body/none"] = lambda exchange: exchange.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    with gateway.connect(pki.team_a) as caller:
        for _ in range(2):
            answer = caller.ask("/body/none", host=HOST)
            assert (answer.status, answer.values("content-length")) == (204, [])
            assert answer.values("transfer-encoding") == []


def test_an_origin_that_fails_while_its_answer_is_held_is_a_502(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    def cut(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
        exchange.reset()

    origin.handlers["/body/cut"] = cut
    answer = gateway.ask(pki.team_a, "/body/cut", host=HOST)
    assert (answer.status, answer.text, answer.value("x-size")) == (502, "[upstream protocol error]", "23")


@pytest.mark.parametrize(
    ("path", "status"),
    [("/get?a=b", 200), ("/%7Ex", 200), ("/secret/x", 403), ("/a/../secret", 400), ("relative", 400)],
)
def test_a_rewritten_path_is_judged_again(path: str, status: int, gateway: Gateway, pki: Pki, origin: Origin) -> None:
    seen = len(origin.requests)
    answer = gateway.ask(pki.team_a, "/no-path?old", f"X-Path: {path}", host=HOST)
    assert answer.status == status
    if status == 200:
        assert origin.requests[-1].target == path.replace("%7E", "~")
    else:
        assert len(origin.requests) == seen


def test_a_first_line_that_cannot_be_made_is_not_sent(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    seen = len(origin.requests)
    assert gateway.ask(pki.team_a, "/no-path", host=HOST).status == 500
    assert gateway.ask(pki.team_a, "/failing", host=HOST).status == 500
    assert len(origin.requests) == seen


def test_method_and_authority_are_rewritten_and_the_destination_stays(
    gateway: Gateway, pki: Pki, origin: Origin
) -> None:
    assert gateway.ask(pki.team_a, "/authority", host=HOST).status == 200
    received = origin.requests[-1]
    assert (received.method, received.values("host")) == ("PUT", ["other.example:81"])
    assert set(origin.handshakes) <= set(ORIGIN_HOSTS)


@pytest.mark.parametrize("declared", ["declared", "chunked"])
def test_a_request_that_is_too_large_is_refused(declared: str, gateway: Gateway, pki: Pki, origin: Origin) -> None:
    seen = len(origin.requests)
    with gateway.connect(pki.team_a) as caller:
        if declared == "declared":
            caller.send(spell("/zen", "Content-Length: 1001", method="POST"))
        else:
            head = spell("/zen", "Transfer-Encoding: chunked", method="POST")
            caller.send(head + b"3e9\r\n" + b"a" * 1001 + b"\r\n0\r\n\r\n")
        answer = caller.read()
    assert (answer.status, answer.text, answer.value("connection")) == (413, "payload too large", "close")
    assert len(origin.requests) == seen


def test_a_buffered_request_reaches_the_origin_with_its_length(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    with gateway.connect(pki.team_a) as caller:
        head = spell("/zen", "Transfer-Encoding: chunked", method="POST")
        caller.send(head + b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n")
        assert caller.read().status == 200
    received = origin.requests[-1]
    assert (received.body, received.values("content-length")) == (b"abcd", ["4"])
    assert received.values("transfer-encoding") == []


@pytest.mark.parametrize("framed", ["length", "chunked"])
def test_an_answer_that_is_too_large_is_a_502(framed: str, gateway: Gateway, pki: Pki, origin: Origin) -> None:
    def large(exchange: Exchange) -> None:
        head = b"Content-Length: 100001" if framed == "length" else b"X: y"
        exchange.closed = True
        exchange.send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%b" % (head, b"a" * 100_001))
        exchange.end()

    origin.handlers["/repos/large"] = large
    answer = gateway.ask(pki.team_a, "/repos/large")
    assert (answer.status, answer.text) == (502, "response too large")
    assert gateway.line_of(answer)["http.status"] == 502


def test_a_caller_who_leaves_ends_the_delay(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    seen = len(origin.requests)
    with gateway.connect(pki.team_a) as caller:
        caller.send(spell("/repos/slow", "X-Request-Id: delayed"))
    line = gateway.access_line("request_id", "delayed")
    assert line["http.status"] is None
    assert len(origin.requests) == seen


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_direct_response_calls_no_backend(method: str, gateway: Gateway, pki: Pki, origin: Origin) -> None:
    seen = len(origin.requests)
    with gateway.connect(pki.team_a) as caller:
        body = b"abc" if method == "POST" else b""
        for path, status, text in [
            ("/repos/direct", 503, b'{"path":"/repos/direct"}'),
            ("/repos/none", 204, b""),
            ("/repos/fails", 500, b"internal error"),
        ]:
            answer = caller.ask(path, method=method, body=body)
            assert (answer.status, answer.body) == (status, b"" if method == "HEAD" else text)
            assert answer.values("content-length") == ([] if status == 204 else [str(len(text))])
            assert len(answer.values("date")) == 1
            assert gateway.line_of(answer)["http.status"] == status
    assert len(origin.requests) == seen
