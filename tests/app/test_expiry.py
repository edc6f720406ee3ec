from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from app import expiry
from app.expiry import follow_expiry
from config.snapshot import Snapshot
from tests.support.loops import in_loop, until

if TYPE_CHECKING:
    import pytest


def chain(*moments: float) -> Snapshot:
    """Return a snapshot that each of these times ends a policy of, one after the other."""
    if not moments:
        return Snapshot("last", "ns/gateway")
    first, *rest = moments
    return Snapshot("0", "ns/gateway", next_expiry=first, successor=lambda: chain(*rest))


@in_loop
async def test_each_snapshot_takes_over_at_its_time() -> None:
    used: list[Snapshot] = []

    async def use(snapshot: Snapshot) -> None:
        used.append(snapshot)

    now = time.time()
    await follow_expiry(chain(now - 5, now + 0.05), use)

    assert [snapshot.revision for snapshot in used] == ["0", "last"]
    assert time.time() >= now + 0.05


@in_loop
async def test_before_its_time_nothing_changes() -> None:
    used: list[Snapshot] = []

    async def use(snapshot: Snapshot) -> None:
        used.append(snapshot)

    task = asyncio.create_task(follow_expiry(chain(time.time() + 3600), use))
    await asyncio.sleep(0.05)
    assert not task.done()
    assert used == []
    task.cancel()


@in_loop
async def test_without_an_end_there_is_nothing_to_follow() -> None:
    async def use(_: Snapshot) -> None:
        raise AssertionError("nothing takes over")

    await follow_expiry(chain(), use)


def test_a_failure_is_logged_and_tried_again(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(expiry, "RETRY_SECONDS", 0.01)
    used: list[Snapshot] = []

    async def use(snapshot: Snapshot) -> None:
        if not caplog.records:
            raise RuntimeError("not yet")
        used.append(snapshot)

    @in_loop
    async def scenario() -> None:
        task = asyncio.create_task(follow_expiry(chain(time.time() - 1), use))
        await until(lambda: used)
        await task

    with caplog.at_level(logging.ERROR, "egress"):
        scenario()

    assert [record.levelname for record in caplog.records] == ["ERROR"]
