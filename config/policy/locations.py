"""Where in a request a credential stands, and how every copy that the caller sent is taken out of there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from config.attributes import RawHeaders


@dataclass(frozen=True, slots=True)
class HeaderLocation:
    """A header field."""

    name: bytes
    """Lower-cased."""
    prefix: bytes = b""
    """What stands before the credential."""


@dataclass(frozen=True, slots=True)
class ParameterLocation:
    """A parameter of the query."""

    name: bytes
    """A token, so nothing in it needs form decoding but percent escapes."""


@dataclass(frozen=True, slots=True)
class CookieLocation:
    """A cookie."""

    name: bytes


CredentialLocation = HeaderLocation | ParameterLocation | CookieLocation

AUTHORIZATION = b"authorization"
BEARER = HeaderLocation(AUTHORIZATION, b"Bearer ")
"""Where a credential goes unless the manifest says otherwise (RFC 6750 section 2.1)."""
BASIC = HeaderLocation(AUTHORIZATION, b"Basic ")
"""RFC 7617 section 2."""

_SEPARATORS = re.compile(r"([&;])")


def parameters(query: str) -> list[str]:
    """Return the parts of a query, as `without_parameters` tells them apart."""
    return _SEPARATORS.split(query)[::2]


def parameter_name(part: str) -> bytes:
    """Return the name of a parameter, without its percent escapes."""
    return unquote_to_bytes(part.partition("=")[0])


def without_parameters(query: str, names: Collection[bytes]) -> str:
    """Return a query without the parameters of these names; all else stays as it is, byte for byte.

    Names are compared after their percent escapes are decoded. A `;` separates too: some origins read it so (HTML 4.01
    section B.2.2), and would find the caller's copy behind one.
    """
    first, *rest = _SEPARATORS.split(query)
    pieces = [("", first), *zip(rest[::2], rest[1::2], strict=True)]
    kept = [pair for pair in pieces if parameter_name(pair[1]) not in names]
    if len(kept) == len(pieces):
        return query
    return "".join(separator + piece for separator, piece in kept)[len(kept[0][0]) if kept else 0 :]


def with_parameters(target: str, names: Collection[bytes], written: Sequence[str]) -> str:
    """Return a target in origin form whose query says `written` in place of all that it said under these names.

    Args:
        target: path and query.
        names: of the parameters that are replaced.
        written: `name=value`, percent-encoded.

    """
    path, _, query = target.partition("?")
    rest = without_parameters(query, names)
    return f"{path}?{'&'.join([rest, *written] if rest else written)}"


def without_cookies(value: bytes, names: Collection[bytes]) -> bytes:
    """Return the value of a `Cookie` field without the cookies of these names; empty if no other is in it."""
    parts = value.split(b";")
    kept = [part for part in parts if not is_cookie(part, names)]
    return value if len(kept) == len(parts) else b";".join(kept).strip(b" \t")


def with_cookies(headers: RawHeaders, names: Collection[bytes], written: Sequence[bytes]) -> RawHeaders:
    """Return header fields whose cookies are `written`, `name=value`, in place of all cookies of these names."""
    result: RawHeaders = []
    last = -1
    for name, value in headers:
        if name != b"cookie":
            result.append((name, value))
        elif rest := without_cookies(value, names):
            last = len(result)
            result.append((name, rest))
    own = b"; ".join(written)
    if last < 0:
        result.append((b"cookie", own))
    else:
        # One field, as RFC 6265 section 5.4 has it; where the caller sent several, the last.
        others = result[last][1].rstrip(b"; \t")
        result[last] = (b"cookie", others + b"; " + own if others else own)
    return result


def is_cookie(part: bytes, names: Collection[bytes]) -> bool:
    """Tell whether a part of a `Cookie` field is a cookie of one of these names."""
    name = part.partition(b"=")[0].strip(b" \t")
    # Some origins decode names, and read `%73ession` as `session` (CVE-2020-7070).
    return name in names or unquote_to_bytes(name) in names
