"""How large the result of one function may be: an expression must not turn a short request into much memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from config.cel.errors import EvaluationError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_RESULT_CHARACTERS: Final = 1 << 20
MAX_RESULT_ELEMENTS: Final = 10_000


def check_length(characters: int) -> None:
    """Refuse a text that would be too long.

    Raises:
        EvaluationError: it would.

    """
    if characters > MAX_RESULT_CHARACTERS:
        raise EvaluationError("result too large")


def check_count(elements: int) -> None:
    """Refuse a list that would be too long.

    Raises:
        EvaluationError: it would.

    """
    if elements > MAX_RESULT_ELEMENTS:
        raise EvaluationError("result too large")


def concatenate(parts: Iterable[str]) -> str:
    """Join pieces of text, stopping as soon as they are too long together."""
    gathered = []
    characters = 0
    for part in parts:
        characters += len(part)
        check_length(characters)
        gathered.append(part)
    return "".join(gathered)
