from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from config.attributes import MAX_BODY_BYTES, Peer, RequestAttributes, SpiffeId
from config.cel import compile_expression
from config.policy.authorization import Authorization
from config.policy.rules import Action, Rule
from config.snapshot import Route, Snapshot
from middleware.body import BodyMiddleware
from middleware.context import CONTEXT, Connection, RequestContext
from middleware.errors import DownstreamClosedError
from tests.support.loops import in_loop

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

PEER = Peer(SpiffeId("cluster.local", "/ns/a/sa/b", "a", "b"))


class Caller:
    """Gives the parts of a body, one a message."""

    def __init__(self, *parts: bytes, leaves: bool = False) -> None:
        self.parts = list(parts)
        self.leaves = leaves

    async def __call__(self) -> Message:
        if self.leaves and not self.parts:
            return {"type": "http.disconnect"}
        part = self.parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(self.parts) or self.leaves}


async def passed_on(caller: Caller, rule: str) -> tuple[bytes, RequestContext, int]:
    """Return what the next layer reads, the request's record, and how many parts were taken before it ran."""
    expression = compile_expression(rule, strict_headers=True)
    authorization = Authorization.of([Rule("ns/p#0", Action.ALLOW, expression)])
    route = Route("ns/route", authorization)
    context = RequestContext(Snapshot("0" * 12, "ns/gateway"), Connection("", 0, "", 0, "https"), {})
    context.route, context.attributes = route, RequestAttributes(PEER, "POST", "h", "/")
    scope: dict[str, Any] = {}
    scope[CONTEXT] = context
    before, body = len(caller.parts), b""
    taken = 0

    async def app(_: Scope, receive: Receive, __: Send) -> None:
        nonlocal body, taken
        taken = before - len(caller.parts)
        more = True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]

    async def send(_: Message) -> None:
        raise AssertionError("nothing is sent here")

    await BodyMiddleware(app)(scope, caller, send)
    return body, context, taken


def allowed(context: RequestContext) -> bool:
    route, attributes = context.routed()
    return route.authorization.decide(attributes).allowed


@in_loop
async def test_a_body_that_a_rule_names_is_read_and_passed_on() -> None:
    body, context, _ = await passed_on(Caller(b'{"dry', b'Run": ', b"true}"), "json(request.body).dryRun == true")

    assert body == b'{"dryRun": true}'
    assert allowed(context)


@in_loop
async def test_what_was_read_counts_where_the_request_goes_no_further_and_once_where_it_does() -> None:
    expression = compile_expression('request.body == b""', strict_headers=True)
    authorization = Authorization.of([Rule("ns/p#0", Action.ALLOW, expression)])
    context = RequestContext(Snapshot("0" * 12, "ns/gateway"), Connection("", 0, "", 0, "https"), {})
    context.route = Route("ns/route", authorization)
    context.attributes = RequestAttributes(PEER, "POST", "h", "/")

    async def refuse(_: Scope, __: Receive, ___: Send) -> None:
        assert context.bytes_in == 5

    async def send(_: Message) -> None:
        raise AssertionError("nothing is sent here")

    await BodyMiddleware(refuse)({CONTEXT: context}, Caller(b"ab", b"cde"), send)

    assert context.bytes_in == 5
    _, passed, _ = await passed_on(Caller(b"ab", b"cde"), 'request.body == b""')
    assert passed.bytes_in == 0  # whoever reads it on counts it


@in_loop
async def test_a_body_that_no_rule_names_is_not_touched() -> None:
    body, context, taken = await passed_on(Caller(b"a", b"b"), 'request.method == "POST"')

    assert (body, taken) == (b"ab", 0)
    assert context.routed()[1].body is None


@in_loop
async def test_of_a_body_that_is_too_large_only_the_prefix_can_be_read() -> None:
    parts = [b"a" * 1024 * 1024] * 4
    body, context, taken = await passed_on(Caller(*parts), "size(request.bodyPrefix) > 0")

    assert (len(body), taken) == (4 * 1024 * 1024, 3)
    assert allowed(context)
    assert len(context.routed()[1].body or b"") == MAX_BODY_BYTES
    _, context, _ = await passed_on(Caller(*parts), "size(request.body) > 0")
    assert not allowed(context)


@in_loop
async def test_a_body_of_the_greatest_size_is_whole() -> None:
    _, context, _ = await passed_on(Caller(b"a" * MAX_BODY_BYTES), f"size(request.body) == {MAX_BODY_BYTES}")

    assert allowed(context)


@in_loop
async def test_a_caller_that_leaves_within_its_body_ends_the_request() -> None:
    with pytest.raises(DownstreamClosedError):
        await passed_on(Caller(b"a", leaves=True), "size(request.body) > 0")


@pytest.mark.parametrize("text", ["request.body", 'request["body"]', "request.bodyPrefix"])
def test_every_way_to_name_the_body_has_it_read(text: str) -> None:
    assert compile_expression(f"size({text}) > 0").reads_body
    assert not compile_expression("request.headers.body").reads_body
