"""May a web page send this? What changes something comes from the destination's own pages, or from listed ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.policy.cors import InvalidOriginError, Origin, origin_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing (RFC 9110 section 9.2.1)."""
_OWN = frozenset({b"same-origin", b"none"})
"""Values of `Sec-Fetch-Site`: the destination's own page, or the person at the browser. Source: Fetch Metadata."""


@dataclass(frozen=True, slots=True)
class Csrf:
    """`traffic.csrf`."""

    additional_origins: frozenset[Origin] = frozenset()

    def refusal(self, method: str, headers: Sequence[tuple[bytes, bytes]], destination: Origin) -> str:
        """Return why a request is refused, for the log; empty if it is not.

        A request with neither `Sec-Fetch-Site` nor `Origin` passes: no browser sent it.

        Args:
            method: the request's.
            headers: every field as it came: one that `Connection` names counts too.
            destination: scheme, host and port that the request is for.

        """
        sites = {value for name, value in headers if name == b"sec-fetch-site"}
        if method in _SAFE or (sites and sites <= _OWN):
            return ""
        try:
            origin = origin_of(headers)
        except InvalidOriginError as error:
            return f"the Origin cannot be trusted: {error}"
        if origin in self.additional_origins or (not sites and origin in {None, destination}):
            return ""
        site = "Sec-Fetch-Site says that another site's page sent it" if sites else "it is another page's"
        return f"{site}, and its Origin is not listed"
