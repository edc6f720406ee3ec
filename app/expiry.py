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

_LONGEST_SLEEP_SECONDS = 30.0
"""The wall clock may be set while this waits."""


async def follow_expiry(snapshot: Snapshot, use: Callable[[Snapshot], Awaitable[None]]) -> None:
    """Wait for each time at which a policy ends, and serve by the next snapshot from then on.

    Args:
        snapshot: what is served by now.
        use: serves by another one.

    """
    while snapshot.next_expiry is not None and snapshot.successor is not None:
        while (left := snapshot.next_expiry - time.time()) > 0:  # noqa: ASYNC110  no event tells the time
            await asyncio.sleep(min(left, _LONGEST_SLEEP_SECONDS))
        # In a thread, as ten thousand hosts take seconds; requests go on meanwhile, by the policies that end.
        snapshot = await asyncio.to_thread(snapshot.successor)
        await use(snapshot)
        logger.info("a policy has expired", extra={"revision": snapshot.revision})
