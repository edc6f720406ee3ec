"""When an origin that fails is left out, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from config.policy.resilience import holds

if TYPE_CHECKING:
    from config.attributes import RequestAttributes
    from config.cel import Expression

SMOOTHING: Final = 0.3
"""Share of the newest result in the health of an endpoint. Source: AgentGateway's load balancer."""
_FIRST_SERVER_ERROR: Final = 500


@dataclass(frozen=True, slots=True)
class Eviction:
    """When an endpoint is left out, and for how long."""

    duration: float = 3.0
    """The first time; the n-th time in a row n times as long. Unit: seconds."""
    restore_health: float | None = None
    """Health from 0 to 1 with which it comes back. None: what it had."""
    consecutive_failures: int | None = None
    """As many in a row evict; 0: never."""
    health_threshold: float | None = None
    """A failure evicts where health, from 0 to 1, was below this before it."""

    def seconds(self, health: float, failures: int, times_evicted: int) -> float | None:
        """Return how long a failure keeps an endpoint out; none if it does not.

        Without either limit every failure evicts; with both, either does.

        Args:
            health: before this failure.
            failures: in a row, this one included.
            times_evicted: since the last success.

        """
        if self.health_threshold is not None or self.consecutive_failures is not None:
            is_low = self.health_threshold is not None and health < self.health_threshold
            if not is_low and not (self.consecutive_failures and failures >= self.consecutive_failures):
                return None
        return self.duration * (times_evicted + 1)


@dataclass(frozen=True, slots=True)
class Health:
    """What counts as a failure of an endpoint, and what follows. Source: AgentGateway `backend.health`."""

    eviction: Eviction
    unhealthy: Expression | None = None
    """Asked of an answer. None: a 5xx."""

    @property
    def reads_body(self) -> bool:
        """Whether the expression names the request's body."""
        return self.unhealthy is not None and self.unhealthy.reads_body

    def is_failure(self, request: RequestAttributes) -> bool:
        """Tell whether an answer, which is `request.response`, is a failure. An error of the expression is none."""
        if self.unhealthy is not None:
            return holds(self.unhealthy, request)
        return request.response is not None and request.response.status >= _FIRST_SERVER_ERROR


def smoothed(health: float, *, success: bool) -> float:
    """Return the moving average after one more result."""
    newest = 1.0 if success else 0.0
    # From nothing the first success counts whole, as with AgentGateway: else a restored 0 would take long to forget.
    return newest if health == 0 else SMOOTHING * newest + (1 - SMOOTHING) * health
