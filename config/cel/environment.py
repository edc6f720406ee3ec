"""What an expression may read: variables, their fields, and the Python code that reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from config.cel.overloads import DYN

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Field:
    """A variable, or a field of one."""

    kind: str
    """Kind of its value; `dyn` where it is only known at run time."""
    code: str
    """Python expression; `{0}` stands for the code of what the field belongs to, for a variable the argument `r`."""
    record: Record | None = None
    """Its fields, where they are known."""
    element: str = DYN
    """Kind of a list's elements."""
    total: bool = True
    """Reading it never fails."""
    in_map: bool = True
    """It is part of the map that its record becomes."""


@dataclass(frozen=True, slots=True)
class Record:
    """A value with known fields. It becomes a map only where an expression uses it as a whole."""

    name: str
    """As an expression writes it: `source.identity`."""
    fields: Mapping[str, Field]
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class Environment:
    """Variables, and what their code calls."""

    variables: Mapping[str, Field]
    runtime: Mapping[str, Any] = field(default_factory=dict)
    """Names that the code of variables uses beside `r`."""
