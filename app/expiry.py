"""Policies that end: at the time of `egress-gateway.dev/expires-at` the snapshot without them takes over."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from config.snapshot import Snapshot

logger = logging.getLogger("egress")

LONGEST_SLEEP_SECONDS = 30.0
"""The wall clock may be set while this waits."""
AHEAD_SECONDS = 60.0
"""How long before its time the next snapshot is made: ten thousand hosts take seconds."""
RETRY_SECONDS = 5.0


async def follow_expiry(snapshot: Snapshot, use: Callable[[Snapshot], Awaitable[None]]) -> None:
    """Wait for each time at which a policy ends, and serve by the next snapshot from then on.

    Args:
        snapshot: what is served by now.
        use: serves by another one.

    """
    while snapshot.next_expiry is not None and snapshot.successor is not None:
        try:
            await _until(snapshot.next_expiry - AHEAD_SECONDS)
            following = await asyncio.to_thread(snapshot.successor)
            await _until(snapshot.next_expiry)
            await use(following)
        except Exception:
            # What has ended must not stay in force because of one failure, nor end this task.
            logger.exception("a policy has expired, and the snapshot without it could not be put in place")
            await asyncio.sleep(RETRY_SECONDS)
        else:
            snapshot = following
            logger.info("a policy has expired", extra={"revision": snapshot.revision})


async def _until(moment: float) -> None:
    """Wait for a Unix time."""
    while (left := moment - time.time()) > 0:  # noqa: ASYNC110  no event tells the time
        await asyncio.sleep(min(left, LONGEST_SLEEP_SECONDS))
