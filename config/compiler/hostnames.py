"""Hosts and `*.suffix`es: which covers which, and the routes that take a host, found without asking all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from config.compiler.routes import AttachedRoute

WILDCARD = "*."


def covers(pattern: str, host: str) -> bool:
    """Tell whether every host that a host or `*.suffix` stands for is also one of a pattern's."""
    return pattern == host or (pattern.startswith(WILDCARD) and host != pattern[2:] and host.endswith(pattern[1:]))


def intersection(one: str, other: str) -> str | None:
    """Return the narrower of two hosts or `*.suffix`es if it is part of the other."""
    if covers(one, other):
        return other
    return one if covers(other, one) else None


def closeness(pattern: str | None) -> tuple[bool, int]:
    """Return a sort key: the greater, the closer a pattern names a host that it covers. None covers all."""
    return pattern is not None and not pattern.startswith(WILDCARD), len(pattern or "")


def wildcards_above(host: str) -> Iterator[str]:
    """Yield every `*.suffix` that a host or `*.suffix` is part of, the closest first."""
    suffix = host.removeprefix(WILDCARD)
    while "." in suffix:
        suffix = suffix.partition(".")[2]
        yield f"{WILDCARD}{suffix}"


class RoutesByHost:
    """The routes below one parent. There may be ten thousand of them, and as many hosts that look for theirs."""

    def __init__(self, routes: Iterable[AttachedRoute] = ()) -> None:
        """Sort routes, which are given in their order of precedence."""
        self.everywhere: list[AttachedRoute] = []
        """Routes that name no host and take all."""
        self._by_name: dict[str, list[AttachedRoute]] = {}
        self._below: dict[str, list[str]] | None = None
        for route in routes:
            for name in dict.fromkeys(route.hostnames):
                self._by_name.setdefault(name, []).append(route)
            if not route.hostnames:
                self.everywhere.append(route)

    def __bool__(self) -> bool:
        return bool(self.everywhere or self._by_name)

    @property
    def names(self) -> Iterable[str]:
        """Every host that a route names, once."""
        return self._by_name.keys()

    def taking(self, host: str) -> Iterator[list[AttachedRoute]]:
        """Yield the routes that take a host: those that name it most closely first, those that name none last."""
        seen: set[int] = set()
        for name in (host, *wildcards_above(host)):
            if found := [route for route in self._by_name.get(name, ()) if id(route) not in seen]:
                seen.update(map(id, found))
                yield found
        if self.everywhere:
            yield self.everywhere

    def below(self, pattern: str) -> list[str]:
        """Return the hosts that routes name and that are a part of a `*.suffix`, but not all of it."""
        if self._below is None:
            self._below = {}
            for name in self._by_name:
                for above in wildcards_above(name):
                    self._below.setdefault(above, []).append(name)
        return self._below.get(pattern, [])
