"""How many connections one upstream gets, who is served first, and that none is lost, against real loopback origins."""

from __future__ import annotations

import asyncio
import ipaddress
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from app.backends import pool as pool_module
from app.backends.connection import READ_BUFFER_BYTES
from app.backends.dial import Dialer
from app.backends.errors import OriginConnectError, OriginPoolTimeoutError
from app.backends.pool import ConnectionPool
from config.policy.upstream import Upstream
from tests.support.loops import in_each_loop, in_loop, until
from tests.support.origins import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.backends.connection import OriginConnection
    from tests.support.origins import Downstream

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


@asynccontextmanager
async def opened(port: int, limit: int = 2, connect_timeout: float = 5.0) -> AsyncIterator[ConnectionPool]:
    upstream = Upstream("127.0.0.1", port, None, connect_timeout, limit)
    pool = ConnectionPool(upstream, Dialer({}, LOOPBACK), None, bytearray(READ_BUFFER_BYTES))
    try:
        yield pool
    finally:
        pool.close()


async def waiting(origin: Downstream) -> None:
    await origin.until_closed()


async def acquired(pool: ConnectionPool) -> OriginConnection:
    return (await pool.acquire())[0]


@in_each_loop
async def test_beyond_the_limit_callers_wait_and_are_served_in_their_order() -> None:
    async with serving(waiting) as origin, opened(origin.port) as pool:
        first, second = await acquired(pool), await acquired(pool)
        served: list[int] = []

        async def call(number: int) -> None:
            connection = await acquired(pool)
            served.append(number)
            await asyncio.sleep(0)
            pool.release(connection)

        calls = []
        for number in range(5):
            calls.append(asyncio.create_task(call(number)))
            await asyncio.sleep(0)
        pool.release(second)
        pool.release(first)
        await asyncio.gather(*calls)

        assert served == [0, 1, 2, 3, 4]
        assert origin.accepted == 2


@in_each_loop
async def test_a_connection_that_ends_makes_room_for_whoever_waits() -> None:
    async with serving(waiting) as origin, opened(origin.port, limit=1) as pool:
        first = await acquired(pool)
        call = asyncio.create_task(pool.acquire())
        await asyncio.sleep(0.01)
        assert not call.done()
        first.abort()

        second, reused = await call
        assert (second is first, reused) == (False, False)
        second.abort()


@in_each_loop
async def test_who_waits_too_long_is_told_why() -> None:
    async with serving(waiting) as origin, opened(origin.port, limit=1, connect_timeout=0.05) as pool:
        first = await acquired(pool)
        with pytest.raises(OriginPoolTimeoutError, match=r"^127\.0\.0\.1: all 1 connections are in use$"):
            await pool.acquire()
        pool.release(first)

        assert await acquired(pool) is first
        first.abort()


@in_each_loop
async def test_a_fresh_connection_is_made_in_the_place_of_an_idle_one() -> None:
    async with serving(waiting) as origin, opened(origin.port, limit=1) as pool:
        pool.release(await acquired(pool))
        connection, reused = await pool.acquire(fresh=True)

        assert not reused
        await until(lambda: origin.ended == 1)
        connection.abort()


@in_each_loop
async def test_a_place_is_free_again_after_every_way_to_fail() -> None:
    async with serving(waiting) as origin:
        port = origin.port
    async with opened(port, limit=1) as pool:
        for _ in range(3):
            with pytest.raises(OriginConnectError):
                await pool.acquire()
        assert pool._open == 0


@in_each_loop
async def test_whoever_leaves_takes_nothing_along() -> None:
    """Callers come, use a connection or break it, and leave at any moment: the places all come back."""
    chance = random.Random(7)  # noqa: S311  the same chances in every run
    async with serving(waiting) as origin, opened(origin.port, limit=3) as pool:

        async def call() -> None:
            connection = await acquired(pool)
            try:
                await asyncio.sleep(chance.random() / 100)
            finally:
                if chance.random() < 0.3:
                    connection.abort()
                else:
                    pool.release(connection)

        calls = [asyncio.create_task(call()) for _ in range(150)]
        for task in calls:
            await asyncio.sleep(chance.random() / 500)
            if chance.random() < 0.4:
                task.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

        assert pool._open == len(pool._idle) <= 3
        assert not pool._waiting
        # And all of them can be had.
        taken = [await acquired(pool) for _ in range(3)]
        for connection in taken:
            connection.abort()
        assert pool._open == 0


@in_each_loop
async def test_what_is_handed_to_a_caller_who_left_goes_to_the_next_one() -> None:
    async with serving(waiting) as origin, opened(origin.port, limit=1) as pool:
        first = await acquired(pool)
        leaving, staying = asyncio.create_task(pool.acquire()), asyncio.create_task(pool.acquire())
        await asyncio.sleep(0.01)
        pool.release(first)  # it is handed to the one that leaves, which has not run yet
        leaving.cancel()

        assert (await staying)[0] is first
        with pytest.raises(asyncio.CancelledError):
            await leaving
        first.abort()


@in_loop
async def test_idle_connections_are_kept_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "IDLE_SECONDS", 0.0)
    async with serving(waiting) as origin, opened(origin.port) as pool:
        pool.release(await acquired(pool))

        await until(lambda: origin.ended == 1)
        assert (pool._open, len(pool._idle)) == (0, 0)


@in_loop
async def test_an_old_connection_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "MAX_AGE_SECONDS", -1.0)
    async with serving(waiting) as origin, opened(origin.port) as pool:
        pool.release(await acquired(pool))

        await until(lambda: origin.ended == 1)
        assert pool.take() is None


@in_each_loop
async def test_an_idle_connection_that_ends_frees_its_place_at_once() -> None:
    async def closing(origin: Downstream) -> None:
        await asyncio.sleep(0.01)
        origin.writer.close()

    async with serving(closing) as origin, opened(origin.port, limit=1) as pool:
        pool.release(await acquired(pool))

        await until(lambda: pool._open == 0)
        assert not pool._idle
