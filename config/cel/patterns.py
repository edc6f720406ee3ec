"""The regex extension, and AgentGateway's `regexReplace`. Patterns are RE2: linear time whatever the text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from config.cel.errors import EvaluationError
from config.cel.limits import check_count, check_length, concatenate
from config.cel.overloads import LIBRARY
from config.cel.standard import dynamic_pattern
from config.cel.values import NONE, Optional

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

function = LIBRARY.function

_BACKSLASH_REFERENCE: Final = re.compile(r"\\(.?)", re.DOTALL)
_MAX_GROUP_DIGITS: Final = 3
_DOLLAR_REFERENCE: Final = re.compile(r"\$(?:(\$)|([0-9A-Za-z_]+)|\{([^}]+)\})")
"""As Rust's `regex` reads a replacement; the longest name is taken, so `$1a` is the group `1a`."""


def _matches(pattern: Any, text: str) -> Iterator[Any]:
    """Yield the matches as Go does: an empty one right behind another does not count."""
    end = -1
    try:
        for match in pattern.finditer(text):
            if match.end() > match.start() or match.start() != end:
                yield match
            end = match.end()
    except UnicodeEncodeError:
        raise EvaluationError("a string that is no Unicode text") from None


def _compiled(pattern: str) -> Any:
    try:
        return dynamic_pattern(pattern)
    except UnicodeEncodeError:
        raise EvaluationError("not an RE2 pattern") from None


def _with_one_group(pattern: str) -> Any:
    compiled = _compiled(pattern)
    if compiled.groups > 1:
        raise EvaluationError("a pattern with more than one group")
    return compiled


@function("regex.extract", "string string", "optional")
def extract(text: str, pattern: str) -> Optional:
    """Return the first match, or its group where the pattern has one; nothing where that is empty."""
    compiled = _with_one_group(pattern)
    match = next(_matches(compiled, text), None)
    if match is None:
        return NONE
    if not compiled.groups:
        return Optional(present=True, content=match.group())
    return Optional(present=True, content=match.group(1)) if match.group(1) else NONE


@function("regex.extractAll", "string string", "list")
def extract_all(text: str, pattern: str) -> list[str]:
    compiled = _with_one_group(pattern)
    found: list[str] = []
    for match in _matches(compiled, text):
        check_count(len(found) + 1)
        if not compiled.groups or match.group(1):
            found.append(match.group(compiled.groups))
    return found


@function("regex.replace", "string string string", "string")
def replace(text: str, pattern: str, replacement: str) -> str:
    return _replaced(text, pattern, replacement, -1)


@function("regex.replace", "string string string int", "string")
def replace_some(text: str, pattern: str, replacement: str, limit: int) -> str:
    return _replaced(text, pattern, replacement, limit)


def _replaced(text: str, pattern: str, replacement: str, limit: int) -> str:
    """Replace the first `limit` matches, all where it is negative; a backslash and a digit stand for a group."""
    if limit == 0:
        return text
    return concatenate(_pieces(text, _matches(_compiled(pattern), text), replacement, _backslash_expanded, limit))


def _pieces(
    text: str, matches: Iterator[Any], replacement: str, expand: Callable[[str, Any], str], limit: int
) -> Iterator[str]:
    position = 0
    for number, match in enumerate(matches):
        if number == limit:
            break
        yield text[position : match.start()]
        yield expand(replacement, match)
        position = match.end()
    yield text[position:]


def _backslash_expanded(replacement: str, match: Any) -> str:
    def expand(reference: re.Match[str]) -> str:
        what = reference.group(1)
        if what == "\\":
            return what
        if not (what.isascii() and what.isdigit()) or int(what) > match.re.groups:
            raise EvaluationError("not a replacement: \\ wants the number of a group behind it, or another \\")
        return match.group(int(what)) or ""

    return _expanded(_BACKSLASH_REFERENCE, replacement, expand)


def _dollar_expanded(replacement: str, match: Any) -> str:
    def expand(reference: re.Match[str]) -> str:
        dollar, bare, braced = reference.groups()
        if dollar:
            return "$"
        group = _group_number(match.re, bare or braced)
        return (match.group(group) or "") if group is not None else ""

    return _expanded(_DOLLAR_REFERENCE, replacement, expand)


def _group_number(pattern: Any, name: str) -> int | None:
    """Return the number of a group given by number or name; none where there is no such group."""
    if not (name.isascii() and name.isdigit() and len(name) <= _MAX_GROUP_DIGITS):
        number: int | None = pattern.groupindex.get(name)
        return number
    return int(name) if int(name) <= pattern.groups else None


def _expanded(reference: re.Pattern[str], replacement: str, expand: Callable[[re.Match[str]], str]) -> str:
    """Fill in a replacement, counting while it grows: it may name one long group many times."""
    parts = []
    characters = position = 0
    for found in reference.finditer(replacement):
        parts += [replacement[position : found.start()], expand(found)]
        characters += len(parts[-2]) + len(parts[-1])
        check_length(characters)
        position = found.end()
    return "".join([*parts, replacement[position:]])


@function("regexReplace", "string string string", "string", method=True)
@function("regexReplace", "string string string", "string")
def replace_first(text: str, pattern: str, replacement: str) -> str:
    """Replace the first match, and only it, as AgentGateway does; `$1`, `$name` and `${name}` stand for groups."""
    return concatenate(_pieces(text, _matches(_compiled(pattern), text), replacement, _dollar_expanded, 1))
