"""What an implementation makes of a conformance case, and the verdict on it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.cel_conformance.cases import same_value

if TYPE_CHECKING:
    from tests.cel_conformance.cases import Case, Tagged


@dataclass(frozen=True, slots=True)
class Result:
    """A value or an error, and the type where the implementation deduces one."""

    value: Tagged | None = None
    error: str | None = None
    undeclared: bool = False
    """The error says that a variable or function does not exist."""
    type: str | None = None


_UNDECLARED = re.compile(r"undeclared reference|unbound function|unknown variable")


def failure(error: Exception) -> Result:
    """Return the result of a case that raised."""
    text = f"{type(error).__name__}: {error}"
    return Result(error=text, undeclared=_UNDECLARED.search(text) is not None)


def passes(case: Case, result: Result) -> bool:
    """Whether a result is what the specification expects.

    A refusal before evaluation counts as the expected error. One that only says "no such function" does not, unless
    that is what the case is about: otherwise a missing extension would pass every error case of it.
    """
    expect = case.expect
    if expect.error:
        return result.error is not None and (not result.undeclared or _UNDECLARED.search(expect.message) is not None)
    if result.error is not None:
        return False
    if expect.type is not None and (case.check_only or result.type is not None) and result.type != expect.type:
        return False
    if case.check_only or expect.value is None:
        return True
    return result.value is not None and same_value(expect.value, result.value)
