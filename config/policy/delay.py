"""`traffic.delay`: latency put in before a request goes on, to try what callers make of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from config.cel import EvaluationError
from config.cel.values import Duration

if TYPE_CHECKING:
    from config.attributes import RequestAttributes
    from config.cel import Expression

MAX_DELAY_SECONDS: Final = 300.0
"""A longer one is cut to this: an expression must not be able to hold a request for ever."""


@dataclass(frozen=True, slots=True)
class Delay:
    """How long a request waits."""

    duration: float | Expression | None
    """Seconds, or the expression that gives them. None: it did not compile, and there is no delay."""

    @property
    def reads_body(self) -> bool:
        """Whether it is made from the request's body."""
        return self.duration is not None and not isinstance(self.duration, float) and self.duration.reads_body

    def seconds(self, attributes: RequestAttributes) -> float:
        """Return the delay. Zero: the expression failed, or gave neither a duration nor a number above zero."""
        if isinstance(self.duration, float):
            return self.duration
        if self.duration is None:
            return 0.0
        try:
            return bounded(_seconds(self.duration.value(attributes)))
        except EvaluationError:
            return 0.0


def bounded(seconds: float) -> float:
    """Return a delay between zero and the greatest; zero for a double that is no number."""
    return min(seconds, MAX_DELAY_SECONDS) if seconds > 0 else 0.0


def _seconds(value: Any) -> float:
    """Read a duration, or a number of milliseconds."""
    if isinstance(value, Duration):
        return value.nanoseconds / 1e9
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value / 1000
    return 0.0
