"""Which backend, and which of its endpoints, a request goes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from config.policy.upstream import Upstream

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One of several origins that do for each other."""

    upstream: Upstream
    weight: int = 1
    """Share among the endpoints of its backend; 0: none."""


@dataclass(frozen=True, slots=True)
class DynamicForwardProxy:
    """The destination is the request's own host, which the dial guard judges like any other."""

    for_host: Callable[[str, int], Upstream]
    """The origin for a canonical host and a port; equal ones for equal arguments."""
    default_port: int
    """Of a `Host` without one, or with one that says nothing: 443 under TLS, 80 without, or what the service says."""
    scheme_port: int
    """443 under TLS, 80 without: left out of the `Host` that is sent."""


def weighted(choices: Sequence[tuple[int, T]], random: Callable[[], float]) -> T | None:
    """Return one of some things by chance, each as often as its weight says.

    Args:
        choices: a weight of at least 0 with each.
        random: from 0 to below 1.

    Returns:
        None where there is nothing with a weight above 0.

    """
    candidates = [(weight, choice) for weight, choice in choices if weight > 0]
    if len(candidates) <= 1:
        return candidates[0][1] if candidates else None
    left = random() * sum(weight for weight, _ in candidates)
    for weight, choice in candidates:
        left -= weight
        if left < 0:
            return choice
    return candidates[-1][1]  # what rounding leaves
