"""Coroutine tests without a plugin: each runs in an event loop of its own."""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

GIVE_UP_SECONDS = 10
"""A test that hangs fails after this; none measures time by it."""


def run(main: Coroutine[Any, Any, T], loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None) -> T:
    """Run a coroutine in a new event loop."""

    async def bounded() -> T:
        async with asyncio.timeout(GIVE_UP_SECONDS):
            return await main

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(bounded())


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a coroutine function a test."""

    @functools.wraps(test)
    def run_test(**arguments: Any) -> None:
        run(test(**arguments))

    return run_test


def in_each_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a coroutine function a test that runs with asyncio's loop and with uvloop, which uvicorn prefers."""

    @functools.wraps(test)
    def run_test(loop_factory: Callable[[], asyncio.AbstractEventLoop] | None, **arguments: Any) -> None:
        run(test(**arguments), loop_factory)

    signature = inspect.signature(test)
    chosen = inspect.Parameter("loop_factory", inspect.Parameter.KEYWORD_ONLY)
    run_test.__signature__ = signature.replace(  # type: ignore[attr-defined]  # pytest reads it
        parameters=[*signature.parameters.values(), chosen]
    )
    loops = pytest.mark.parametrize("loop_factory", [None, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
    marked: Callable[..., None] = loops(run_test)
    return marked


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; the test's own limit ends a wait in vain."""
    while not condition():  # noqa: ASYNC110  nothing tells when
        await asyncio.sleep(0.005)
