"""Every answer of the gateway itself, in the three forms that a caller can read."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from config.snapshot import Snapshot
from middleware.context import TARGET
from middleware.errors import AuthorizationDeniedError, DownstreamClosedError, GatewayError, UpstreamAbortedError
from middleware.observe import ObserveMiddleware
from middleware.problems import ProblemMiddleware, answer
from tests.support.asgi import Call
from tests.support.loops import in_loop
from tests.support.tls import TEAM_A

if TYPE_CHECKING:
    from collections.abc import Callable

    from httpx2 import Response
    from starlette.types import Receive, Scope, Send

    from middleware.context import RequestContext
    from tests.support.gateway import RunningGateway


HOSTS = {
    "authorization_denied": "denied",
    "route_not_found": "unknown",
    "no_valid_backends": "dangling",
    "upstream_protocol_error": "broken",
    "upstream_call_failed": "dead",
}


def ask(gateway: RunningGateway, case: str, **headers: str) -> Response:
    """Make the request that has this answer."""
    method = "GET"
    match case:
        case "invalid_request":
            gateway.caller.state[TARGET] = b"/a/../b"
        case "identity_required":
            gateway.caller.chain = []
        case "method_not_allowed":
            method = "TRACE"
        case "upgrade_not_supported":
            headers["upgrade"] = "websocket"
        case "http_version_not_supported":
            gateway.caller.scope = {"http_version": "2"}
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.client.request(method, f"https://{HOSTS.get(case, 'origin')}.test/", headers=given)


ANSWERS = {
    "invalid_request": (400, "invalid request", 13),
    "identity_required": (403, "authorization failed", 7),
    "authorization_denied": (403, "authorization failed", 7),
    "route_not_found": (404, "route not found", 12),
    "method_not_allowed": (405, "method not allowed", 2),
    "no_valid_backends": (500, "no valid backends", 2),
    "upgrade_not_supported": (501, "upgrade not supported", 2),
    "upstream_protocol_error": (502, "upstream protocol error", 14),
    "upstream_call_failed": (503, "upstream call failed", 14),
    "http_version_not_supported": (505, "http version not supported", 2),
}
CASES = pytest.mark.parametrize("case", ANSWERS)


@CASES
@pytest.mark.parametrize("accept", ["*/*", "text/html", "application/problem+json;q=0", "application/json", ""])
def test_callers_read_the_plain_text_of_the_contract(case: str, accept: str, plain: RunningGateway) -> None:
    status, body, _ = ANSWERS[case]
    response = ask(plain, case, accept=accept)

    assert (response.status_code, response.content) == (status, body.encode())
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.headers["content-length"] == str(len(body))
    assert "date" in response.headers


@CASES
@pytest.mark.parametrize("accept", ["application/problem+json", "text/html, Application/Problem+JSON;q=0.1"])
def test_callers_that_name_problem_json_read_the_same_facts(case: str, accept: str, plain: RunningGateway) -> None:
    status, body, _ = ANSWERS[case]
    response = ask(plain, case, accept=accept)

    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json() == {
        "type": f"urn:egress-gateway:{case}",
        "title": body,
        "status": status,
        "reason": case,
        "decision_id": response.headers["x-egress-decision-id"],
    }


@CASES
@pytest.mark.parametrize("content_type", ["application/grpc", "application/grpc+proto", "Application/gRPC"])
def test_grpc_callers_read_a_grpc_status_in_the_head(case: str, content_type: str, plain: RunningGateway) -> None:
    _, body, grpc_status = ANSWERS[case]
    response = ask(plain, case, content_type=content_type, accept="application/problem+json")

    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-type"] == "application/grpc"
    assert (response.headers["grpc-status"], response.headers["grpc-message"]) == (str(grpc_status), body)
    assert "x-egress-decision-id" in response.headers


@CASES
def test_an_answer_carries_the_decision_id_of_its_log_line_and_tells_no_more(case: str, plain: RunningGateway) -> None:
    status, *_ = ANSWERS[case]
    response = ask(plain, case, accept="application/problem+json")

    line = plain.line(response.headers["x-egress-decision-id"])
    assert (line["http.status"], line["level"]) == (status, "warning")
    assert line["error"]
    assert line["bytes_out"] == len(response.content)
    told = response.text + json.dumps(dict(response.headers))
    secrets = ["test/", "deny", "127.0.0.1", "8080", "Error", "Traceback", TEAM_A, str(line["error"]), "dangl"]
    assert [secret for secret in secrets if secret in told.replace("authorization_denied", "")] == []


@pytest.mark.parametrize("case", ["invalid_request", "upgrade_not_supported", "http_version_not_supported"])
def test_after_a_request_that_was_not_understood_the_connection_is_closed(case: str, plain: RunningGateway) -> None:
    assert ask(plain, case).headers["connection"] == "close"


@CASES
def test_the_slug_of_an_answer_is_its_reason_in_the_log(case: str, plain: RunningGateway) -> None:
    line = plain.line(ask(plain, case).headers["x-egress-decision-id"])

    # Where policy refused, the step of its algorithm is named.
    assert line["reason"] == {"authorization_denied": "deny_matched"}.get(case, case)


# unit: the layer alone


def layer(app: Callable[..., Any]) -> tuple[ObserveMiddleware, list[RequestContext]]:
    recorded: list[RequestContext] = []
    snapshot = Snapshot("0" * 12, "ns/gateway")
    return ObserveMiddleware(ProblemMiddleware(app), snapshot, lambda _, context: recorded.append(context)), recorded


@in_loop
async def test_an_unexpected_error_is_500_and_stays_in_the_process_log(caplog: pytest.LogCaptureFixture) -> None:
    async def failing(_: Scope, __: Receive, ___: Send) -> None:
        raise LookupError("the secret reason")

    app, recorded = layer(failing)
    call = Call(app)
    with caplog.at_level(logging.ERROR, "egress"):
        await call.run()

    assert (call.status, call.content) == (500, b"internal error")
    assert call.headers[b"x-egress-decision-id"].decode() == recorded[0].decision_id
    assert (recorded[0].reason, recorded[0].error) == ("internal_error", "unexpected LookupError")
    (record,) = caplog.records
    assert (record.exception, record.decision_id) == ("LookupError", recorded[0].decision_id)  # type: ignore[attr-defined]
    assert "failing" in record.frames[-1]  # type: ignore[attr-defined]
    assert "the secret reason" not in str(vars(record))


@pytest.mark.parametrize("error", [UpstreamAbortedError("cut"), AuthorizationDeniedError("x"), LookupError("x")])
@in_loop
async def test_after_the_head_an_error_aborts_the_connection_and_sends_nothing_more(error: Exception) -> None:
    async def failing(scope: Scope, _: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        scope["egress.context"].status = 200
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise error

    app, recorded = layer(failing)
    call = Call(app)
    await call.run()

    assert call.aborted == 1
    assert len(call.sent) == 2
    assert not call.is_complete
    assert recorded[0].status == 200
    assert recorded[0].error


@in_loop
async def test_a_caller_that_left_is_not_answered() -> None:
    async def leaving(_: Scope, __: Receive, ___: Send) -> None:
        raise DownstreamClosedError("the caller left")

    app, recorded = layer(leaving)
    call = Call(app)
    await call.run()

    assert call.sent == []
    assert (recorded[0].status, recorded[0].error) == (None, "the caller left")


@in_loop
async def test_a_head_request_counts_no_body() -> None:
    async def failing(_: Scope, __: Receive, ___: Send) -> None:
        raise GatewayError

    app, recorded = layer(failing)
    call = Call(app, "HEAD")
    await call.run()

    assert call.headers[b"content-length"] == b"14"
    assert recorded[0].bytes_out == 0


@pytest.mark.parametrize(
    ("accept", "json_wanted"),
    [
        (["application/problem+json"], True),
        (["application/problem+json;q=0.001"], True),
        (["application/problem+json; charset=utf-8"], True),
        (["text/html;q=0.9,application/problem+json;q=0.5"], True),
        (["application/problem+json", "*/*"], True),
        (["*/*", "application/problem+json"], True),
        (["application/problem+json;q=0"], False),
        (["application/problem+json; Q=0.000"], False),
        (["application/problem+json;q=much"], False),
        (["application/*"], False),
        (["*/*"], False),
        (["application/problem+json-seq"], False),
        ([""], False),
        ([], False),
    ],
)
def test_problem_json_must_be_named_with_a_weight_above_zero(accept: list[str], *, json_wanted: bool) -> None:
    _, headers, _ = answer(GatewayError(), "id", [(b"accept", value.encode()) for value in accept])

    assert (dict(headers)[b"content-type"] == b"application/problem+json") is json_wanted
