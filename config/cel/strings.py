"""The strings extension: positions are code points, and one out of range is an error."""

from __future__ import annotations

import string
from typing import Any, Final

from config.cel.errors import EvaluationError
from config.cel.limits import MAX_PARSED_ELEMENTS, check_count, check_length, concatenate
from config.cel.overloads import LIBRARY

function = LIBRARY.function

_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_UPPER: Final = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)
_WHITESPACE: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""Unicode's White_Space. `str.strip()` takes U+001C to U+001F as well, which CEL keeps."""
_QUOTED: Final = str.maketrans(
    {
        "\a": r"\a",
        "\b": r"\b",
        "\f": r"\f",
        "\n": r"\n",
        "\r": r"\r",
        "\t": r"\t",
        "\v": r"\v",
        "\\": r"\\",
        '"': r"\"",
    }
)


def _check_position(position: int, length: int) -> None:
    if not 0 <= position <= length:
        raise EvaluationError("an index out of range")


@function("charAt", "string int", "string", method=True)
def char_at(text: str, position: int) -> str:
    """Return the character at a position; the empty string right behind the last one."""
    _check_position(position, len(text))
    return text[position : position + 1]


@function("indexOf", "string string", "int", method=True, inline="{0}.find({1})", total=True)
def index_of(text: str, part: str) -> int:
    return text.find(part)


@function("indexOf", "string string int", "int", method=True)
def index_of_from(text: str, part: str, start: int) -> int:
    # The specification's data wants an error here; cel-go answers -1 (it skips those cases).
    _check_position(start, len(text))
    return text.find(part, start)


@function("lastIndexOf", "string string", "int", method=True, inline="{0}.rfind({1})", total=True)
def last_index_of(text: str, part: str) -> int:
    return text.rfind(part)


@function("lastIndexOf", "string string int", "int", method=True)
def last_index_of_up_to(text: str, part: str, last: int) -> int:
    """Search backwards; `last` is the greatest position where the match may begin."""
    _check_position(last, len(text))
    return text.rfind(part, 0, last + len(part))


@function("join", "list", "string", method=True)
def join(items: list[Any]) -> str:
    return _joined(items, "")


@function("join", "list string", "string", method=True)
def join_with(items: list[Any], separator: str) -> str:
    return _joined(items, separator)


def _joined(items: list[Any], separator: str) -> str:
    if any(type(item) is not str for item in items):
        raise EvaluationError("join wants a list of strings")
    check_length(sum(map(len, items)) + len(separator) * max(len(items) - 1, 0))
    return separator.join(items)


@function("lowerAscii", "string", "string", method=True, total=True)
def lower_ascii(text: str) -> str:
    """Lower the letters A to Z and no others: `lower()` would turn the Kelvin sign into a k."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


@function("upperAscii", "string", "string", method=True, total=True)
def upper_ascii(text: str) -> str:
    return text.upper() if text.isascii() else text.translate(_UPPER)


@function("replace", "string string string", "string", method=True)
def replace(text: str, old: str, new: str) -> str:
    return _replaced(text, old, new, -1)


@function("replace", "string string string int", "string", method=True)
def replace_some(text: str, old: str, new: str, limit: int) -> str:
    """Replace the first `limit` occurrences; all where it is negative."""
    return _replaced(text, old, new, limit)


def _replaced(text: str, old: str, new: str, limit: int) -> str:
    # An empty `old` is found before each character and at the end, in Python as in Go.
    found = text.count(old)
    count = found if limit < 0 else min(found, limit)
    check_length(len(text) + count * (len(new) - len(old)))
    return text.replace(old, new, count)


@function("split", "string string", "list", method=True)
def split(text: str, separator: str) -> list[str]:
    return _split(text, separator)


def _split(text: str, separator: str) -> list[str]:
    _check_parts(text, separator, MAX_PARSED_ELEMENTS + 1)
    return text.split(separator) if separator else list(text)


def _check_parts(text: str, separator: str, limit: int) -> None:
    check_count(min(text.count(separator) + 1 if separator else len(text), limit), MAX_PARSED_ELEMENTS)


@function("split", "string string int", "list", method=True)
def split_some(text: str, separator: str, limit: int) -> list[str]:
    """Split into at most `limit` parts, the rest left whole in the last; all where it is negative."""
    if limit < 0:
        return _split(text, separator)
    if limit == 0:
        return []
    _check_parts(text, separator, limit)
    if separator:
        return text.split(separator, limit - 1)
    return [*text[: limit - 1], text[limit - 1 :]] if len(text) >= limit else list(text)


@function("substring", "string int", "string", method=True)
def substring(text: str, start: int) -> str:
    _check_position(start, len(text))
    return text[start:]


@function("substring", "string int int", "string", method=True)
def substring_between(text: str, start: int, end: int) -> str:
    _check_position(start, len(text))
    _check_position(end, len(text))
    if start > end:
        raise EvaluationError("an end before the start")
    return text[start:end]


@function("trim", "string", "string", method=True, total=True)
def trim(text: str) -> str:
    return text.strip(_WHITESPACE)


@function("reverse", "string", "string", method=True, inline="{0}[::-1]", total=True)
def reverse(text: str) -> str:
    return text[::-1]


@function("strings.quote", "string", "string")
def quote(text: str) -> str:
    """Write the text as a CEL literal; what cannot be UTF-8 becomes U+FFFD."""
    clean = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return concatenate(('"', clean.translate(_QUOTED), '"'))
