"""What stands in a rule of an `HTTPRoute` itself: filters, timeouts, retry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from config.compiler.place import Place
    from config.model.base import BackendReference
    from config.model.route import RouteRuleSpec
    from config.snapshot import Backend


def compile_filters(
    place: Place, rule: RouteRuleSpec, resolve: Callable[[Place, BackendReference], Backend | None]
) -> dict[str, Any]:
    """Return the fields of `config.snapshot.Route` that a rule sets by itself."""
    return {}
