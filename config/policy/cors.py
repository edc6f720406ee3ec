"""Which pages a browser lets read an answer. Source: Fetch section 3.2, GEP-1767."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.policy.normalisation import DEFAULT_PORT_OF

if TYPE_CHECKING:
    from collections.abc import Iterable

    from config.attributes import RawHeaders

_ORIGIN = re.compile(
    r"(https?)://(\*|(?=.{1,253}(?::|$))(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]{2,45}\])(?::([0-9]{1,5}))?",
    re.IGNORECASE | re.ASCII,
)
_MAX_PORT = 65535
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
"""RFC 9110 section 5.6.2, as far as a name is plausible."""

VARY = (b"vary", b"origin")
"""The answer depends on who asks: no cache may hand it to another page (Fetch section 3.2.5)."""


class InvalidOriginError(ValueError):
    """What is no origin of the form `scheme://host[:port]` with http or https."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a page comes from: equal origins are one, whichever way they were written (RFC 6454 section 5)."""

    scheme: str
    host: str
    """Lower-cased; of a pattern it may begin with `*.`, or be `*`."""
    port: int

    @classmethod
    def parse(cls, text: str) -> Origin:
        """Read an origin, or a pattern of origins.

        Raises:
            InvalidOriginError: another scheme, a path, userinfo, an impossible host or port, `null`; a `*` that is
                neither the whole host nor its first label.

        """
        match = _ORIGIN.fullmatch(text)
        if match is None:
            raise InvalidOriginError("not an origin such as https://app.example")
        scheme, host = match[1].lower(), match[2].lower()
        port = int(match[3]) if match[3] else DEFAULT_PORT_OF[scheme]
        if not 0 < port <= _MAX_PORT:
            raise InvalidOriginError("an origin with an impossible port")
        return cls(scheme, host, port)

    @property
    def is_pattern(self) -> bool:
        """Whether it stands for several origins."""
        return self.host.startswith("*")

    def covers(self, origin: Origin) -> bool:
        """Tell whether an origin is this one, or one of this pattern's: `*.x` is every name below `x`, never `x`."""
        if (self.scheme, self.port) != (origin.scheme, origin.port):
            return False
        if self.host == "*":
            return True
        return origin.host.endswith(self.host[1:]) if self.is_pattern else origin.host == self.host


def origin_of(headers: Iterable[tuple[bytes, bytes]]) -> Origin | None:
    """Return the origin that a request states; none if it has no `Origin`.

    Args:
        headers: every field as it came: one that `Connection` names counts too.

    Raises:
        InvalidOriginError: several `Origin` fields, `null`, or none that can be read.

    """
    values = [value for name, value in headers if name == b"origin"]
    if not values:
        return None
    if len(values) > 1:
        raise InvalidOriginError("several Origin fields")
    origin = Origin.parse(values[0].decode("latin-1"))
    if origin.is_pattern:
        raise InvalidOriginError("an Origin with a wildcard")
    return origin


@dataclass(frozen=True, slots=True)
class Cors:
    """What a route's answers say to browsers. An origin that is not allowed is told nothing."""

    any_origin: bool = False
    """`*` stands among the allowed origins."""
    origins: tuple[Origin, ...] = ()
    credentials: bool = False
    methods: tuple[str, ...] = ()
    """`*`: whatever is asked for."""
    headers: tuple[str, ...] = ()
    """`*`: whatever is asked for."""
    expose: tuple[str, ...] = ()
    max_age: int = 5
    """Unit: seconds."""

    def answer(self, origin: Origin | None, value: bytes) -> RawHeaders:
        """Return the fields of any answer to a page.

        `Access-Control-Allow-Origin` is the page's own origin, never `*`: with credentials a browser would not take it.

        Args:
            origin: what the request states, as it was read; none if it cannot be.
            value: the same as it came.

        """
        if not self._allows(origin):
            return [VARY]
        fields = [(b"access-control-allow-origin", value), VARY]
        if self.credentials:
            fields.append((b"access-control-allow-credentials", b"true"))
        if self.expose:
            fields.append((b"access-control-expose-headers", ", ".join(self.expose).encode()))
        return fields

    def preflight(self, origin: Origin | None, value: bytes, method: bytes, headers: bytes) -> RawHeaders:
        """Return the fields of the answer to a preflight.

        Args:
            origin: what the request states, as it was read; none if it cannot be.
            value: the same as it came.
            method: `Access-Control-Request-Method`.
            headers: `Access-Control-Request-Headers`, empty if it was not sent.

        """
        fields = self.answer(origin, value)
        if not self._allows(origin):
            return fields
        if methods := self._granted(self.methods, [method]):
            fields.append((b"access-control-allow-methods", methods))
        if names := self._granted(self.headers, headers.split(b",")):
            fields.append((b"access-control-allow-headers", names))
        fields.append((b"access-control-max-age", b"%d" % self.max_age))
        return fields

    def _allows(self, origin: Origin | None) -> bool:
        if origin is None:
            return False
        return self.any_origin or any(allowed.covers(origin) for allowed in self.origins)

    def _granted(self, listed: tuple[str, ...], asked: list[bytes]) -> bytes:
        """Return a list of methods or names; in the place of `*` what is asked for, as credentials rule `*` out."""
        if "*" not in listed:
            return ", ".join(listed).encode()
        tokens = [token for entry in asked if _TOKEN.fullmatch(token := entry.strip(b" \t"))]
        return b", ".join(tokens) or (b"" if self.credentials else b"*")
