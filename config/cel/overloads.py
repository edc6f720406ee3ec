"""The functions an expression may call: each overload with the types it takes, the type it gives, and its code.

The same table checks a call when it is compiled, chooses the overload where the types are known then, and dispatches by
the values' types where they are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any, Final

from config.cel.errors import EvaluationError
from config.cel.values import CelType, Cidr, Duration, Optional, Timestamp, UInt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DYN: Final = "dyn"
NUMBERS: Final = frozenset({"int", "uint", "double"})

KINDS: Final[dict[type, str]] = {
    bool: "bool",
    int: "int",
    UInt: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    type(None): "null",
    list: "list",
    dict: "map",
    Timestamp: "timestamp",
    Duration: "duration",
    CelType: "type",
    Optional: "optional",
    IPv4Address: "ip",
    IPv6Address: "ip",
    Cidr: "cidr",
}
"""Python's type to the short name that signatures use."""


@dataclass(frozen=True, slots=True)
class Overload:
    """One way to call a function."""

    function: str
    parameters: tuple[str, ...]
    """Kinds, the receiver first; `dyn` takes any."""
    result: str
    code: Callable[..., Any]
    is_method: bool = False
    inline: str | None = None
    """Template that stands for the call where the arguments have exactly these kinds: `{0}.startswith({1})`."""
    total: bool = False
    """Never fails on arguments of these kinds."""
    variadic: bool = False
    """The last parameter may repeat."""

    def accepts(self, kinds: Sequence[str]) -> bool:
        """Tell whether the call fits; an argument of unknown kind may."""
        parameters = self.parameters
        if self.variadic and len(kinds) > len(parameters):
            parameters += parameters[-1:] * (len(kinds) - len(parameters))
        return len(kinds) == len(parameters) and all(
            DYN in (kind, parameter) or kind == parameter for kind, parameter in zip(kinds, parameters, strict=True)
        )


class Library:
    """Overloads by function name."""

    def __init__(self) -> None:
        self.overloads: dict[tuple[str, bool], list[Overload]] = {}
        """Function name, and whether it is called as a method, to its overloads."""
        self._dispatchers: dict[tuple[str, bool], Callable[..., Any]] = {}

    def add(self, overload: Overload) -> None:
        """Register an overload."""
        self.overloads.setdefault((overload.function, overload.is_method), []).append(overload)

    def function(  # noqa: PLR0913  these are the columns of the table
        self,
        name: str,
        parameters: str,
        result: str,
        *,
        method: bool = False,
        inline: str | None = None,
        total: bool = False,
        variadic: bool = False,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register the decorated function; parameter kinds are written in one string."""

        def register(code: Callable[..., Any]) -> Callable[..., Any]:
            kinds = tuple(parameters.split())
            self.add(Overload(name, kinds, result, code, method, inline, total, variadic))
            return code

        return register

    @property
    def names(self) -> frozenset[str]:
        """Every function name, namespaced ones whole."""
        return frozenset(name for name, _ in self.overloads)

    def dispatcher(self, name: str, *, is_method: bool) -> Callable[..., Any]:
        """Return a function that chooses the overload by the values it is called with."""
        key = (name, is_method)
        if key not in self._dispatchers:
            self._dispatchers[key] = _dispatcher(self.overloads[key])
        return self._dispatchers[key]


def _dispatcher(overloads: list[Overload]) -> Callable[..., Any]:
    chosen: dict[tuple[type, ...], Callable[..., Any]] = {}

    def dispatch(*arguments: Any) -> Any:
        types = tuple(map(type, arguments))
        code = chosen.get(types)
        if code is None:
            kinds = [KINDS.get(kind, "") for kind in types]
            code = next((overload.code for overload in overloads if overload.accepts(kinds)), None)
            if code is None:
                raise EvaluationError("no such overload")
            chosen[types] = code  # bounded: there are few kinds and fewer arguments
        return code(*arguments)

    return dispatch


LIBRARY: Final = Library()
"""Filled by the modules beside this one; read-only once they are imported."""
