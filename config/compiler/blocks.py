"""Every block of a policy, where it is written and what compiles it: the one list that is extended for a new one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, Final

from pydantic.alias_generators import to_snake

if TYPE_CHECKING:
    from collections.abc import Callable

    from config.compiler.place import Place


@dataclass(frozen=True, slots=True)
class Block:
    """One field of a policy that a stronger level replaces as a whole."""

    field: str
    """Name of the compiled form: a field of `config.snapshot.Route`, or of a backend's `Settings`."""
    path: tuple[str, ...]
    """Where it is written, below `spec.traffic` or `spec.backend`."""
    compile: Callable[[Place, Any], Any]
    """Reports every fault and returns what fails closed; it never raises for what an operator wrote."""

    def written(self, section: Any) -> Any:
        """Return what the operator wrote in a section, or none."""
        return reduce(lambda found, name: getattr(found, to_snake(name), None), self.path, section)


TRAFFIC: Final[tuple[Block, ...]] = ()

BACKEND: Final[tuple[Block, ...]] = ()
