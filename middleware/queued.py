"""Fields that layers queue for whatever answers the caller: an origin, a policy or an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from config.attributes import RawHeaders

_JOINED = frozenset({b"vary"})
"""Lists that several parties write to: what the origin says stays true."""


def with_queued(headers: Sequence[tuple[bytes, bytes]], queued: RawHeaders) -> RawHeaders:
    """Return the fields of an answer with the queued ones, which replace those of the same name; `Vary` is added to."""
    replaced = {name for name, _ in queued} - _JOINED
    return [pair for pair in headers if pair[0] not in replaced] + queued
