"""Rules of routes that no request can reach, because on every host of theirs others take what they match."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.compiler.place import Place
from config.policy.matching import PathKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from config.compiler.routes import AttachedRoute
    from config.errors import Finding
    from config.policy.matching import RouteMatch
    from config.resources import Resources

    Matches = Mapping[str, Sequence[Sequence[tuple[RouteMatch, bool]]]]
    """Name of a route to the matches of its rules, each with whether it can be served."""


class Reachability:
    """Collects, host by host, which rules can take a request.

    Only a match that the path alone decides keeps requests from others.
    """

    def __init__(self, matches: Matches) -> None:
        """Begin with no host."""
        self._matches = matches
        self._reached: dict[tuple[str, int], bool] = {}
        """Route and number of a rule that some host has to whether a request can reach it."""
        self._known: set[tuple[tuple[int, ...], ...]] = set()

    def note(self, tiers: Sequence[Sequence[AttachedRoute]]) -> None:
        """Take the routes of a host, those that name it most closely first."""
        key = tuple(tuple(map(id, tier)) for tier in tiers)
        if key in self._known:  # thousands of hosts may share their routes
            return
        self._known.add(key)
        closer: set[str] = set()
        for tier in tiers:
            taken: dict[PathKind, set[str]] = {kind: set() for kind in PathKind}
            for match, rule in sorted(self._rules(tier), key=lambda entry: entry[0].precedence):
                is_reached = not _is_taken(match, taken, closer)
                self._reached[rule] = self._reached.get(rule, False) or is_reached
                if match.is_plain:
                    taken[match.kind].add(match.path)
            closer |= taken[PathKind.PREFIX]

    def report(self, resources: Resources, findings: list[Finding]) -> None:
        """Warn of every rule that no host's requests reach."""
        for (name, index), is_reached in self._reached.items():
            if not is_reached:
                place = Place(resources.routes[name], resources, findings, ("spec", "rules", index))
                message = "no request reaches this rule: others take everything that it matches"
                place.warn("unreachable-rule", message, "remove it, or change its matches or those of the others")

    def _rules(self, tier: Sequence[AttachedRoute]) -> Iterator[tuple[RouteMatch, tuple[str, int]]]:
        for attached in tier:
            for index, matches in enumerate(self._matches[attached.parsed.name]):
                for match, _ in matches:
                    yield match, (attached.parsed.name, index)


def _is_taken(match: RouteMatch, taken: Mapping[PathKind, set[str]], closer: set[str]) -> bool:
    """Tell whether others take all that a match could.

    Args:
        match: the match.
        taken: paths and patterns that were asked before it among the routes that name the host as closely.
        closer: prefixes of the routes that name the host more closely.

    """
    if match.path in taken[match.kind]:
        return True
    if match.kind is PathKind.REGEX:
        return "/" in taken[PathKind.PREFIX] or "/" in closer
    path = match.path
    while closer and path not in closer and path:
        path = path.rpartition("/")[0]
    return bool(closer) and (path in closer or "/" in closer)
