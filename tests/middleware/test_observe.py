from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from config.snapshot import Snapshot
from middleware.context import CONTEXT, RequestContext
from middleware.observe import ObserveMiddleware
from tests.support.asgi import Call
from tests.support.loops import in_loop

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

SNAPSHOT = Snapshot("0" * 12, "ns/gateway")


@in_loop
async def test_a_request_begins_with_the_snapshot_of_its_layers() -> None:
    seen: list[Snapshot] = []

    async def app(scope: Scope, _: Receive, __: Send) -> None:
        seen.append(scope[CONTEXT].snapshot)

    await Call(ObserveMiddleware(app, SNAPSHOT, lambda *_: None)).run()

    assert seen == [SNAPSHOT]


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt()])
@in_loop
async def test_a_request_that_ends_in_an_error_is_recorded_once_and_the_error_goes_on(error: BaseException) -> None:
    recorded: list[str] = []

    async def app(_: Scope, __: Receive, ___: Send) -> None:
        raise error

    def record(_: Scope, context: RequestContext) -> None:
        recorded.append(context.error)

    with pytest.raises(type(error)):
        await Call(ObserveMiddleware(app, SNAPSHOT, record)).run()
    assert recorded == [f"ended by {type(error).__name__}"]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"abc-123_X.y", True),
        (b"a" * 128, True),
        (b"a" * 129, False),
        (b"", False),
        (b"a b", False),
        (b'a"b', False),
        (b"a\n", False),
        (b"\xe9", False),
    ],
)
@in_loop
async def test_only_a_request_id_that_may_stand_in_a_log_is_taken_from_the_caller(sent: bytes, *, kept: bool) -> None:
    recorded: list[RequestContext] = []

    async def app(_: Scope, __: Receive, ___: Send) -> None:
        pass

    middleware = ObserveMiddleware(app, SNAPSHOT, lambda _, context: recorded.append(context))
    await Call(middleware, headers=[(b"x-request-id", sent)]).run()

    context = recorded[0]
    if kept:
        assert context.request_id == sent.decode()
    else:
        assert str(uuid.UUID(context.request_id)) == context.request_id
    assert str(uuid.UUID(context.decision_id)) == context.decision_id
    assert context.decision_id != context.request_id
