"""`matches`, the regex extension, AgentGateway's `regexReplace`. Patterns are RE2: linear time whatever the text."""

from __future__ import annotations

import functools
import itertools
import re
from typing import TYPE_CHECKING, Any, Final

import re2

from config.cel.errors import EvaluationError
from config.cel.limits import MAX_PARSED_ELEMENTS, Visits, check_count, concatenate
from config.cel.overloads import LIBRARY
from config.cel.values import NONE, Optional

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

function = LIBRARY.function

_BACKSLASH_REFERENCE: Final = re.compile(r"\\(.?)", re.DOTALL)
_MAX_GROUP_DIGITS: Final = 3
_DOLLAR_REFERENCE: Final = re.compile(r"\$(?:(\$)|([0-9A-Za-z_]+)|\{([^}]{1,64})\})")
"""As Rust's `regex` reads a replacement; the longest name is taken, so `$1a` is the group `1a`. A name in braces has an
end here: without one, `${${${` would be read to the end from every brace."""


_OPTIONS: Final = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.max_mem = 1 << 20
MAX_DYNAMIC_PATTERNS: Final = 256
MAX_PROGRAM_SIZE: Final = 10_000
"""Instructions of a constant pattern. `\\p{L}+` has 1,201, which is more than most whole expressions need."""
MAX_DYNAMIC_PROGRAM_SIZE: Final = 1_000
"""Of a pattern that is put together, or read, while the expression is evaluated."""
MAX_SEARCH_WORK: Final = 20_000_000
"""Instructions times bytes of one search. RE2 has an automaton that pays for bytes only, but where that outgrows its
memory it pays for this product: 20 million took 75 ms."""
MAX_TOTAL_WORK: Final = 5 * MAX_SEARCH_WORK
"""Of all searches of one call: each may read the rest of the text again."""
_MAX_BYTES: Final = 4
"""Of a character in UTF-8."""


def compile_pattern(pattern: str, most: int = MAX_PROGRAM_SIZE) -> Any:
    """Compile an RE2 pattern, which matches in linear time.

    Raises:
        EvaluationError: not an RE2 pattern, or one that is too large.

    """
    try:
        compiled = re2.compile(pattern, _OPTIONS)
    except (re2.error, UnicodeEncodeError) as error:
        raise EvaluationError("not an RE2 pattern") from error
    if compiled.programsize > most:
        raise EvaluationError("a pattern that is too large")
    return compiled


@functools.lru_cache(maxsize=MAX_DYNAMIC_PATTERNS)
def _compiled(pattern: str) -> Any:
    return compile_pattern(pattern, MAX_DYNAMIC_PROGRAM_SIZE)


def _longest(pattern: Any) -> int:
    """Return how many bytes the pattern may be searched in."""
    return MAX_SEARCH_WORK // max(int(pattern.programsize), 1)


def _check_text(text: str, longest: int) -> None:
    if len(text) > longest or (len(text) * _MAX_BYTES > longest and len(text.encode(errors="replace")) > longest):
        raise EvaluationError("a text that is too long for its pattern")


@function("matches", "string string", "bool", method=True)
@function("matches", "string string", "bool")
def matches(text: str, pattern: str) -> bool:
    """Tell whether the pattern is found anywhere in the text."""
    compiled = _compiled(pattern)
    return _found(compiled.search, _longest(compiled), text)


def searcher(pattern: str) -> Callable[[Any], bool]:
    """Return the function that `matches` is for one constant pattern; see `compile_pattern`."""
    compiled = compile_pattern(pattern)
    return functools.partial(_found, compiled.search, _longest(compiled))


def _found(search: Callable[[str], Any], longest: int, text: Any) -> bool:
    if type(text) is not str:
        raise EvaluationError("no such overload")
    _check_text(text, longest)
    try:
        return search(text) is not None
    except UnicodeEncodeError:
        raise EvaluationError("a string that is no Unicode text") from None


def _matches(pattern: Any, text: str) -> Iterator[Any]:
    """Yield the matches as Go does: an empty one right behind another does not count."""
    _check_text(text, _longest(pattern))
    size, end, work = pattern.programsize, -1, 0
    try:
        for match in pattern.finditer(text):
            if match.end() > match.start() or match.start() != end:
                yield match
            end = match.end()
            work += size * (len(text) - end)
            if work > MAX_TOTAL_WORK:
                raise EvaluationError("too many matches in so long a text")
    except UnicodeEncodeError:
        raise EvaluationError("a string that is no Unicode text") from None


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
        check_count(len(found) + 1, MAX_PARSED_ELEMENTS)
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
    return concatenate(_pieces(text, _compiled(pattern), functools.partial(_backslash_parts, replacement), limit))


def _pieces(text: str, pattern: Any, template: Callable[[Any], list[str | int]], limit: int) -> Iterator[str]:
    position, visits = 0, Visits()
    parts: list[str | int] | None = None
    for match in itertools.islice(_matches(pattern, text), limit if limit >= 0 else None):
        if parts is None:  # a bad replacement does not matter where nothing is replaced
            parts = template(pattern)
        yield text[position : match.start()]
        for part in parts:
            visits.count()
            yield part if isinstance(part, str) else match.group(part) or ""
        position = match.end()
    yield text[position:]


def _parts(
    reference: re.Pattern[str], replacement: str, resolve: Callable[[re.Match[str]], str | int]
) -> list[str | int]:
    """Take a replacement apart, once for all matches, into texts and numbers of groups."""
    parts: list[str | int] = []
    position = 0
    for found in reference.finditer(replacement):
        parts += [replacement[position : found.start()], resolve(found)]
        position = found.end()
    return [part for part in (*parts, replacement[position:]) if part != ""]


def _backslash_parts(replacement: str, pattern: Any) -> list[str | int]:
    def resolve(reference: re.Match[str]) -> str | int:
        what = reference.group(1)
        if what == "\\":
            return what
        if not (what.isascii() and what.isdigit()) or int(what) > pattern.groups:
            raise EvaluationError("not a replacement: \\ wants the number of a group behind it, or another \\")
        return int(what)

    return _parts(_BACKSLASH_REFERENCE, replacement, resolve)


def _dollar_parts(replacement: str, pattern: Any) -> list[str | int]:
    def resolve(reference: re.Match[str]) -> str | int:
        dollar, bare, braced = reference.groups()
        if dollar:
            return "$"
        group = _group_number(pattern, bare or braced)
        return "" if group is None else group

    return _parts(_DOLLAR_REFERENCE, replacement, resolve)


def _group_number(pattern: Any, name: str) -> int | None:
    """Return the number of a group given by number or name; none where there is no such group."""
    if not (name.isascii() and name.isdigit() and len(name) <= _MAX_GROUP_DIGITS):
        number: int | None = pattern.groupindex.get(name)
        return number
    return int(name) if int(name) <= pattern.groups else None


@function("regexReplace", "string string string", "string", method=True)
@function("regexReplace", "string string string", "string")
def replace_first(text: str, pattern: str, replacement: str) -> str:
    """Replace the first match, and only it, as AgentGateway does; `$1`, `$name` and `${name}` stand for groups."""
    return concatenate(_pieces(text, _compiled(pattern), functools.partial(_dollar_parts, replacement), 1))
