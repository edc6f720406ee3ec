"""Which route takes a request: matches and their order of precedence.

Source: Gateway API `HTTPRouteRule.matches`. Precedence: host, then Exact > longest PathPrefix > RegularExpression >
with method > more headers > more query parameters > older route > namespace/name > order of the rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import unquote_plus

from config.cel.errors import EvaluationError
from config.cel.patterns import compile_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

R = TypeVar("R")


class PathKind(IntEnum):
    """How a path is compared; the smaller takes precedence."""

    EXACT = 0
    PREFIX = 1
    REGEX = 2


class InvalidPatternError(ValueError):
    """A regular expression that RE2 does not take, or one that is too large."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A value to be equal to, or an RE2 pattern that the whole value must match."""

    text: str
    _regex: Any = None

    @classmethod
    def regex(cls, text: str) -> Pattern:
        """Compile a regular expression.

        Raises:
            InvalidPatternError: RE2 does not take it.

        """
        try:
            return cls(text, compile_pattern(text))
        except EvaluationError as error:
            raise InvalidPatternError(str(error)) from error

    def matches(self, value: str) -> bool:
        """Tell whether a value is the one, or matches as a whole."""
        if self._regex is None:
            return value == self.text
        return self._regex.fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """What must hold together for a rule to take a request."""

    kind: PathKind = PathKind.PREFIX
    path: str = "/"
    """The path, the prefix, or the pattern. A prefix ends without a slash unless it is the root."""
    pattern: Pattern | None = None
    """Of a RegularExpression."""
    method: str | None = None
    headers: tuple[tuple[bytes, Pattern], ...] = ()
    """Lower-cased names. Several fields of a name count as one, joined as RFC 9110 section 5.3 does."""
    query: tuple[tuple[str, Pattern], ...] = ()
    """Of a parameter that occurs several times the first counts."""

    @property
    def precedence(self) -> tuple[int, int, bool, int, int]:
        """Sort key within one host: the smaller is asked first."""
        longest = -len(self.path) if self.kind is PathKind.PREFIX else 0
        return int(self.kind), longest, self.method is None, -len(self.headers), -len(self.query)

    @property
    def is_plain(self) -> bool:
        """Whether the path alone decides."""
        return self.method is None and not self.headers and not self.query

    def holds(self, asked: _Asked) -> bool:
        """Tell whether everything but the path holds."""
        if self.method is not None and asked.method != self.method:
            return False
        for name, pattern in self.headers:
            values = [value for key, value in asked.headers if key == name]
            if not values or not pattern.matches(b", ".join(values).decode("utf-8", "replace")):
                return False
        if self.query:
            parameters = asked.parameters
            for parameter, pattern in self.query:
                found = parameters.get(parameter)
                if found is None or not pattern.matches(found):
                    return False
        return True


class _Asked:
    """What matches ask of one request besides its path."""

    __slots__ = ("_parameters", "_query", "headers", "method")

    def __init__(self, method: str, headers: Sequence[tuple[bytes, bytes]], query: str | None) -> None:
        self.method = method
        self.headers = headers
        self._query = query
        self._parameters: dict[str, str] | None = None

    @property
    def parameters(self) -> dict[str, str]:
        """The query's parameters, taken apart once: the caller chooses how many, which takes up to 2 ms."""
        if self._parameters is None:
            self._parameters = _parameters_of(self._query or "")
        return self._parameters


def _parameters_of(query: str) -> dict[str, str]:
    """Return the first value of every query parameter, decoded as a form's (WHATWG URL section 5.1)."""
    found: dict[str, str] = {}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        found.setdefault(unquote_plus(name, errors="replace"), unquote_plus(value, errors="replace"))
    return found


def prefix_of(value: str) -> str:
    """Return a `PathPrefix` as it is compared: `/foo/` means `/foo`."""
    return value.rstrip("/") or "/"


class _Tier(Generic[R]):
    """The rules of one host name, found by path."""

    __slots__ = ("exact", "patterns", "prefixes")

    def __init__(self) -> None:
        self.exact: dict[str, list[tuple[RouteMatch, R]]] = {}
        self.prefixes: dict[str, list[tuple[RouteMatch, R]]] = {}
        self.patterns: list[tuple[RouteMatch, R]] = []

    def add(self, match: RouteMatch, route: R) -> None:
        if match.kind is PathKind.EXACT:
            self.exact.setdefault(match.path, []).append((match, route))
        elif match.kind is PathKind.PREFIX:
            self.prefixes.setdefault(match.path, []).append((match, route))
        else:
            self.patterns.append((match, route))

    def find(self, path: str, asked: _Asked) -> tuple[R, str | None] | None:
        for match, route in self.exact.get(path, ()):
            if match.holds(asked):
                return route, None
        if self.prefixes:
            end = len(path)
            while end >= 0:
                prefix = path[:end] or "/"
                for match, route in self.prefixes.get(prefix, ()):
                    if match.holds(asked):
                        return route, prefix
                if prefix == "/":
                    break
                end = path.rfind("/", 0, end)
        for match, route in self.patterns:
            pattern = match.pattern
            if pattern is not None and pattern.matches(path) and match.holds(asked):
                return route, None
        return None


class RouteTable(Generic[R]):
    """The rules that take the requests of one host."""

    __slots__ = ("_tiers", "only", "routes")

    def __init__(self, tiers: Iterable[Iterable[tuple[RouteMatch, R]]] = ()) -> None:
        """Sort rules.

        Args:
            tiers: matches with their routes, the ones of the most specific host name first; those of equal
                precedence in the order in which they are to be asked.

        """
        sorted_tiers = [sorted(tier, key=lambda entry: entry[0].precedence) for tier in tiers]
        self.routes: tuple[R, ...] = tuple({id(route): route for tier in sorted_tiers for _, route in tier}.values())
        """Every route, once."""
        self._tiers: list[_Tier[R]] = []
        for entries in sorted_tiers:
            tier: _Tier[R] = _Tier()
            for match, route in entries:
                tier.add(match, route)
            self._tiers.append(tier)
        first = sorted_tiers[0][0] if sorted_tiers and sorted_tiers[0] else None
        takes_all = first is not None and first[0] == RouteMatch()
        self.only: R | None = first[1] if first is not None and takes_all and len(self.routes) == 1 else None
        """The route that takes every request, where there is no other."""

    @classmethod
    def of(cls, route: R) -> RouteTable[R]:
        """Return the table of a route that takes every request."""
        return cls([[(RouteMatch(), route)]])

    def find(
        self, method: str, path: str, headers: Sequence[tuple[bytes, bytes]], query: str | None
    ) -> tuple[R, str | None] | None:
        """Return the route that takes a request, and the `PathPrefix` that chose it; none if no route does.

        Args:
            method: request method.
            path: canonical path.
            headers: end-to-end fields, names lower-cased.
            query: without its `?`; none if there is no `?`.

        """
        asked = _Asked(method, headers, query)
        for tier in self._tiers:
            if found := tier.find(path, asked):
                return found
        return None
