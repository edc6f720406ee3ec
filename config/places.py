"""A place inside a text value of a manifest, as a place in its file."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from config.errors import Location

_ESCAPABLE = frozenset('"\\/')
"""What a backslash leaves as it is, in double quotes."""


def locate_within(source: str, start: Location, value: str, line: int, column: int) -> Location:
    """Return where a line and column of a value stand in the file; `start` where that cannot be told.

    Args:
        source: the file's text.
        start: where the value begins: its first character, its quote, or the `|` of a block.
        value: the text that was read there.
        line: a line of the value, from 1.
        column: a column of that line, from 1; one more than its length is its end.

    """
    lines = value.split("\n")
    while line > 1 and not lines[line - 1].strip():  # what ends too early ends where the last text does
        line -= 1
        column = len(lines[line - 1]) + 1
    written = source.split("\n")
    if start.line > len(written):
        return start
    first = written[start.line - 1][start.column - 1 :].removesuffix("\r")
    if first.startswith("|"):
        return _in_block(written, start, lines[line - 1], line, column)
    if line > 1 or len(lines) > 1:
        return start
    offset = _offset(first, value[: column - 1])
    return start if offset is None else replace(start, column=start.column + offset)


def _in_block(written: list[str], start: Location, wanted: str, line: int, column: int) -> Location:
    """Find a line of a literal block, which is written as it is behind its indentation."""
    number = start.line + line
    text = written[number - 1].removesuffix("\r") if number <= len(written) else ""
    indentation = text.removesuffix(wanted)
    if not wanted or not text.endswith(wanted) or indentation.strip(" "):
        return start
    return replace(start, line=number, column=len(indentation) + column)


def _offset(written: str, before: str) -> int | None:
    """Return how far a one-line scalar goes until this much of its value has been written; none if it is not so."""
    quote = written[:1] if written[:1] in {"'", '"'} else ""
    place = len(quote)
    for character in before:
        pair = written[place : place + 2]
        doubled = quote == "'" and pair == "''"
        escaped = quote == '"' and pair[:1] == "\\" and pair[1:] in _ESCAPABLE
        if pair[-1 if doubled or escaped else 0 :][:1] != character:
            return None
        place += 2 if doubled or escaped else 1
    return place
