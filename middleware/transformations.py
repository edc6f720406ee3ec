"""Which rewrites are in force for a request: chosen once, for both directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.policy.conditional import UnusableConditionError
from middleware.errors import GatewayError

if TYPE_CHECKING:
    from starlette.types import Scope

    from config.attributes import RequestAttributes
    from config.policy.transformation import Rewrites, Transformation

_CHOSEN = "egress.rewrites"
"""Key in the scope: the `Rewrites` in force, or none; missing as long as nobody has chosen."""


def choose(scope: Scope, transformation: Transformation, attributes: RequestAttributes) -> Rewrites | None:
    """Return the rewrites in force for a request, and keep the choice.

    Raises:
        GatewayError: a condition that did not compile was reached.

    """
    if _CHOSEN not in scope:
        scope[_CHOSEN] = None
        try:
            scope[_CHOSEN] = transformation.rewrites.select(attributes)
        except UnusableConditionError as error:
            raise GatewayError(f"transformation: {error}") from None
    chosen: Rewrites | None = scope[_CHOSEN]
    return chosen
