"""Bodies that stand still: who is answered what, and what is no standstill."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from app.caller import LOOKS, IdleWatch
from config.policy.resilience import Retry
from config.snapshot import Backend
from tests.support.forwarding import forwarding, route, upstream
from tests.support.loops import in_each_loop, in_loop, until
from tests.support.origins import serving

if TYPE_CHECKING:
    from starlette.types import Message

    from tests.support.origins import Downstream

A = ("a.test", 80)
LIMIT = 0.25
"""Seconds. Tests only wait for what comes of it."""
NINE = (b"content-length", b"9")


async def silent(origin: Downstream) -> None:
    await origin.head()
    await origin.until_closed()


async def half(origin: Downstream) -> None:
    await origin.head()
    await origin.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
    await origin.until_closed()


@pytest.mark.parametrize("retry", [None, Retry(1)])
@in_each_loop
async def test_a_caller_that_stops_within_its_body_is_answered_408(retry: Retry | None) -> None:
    async with (
        serving(silent) as origin,
        forwarding(route(Backend("a", upstream("a")), retry=retry), {A: origin}, idle=LIMIT) as way,
    ):
        call = way.call("POST", [NINE])
        call.body(b"half", more=True)
        await call.run()

        assert (call.status, call.content) == (408, b"request timeout")
        assert call.headers[b"connection"] == b"close"
        assert origin.accepted == (0 if retry else 1), "a body that may be sent again is read first"
        await until(lambda: origin.ended == origin.accepted)
    assert way.records[0].reason == "caller_idle"


@in_each_loop
async def test_a_caller_that_stops_within_its_body_after_the_answer_began_is_cut_off() -> None:
    async with serving(half) as origin, forwarding(route(Backend("a", upstream("a"))), {A: origin}, idle=LIMIT) as way:
        call = way.call("POST", [NINE])
        call.body(b"half", more=True)
        await call.run()

        assert (call.status, call.content, call.aborted) == (200, b"half", 1)
        assert not call.is_complete
        await until(lambda: origin.ended == 1)
    assert way.records[0].reason == "caller_idle"


@in_each_loop
async def test_an_origin_that_stops_within_its_answer_makes_the_gateway_abort() -> None:
    async with serving(half) as origin, forwarding(route(Backend("a", upstream("a"))), {A: origin}, idle=LIMIT) as way:
        call = way.call()
        await call.run()

        assert (call.status, call.content, call.aborted) == (200, b"half", 1)
        assert not call.is_complete
        await until(lambda: origin.ended == 1)
    assert way.records[0].reason == "upstream_aborted"
    assert way.records[0].error == "the origin sent nothing of its body for 0.25 s"


@in_each_loop
async def test_a_caller_that_does_not_read_its_answer_is_cut_off() -> None:
    async with serving(half) as origin, forwarding(route(Backend("a", upstream("a"))), {A: origin}, idle=LIMIT) as way:
        call = way.call()
        call.room.clear()
        await call.run()

        assert (call.sent, call.aborted) == ([], 1)
        await until(lambda: origin.ended == 1)
    assert way.records[0].reason == "caller_idle"


@in_each_loop
async def test_the_last_part_of_an_answer_must_be_read_too() -> None:
    async def script(origin: Downstream) -> None:
        await origin.answer()
        await origin.until_closed()

    async with (
        serving(script) as origin,
        forwarding(route(Backend("a", upstream("a"))), {A: origin}, idle=LIMIT) as way,
    ):
        call = way.call()
        send = call._send

        async def stuck(message: Message) -> None:
            if message["type"] == "http.response.body":
                call.room.clear()
            await send(message)

        await way.app(call.scope, call.received.get, stuck)

        assert (len(call.sent), call.aborted) == (1, 1)


@in_each_loop
async def test_a_slow_stream_lives_on() -> None:
    parts = 12

    async def script(origin: Downstream) -> None:
        await origin.head()
        await origin.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % parts)
        for _ in range(parts):
            await asyncio.sleep(LIMIT / 6)
            await origin.send(b"x")

    async with (
        serving(script) as origin,
        forwarding(route(Backend("a", upstream("a"))), {A: origin}, idle=LIMIT) as way,
    ):
        call = way.call()
        await call.run()

        assert (call.content, call.aborted) == (b"x" * parts, 0)


@in_each_loop
async def test_a_head_that_is_late_is_no_standstill() -> None:
    async def script(origin: Downstream) -> None:
        await origin.head()
        await asyncio.sleep(LIMIT * 2)
        await origin.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async with (
        serving(script) as origin,
        forwarding(route(Backend("a", upstream("a"))), {A: origin}, idle=LIMIT) as way,
    ):
        assert await way.status() == 200


@in_each_loop
async def test_a_caller_whose_origin_does_not_read_is_not_idle() -> None:
    size = 32 * 1024 * 1024
    room = asyncio.Event()

    async def script(origin: Downstream) -> None:
        await origin.head()
        await room.wait()
        await origin.reader.readexactly(size)
        await origin.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async with (
        serving(script) as origin,
        forwarding(route(Backend("a", upstream("a"))), {A: origin}, idle=LIMIT) as way,
    ):
        call = way.call("POST", [(b"content-length", b"%d" % size)])
        task = call.start()
        for index in range(32):
            call.body(b"x" * 1024 * 1024, more=index < 31)
        await asyncio.sleep(LIMIT * 2)
        assert not task.done()
        room.set()
        await task

        assert call.status == 200


@in_each_loop
async def test_an_origin_that_answers_early_may_wait_for_the_rest_of_the_body() -> None:
    async def script(origin: Downstream) -> None:
        await origin.head()
        await origin.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
        await origin.reader.readexactly(9)
        await origin.send(b"ok")

    async with (
        serving(script) as origin,
        forwarding(route(Backend("a", upstream("a"))), {A: origin}, idle=LIMIT) as way,
    ):
        call = way.call("POST", [NINE])
        task = call.start()
        for index in range(9):
            await asyncio.sleep(LIMIT / 5)
            call.body(b"x", more=index < 8)
        await task

        assert (call.content, call.aborted) == (b"ok", 0)


@in_loop
async def test_one_timer_looks_after_all_requests_and_only_while_there_are_some() -> None:
    async def script(origin: Downstream) -> None:
        while True:
            await origin.answer()

    async with (
        serving(script) as origin,
        forwarding(route(Backend("a", upstream("a"))), {A: origin}, idle=LIMIT) as way,
    ):
        watch: IdleWatch = way.app.app.app.app.app.idle  # type: ignore[attr-defined]
        assert watch.timer is None
        assert await way.status() == 200
        timer = watch.timer
        assert await way.status() == 200
        assert watch.timer is timer
        assert not watch.callers
        await until(lambda: watch.timer is None)
    assert LOOKS > 1
