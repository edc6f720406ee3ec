"""What is wrong with an expression, and what went wrong when one was evaluated."""

from __future__ import annotations


class ExpressionError(ValueError):
    """An expression that cannot be used. Line and column count from 1 inside the expression."""

    def __init__(self, message: str, *, line: int = 1, column: int = 1, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column
        self.hint = hint

    def excerpt(self, text: str) -> str:
        """Return the faulty line of the expression with a caret under the place."""
        lines = text.split("\n")  # as the parser counts them
        line = lines[min(self.line, len(lines)) - 1].removesuffix("\r")
        # Other characters that end a line, or move the cursor, would part the caret from its place.
        shown = "".join(character if character.isprintable() or character == "\t" else "\ufffd" for character in line)
        before = shown[: self.column - 1].ljust(self.column - 1)
        indent = "".join(character if character == "\t" else " " for character in before)
        return f"{shown}\n{indent}^"


class EvaluationError(Exception):
    """An expression failed for one request. Its message holds nothing of the request, which may be secret."""


class RepeatedHeaderError(EvaluationError):
    """A rule reads a header that was sent several times: not even `coalesce()` goes on without it."""


class NoSuchKeyError(EvaluationError):
    """A key, index, header or field that is not there, or a field of null: what `default()` has an answer for."""
