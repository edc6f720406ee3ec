"""How large the result of one function may be: an expression must not turn a short request into much memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from config.cel.errors import EvaluationError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_RESULT_CHARACTERS: Final = 1 << 20
MAX_RESULT_ELEMENTS: Final = 10_000
MAX_PARSED_ELEMENTS: Final = 1_000
"""Of a list or map that is read out of a text: the request decides how many there are."""
MAX_VISITED_VALUES: Final = 100_000
"""By one call that goes into nested values: they may share parts, so a walk can be far longer than they are large."""
MAX_NUMBER_CHARACTERS: Final = 64
"""Of a number in a text: Python's `int()` takes quadratic time, and no number in range is longer."""


def check_length(characters: int) -> None:
    """Refuse a text that would be too long.

    Raises:
        EvaluationError: it would.

    """
    if characters > MAX_RESULT_CHARACTERS:
        raise EvaluationError("result too large")


def check_count(elements: int, most: int = MAX_RESULT_ELEMENTS) -> None:
    """Refuse a list or map that would be too long.

    Raises:
        EvaluationError: it would.

    """
    if elements > most:
        raise EvaluationError("result too large")


def concatenate(parts: Iterable[str]) -> str:
    """Join pieces of text, stopping as soon as they are too long together. An empty one counts: it was work to make."""
    gathered = []
    characters = 0
    for part in parts:
        characters += len(part) or 1
        check_length(characters)
        gathered.append(part)
    return "".join(gathered)


@dataclass(slots=True)
class Visits:
    """Counts the values that one call looks at."""

    left: int = MAX_VISITED_VALUES

    def count(self) -> None:
        """Count one more value.

        Raises:
            EvaluationError: there were too many.

        """
        self.left -= 1
        if self.left < 0:
            raise EvaluationError("too many values within each other")
