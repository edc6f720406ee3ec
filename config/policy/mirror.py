"""Copies of requests for another backend, whose answers nobody reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from config.policy.upstream import Upstream

MAX_BODY_BYTES = 65_536
"""Body that is copied along; a request with a longer one is not mirrored."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """`RequestMirror`: where copies go, and how many of the requests are copied."""

    name: str
    """`namespace/route -> namespace/backend`, for the log."""
    upstream: Upstream
    authority: bytes | None = None
    """`Host` of the copies; none: that of an address."""
    share: float = 1.0
    """Part of the requests that is copied, above 0 and at most 1."""
