"""Response policies, driven message by message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from config.attributes import Peer, RequestAttributes, SpiffeId
from config.cel import compile_expression
from config.policy.authorization import Authorization
from config.policy.body import BodyBuffer, BodyValue, Buffer
from config.policy.conditional import Choice, Conditional
from config.policy.headers import DECISION_ID, HeaderModifier
from config.policy.transformation import Rewrites, Transform, Transformation
from config.snapshot import Route, Snapshot
from middleware.context import CONTEXT, Connection, RequestContext
from middleware.errors import UpstreamProtocolError
from middleware.problems import ProblemMiddleware
from middleware.responses import ResponsePolicyMiddleware, with_queued
from tests.support.loops import in_loop

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

PEER = Peer(SpiffeId("cluster.local", "/ns/a/sa/b", "a", "b"))


def transforming(text: str) -> Transformation:
    transform = Transform(body=BodyValue(compile_expression(text)))
    return Transformation(Conditional.always(Rewrites(response=transform)))


def start(status: int = 200, *headers: tuple[bytes, bytes]) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def part(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def answered(
    messages: list[Any], *, method: str = "GET", queued: Any = None, **fields: Any
) -> tuple[list[Message], list[int], RequestContext]:
    """Return what is sent, how much of it was after each message, and the record. A message may be an exception."""
    context = RequestContext(Snapshot("0" * 12, "ns/gateway"), Connection("", 0, "", 0, "https"), {})
    context.route = Route("ns/route", Authorization.of(), **fields)
    context.attributes = RequestAttributes(PEER, method, "h", "/")
    context.queued_headers = queued
    scope: dict[str, Any] = {"method": method, "headers": [], CONTEXT: context}
    sent: list[Message] = []
    progress: list[int] = []

    async def app(_: Scope, __: Receive, send: Send) -> None:
        for message in messages:
            if isinstance(message, Exception):
                raise message
            if message["type"] == "http.response.start":
                context.status = message["status"]
            await send(message)
            progress.append(len(sent))

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("nobody reads here")

    await ResponsePolicyMiddleware(ProblemMiddleware(app))(scope, receive, send)
    return sent, progress, context


@in_loop
async def test_what_needs_no_body_is_not_held() -> None:
    modifier = HeaderModifier(set=((b"a", b"1"),))
    sent, progress, context = await answered([start(), part(b"x"), part(b"", more=False)], response_headers=modifier)

    assert progress == [1, 2, 3]
    assert sent[0]["headers"] == [(b"a", b"1")]
    assert context.status == 200


@in_loop
async def test_queued_fields_come_last_and_replace_their_names() -> None:
    sent, _, _ = await answered(
        [start(200, (b"a", b"1"), (b"vary", b"x")), part(b"", more=False)], queued=[(b"a", b"2"), (b"vary", b"y")]
    )

    assert sent[0]["headers"] == [(b"vary", b"x"), (b"a", b"2"), (b"vary", b"y")]


@in_loop
async def test_an_answer_that_fails_while_it_is_held_is_answered_anew() -> None:
    sent, _, context = await answered(
        [start(200, (b"x-first", b"1")), part(b"secret"), UpstreamProtocolError("broken")],
        buffer=Buffer(response=BodyBuffer(100)),
    )

    assert (sent[0]["status"], sent[1]["body"]) == (502, b"upstream protocol error")
    assert b"x-first" not in dict(sent[0]["headers"])
    assert (context.status, context.aborted, context.bytes_out) == (502, False, len(b"upstream protocol error"))


@pytest.mark.parametrize("fields", [[], [(b"content-length", b"9")]])
@in_loop
async def test_a_local_answer_is_never_too_large(fields: list[tuple[bytes, bytes]]) -> None:
    headers = [(DECISION_ID, b"1"), *fields]
    sent, _, _ = await answered(
        [start(403, *headers), part(b"forbidden", more=False)], buffer=Buffer(response=BodyBuffer(1))
    )

    assert (sent[0]["status"], sent[1]["body"]) == (403, b"forbidden")


@in_loop
async def test_a_larger_answer_streams_where_the_buffer_is_open() -> None:
    sent, progress, _ = await answered(
        [start(), part(b"ab"), part(b"cd"), part(b"ef"), part(b"", more=False)],
        buffer=Buffer(response=BodyBuffer(3, fails_open=True)),
    )

    assert progress == [0, 0, 2, 3, 4]
    assert b"".join(message.get("body", b"") for message in sent) == b"abcdef"


@in_loop
async def test_a_replaced_stream_is_not_waited_for() -> None:
    sent, progress, context = await answered(
        [start(), part(b"a"), AssertionError("it was waited for")], transformation=transforming('"new"')
    )

    assert progress == [0]
    assert [message.get("body") for message in sent] == [None, b"new"]
    assert (context.status, context.bytes_out, context.error) == (200, 3, "")


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304), ("GET", 205)])
@in_loop
async def test_no_body_is_added_where_none_may_be(method: str, status: int) -> None:
    sent, _, _ = await answered(
        [start(status), part(b"", more=False)], method=method, transformation=transforming('"new"')
    )

    assert b"".join(message.get("body", b"") for message in sent) == b""
    assert dict(sent[0]["headers"]).get(b"content-length") == (b"0" if status == 205 else None)


@in_loop
async def test_a_condition_that_does_not_compile_leaves_a_refusal_as_it_is() -> None:
    choice = Choice(Rewrites(response=Transform(body=BodyValue(None))), is_unusable=True)
    sent, _, _ = await answered(
        [start(403, (DECISION_ID, b"1")), part(b"no", more=False)],
        transformation=Transformation(Conditional((choice,))),
    )

    assert (sent[0]["status"], sent[1]["body"]) == (403, b"no")


def test_queued_fields_replace_those_of_the_same_name_and_vary_is_added_to() -> None:
    headers = [(b"x-a", b"1"), (b"vary", b"accept"), (b"x-b", b"2"), (b"x-a", b"3")]

    assert with_queued(headers, [(b"x-a", b"new"), (b"vary", b"origin")]) == [
        (b"vary", b"accept"),
        (b"x-b", b"2"),
        (b"x-a", b"new"),
        (b"vary", b"origin"),
    ]
