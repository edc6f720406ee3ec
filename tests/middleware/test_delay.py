from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from config.cel import compile_expression
from config.policy.delay import Delay
from middleware.context import CONNECTION, Departure
from middleware.delay import DelayMiddleware
from middleware.identity import IdentityMiddleware
from middleware.observe import ObserveMiddleware
from middleware.problems import ProblemMiddleware
from middleware.routing import RoutingMiddleware
from tests.support.asgi import Call
from tests.support.loops import in_each_loop, in_loop, until
from tests.support.routes import Origin, route_of, snapshot_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from config.snapshot import Route
    from middleware.context import RequestContext


def served(route: Route, origin: Origin, records: list[RequestContext]) -> ASGIApp:
    app = RoutingMiddleware(DelayMiddleware(origin))
    guarded = ProblemMiddleware(IdentityMiddleware(app, frozenset({"cluster.local"})))
    return ObserveMiddleware(guarded, snapshot_of(route), lambda _, context: records.append(context))


async def ask(route: Route, origin: Origin) -> Call:
    call = Call(served(route, origin, []))
    call.body(b"")
    await call.run()
    return call


@in_each_loop
async def test_a_request_waits_and_goes_on() -> None:
    origin = Origin()
    began = time.perf_counter()

    call = await ask(route_of(delay=Delay(0.05)), origin)

    assert (call.status, call.content) == (200, b"ok")
    assert time.perf_counter() - began >= 0.05


@pytest.mark.parametrize("text", ["-5", "0", "1 / 0", '"soon"'])
def test_what_is_no_time_to_wait_holds_nobody(text: str) -> None:
    @in_loop
    async def scenario() -> None:
        call = await ask(route_of(delay=Delay(compile_expression(text)), timeout=0.0), Origin())
        assert call.status == 200  # a wait would have ended in 504

    scenario()


@in_each_loop
async def test_the_delay_counts_against_the_time_for_an_answer() -> None:
    origin = Origin()

    call = await ask(route_of(delay=Delay(3600.0), timeout=0.05), origin)

    assert (call.status, call.content) == (504, b"request timeout")
    assert origin.contexts == []


@in_each_loop
async def test_a_caller_that_leaves_ends_the_wait() -> None:
    origin = Origin()
    records: list[RequestContext] = []
    call = Call(served(route_of(delay=Delay(3600.0)), origin, records))
    departure = call.scope["state"][CONNECTION].departure = Departure()
    task = call.start()
    await until(lambda: departure.callback is not None)

    departure.happened()
    await task

    assert call.sent == []
    assert origin.contexts == []
    assert "left" in records[0].error
