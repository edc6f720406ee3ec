"""How long an answer may take, and when a request is sent again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.cel import EvaluationError

if TYPE_CHECKING:
    from config.attributes import RequestAttributes
    from config.cel import Expression


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Deadlines of a route: both end with the answer's head, streams run on."""

    request: float | None = None
    """From the end of the request's head, over all attempts and pauses. Unit: seconds. None: no limit."""
    attempt: float | None = None
    """One attempt, from asking for a connection; in place of the backend's own. Unit: seconds. None: the backend's."""


@dataclass(frozen=True, slots=True)
class Retry:
    """When a request is sent again. Source: Gateway API `HTTPRouteRetry`, GEP-1731.

    An attempt that gets no answer, because there is no connection, it breaks, or its own deadline is over, is always
    followed by another one while there is one left.
    """

    attempts: int = 1
    """Tries after the first one."""
    backoff: float | None = None
    """Pause before each of them. Unit: seconds."""
    codes: frozenset[int] = frozenset()
    """Statuses that are tried again. Default: none, as with AgentGateway."""
    precondition: Expression | None = None
    """Asked of the request before its body is read; where it is not true there is one attempt."""
    condition: Expression | None = None
    """Asked of an answer; true: it is tried again, whatever its status."""

    @property
    def reads_body(self) -> bool:
        """Whether some expression names the request's body."""
        return any(expression.reads_body for expression in (self.precondition, self.condition) if expression)

    def attempts_for(self, request: RequestAttributes) -> int:
        """Return how many further attempts a request may have."""
        return self.attempts if self.precondition is None or holds(self.precondition, request) else 0

    def wants_another(self, request: RequestAttributes) -> bool:
        """Tell whether an answer, which is `request.response`, shall be asked for again."""
        if request.response is not None and request.response.status in self.codes:
            return True
        return self.condition is not None and holds(self.condition, request)


def holds(expression: Expression, request: RequestAttributes) -> bool:
    """Tell whether an expression is true. An error, null or anything else is not."""
    try:
        return expression.evaluate(request) is True
    except EvaluationError:
        return False
