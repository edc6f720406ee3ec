"""Faults in what the operator wrote: each says what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A place in a manifest. Lines and columns count from 1, as editors do."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Severity(StrEnum):
    """How much a finding weighs."""

    ERROR = "error"
    """Stops a strict start; otherwise the faulty part fails closed."""
    WARNING = "warning"
    """Reported and served."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to tell the operator about the configuration."""

    code: str
    """Stable slug such as `unknown-field`; never reworded."""
    message: str
    location: Location | None = None
    """Where in the manifests; none for a setting."""
    hint: str = ""
    """What to do about it."""
    excerpt: str = ""
    """The offending text with a caret under the place, on lines of its own."""
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        where = f"{self.location}: " if self.location else ""
        hint = f"; {self.hint}" if self.hint else ""
        excerpt = "".join(f"\n    {line}" for line in self.excerpt.splitlines())
        return f"{where}{self.severity}: {self.message}{hint} [{self.code}]{excerpt}"


class ConfigErrors(Exception):  # noqa: N818  there are several in it
    """The configuration cannot be used. Carries every finding, not just the first; `str` lists them."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(map(str, self.findings)))


def nearest(name: str, known: Iterable[str], *, otherwise: str | None = None) -> str:
    """Return a hint naming the known word closest to a misspelt one, else `otherwise`, or all of them."""
    words = sorted(known)
    folded = {word.lower(): word for word in words}
    if close := difflib.get_close_matches(name.lower(), folded, n=1):
        return f"did you mean {folded[close[0]]!r}?"
    if otherwise is not None:
        return otherwise
    return f"known here: {', '.join(words)}" if words else ""
