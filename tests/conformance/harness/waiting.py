"""Bounded waiting for what happens in another process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

PATIENCE_SECONDS = 15.0
"""Far longer than anything here takes on an idle machine; how long it took is never judged."""


def eventually(what: str, probe: Callable[[], T], seconds: float = PATIENCE_SECONDS) -> T:
    """Return the first true result of a probe, or fail."""
    deadline = time.monotonic() + seconds
    while True:
        if result := probe():
            return result
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(0.02)


def settled(measure: Callable[[], int], still_seconds: float = 0.6) -> int:
    """Return a number once it has stopped changing."""
    last, since = measure(), time.monotonic()
    deadline = since + PATIENCE_SECONDS
    while time.monotonic() - since < still_seconds:
        time.sleep(0.05)
        if (now := measure()) != last:
            last, since = now, time.monotonic()
        if time.monotonic() > deadline:
            pytest.fail(f"it never settled; at the end it was {last}")
    return last
