"""Subject alternative names: whether a certificate carries one of the names that policy wants. No I/O."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_LEAST_LABELS_UNDER_WILDCARD = 2
"""`*.com` would stand for everybody below. OpenSSL asks for as many."""


def carries_one(alternative_names: Iterable[tuple[str, str]], wanted: Iterable[str]) -> bool:
    """Tell whether one of a certificate's names is one of those that are wanted.

    Args:
        alternative_names: type and value, as `ssl.SSLSocket.getpeercert` names them: `("DNS", "*.example.org")`.
        wanted: DNS names and URIs; what holds `://` is a URI.

    """
    names = list(alternative_names)
    return any(
        matches_uri(value, name) if kind == "URI" else kind == "DNS" and matches_dns(value, name)
        for name in wanted
        for kind, value in names
    )


def matches_uri(presented: str, wanted: str) -> bool:
    """Compare URIs as they are, as SPIFFE does: whoever rewrites one before comparing gives another's name away."""
    return "://" in wanted and presented == wanted


def matches_dns(presented: str, wanted: str) -> bool:
    """Compare a certificate's DNS name with one that is wanted. Source: RFC 9525 section 6.3.

    A wildcard is the whole left-most label, stands for exactly one label, and has at least two labels after it. An
    address is no DNS name, whatever a certificate says.
    """
    if "://" in wanted or "*" in wanted or _is_address(wanted) or not (presented.isascii() and wanted.isascii()):
        return False
    pattern, name = presented.lower().removesuffix("."), wanted.lower().removesuffix(".")
    if not name or not all(name.split(".")):
        return False
    if not pattern.startswith("*."):
        return pattern == name
    suffix, rest = pattern[2:], name.partition(".")[2]
    return "*" not in suffix and suffix.count(".") + 1 >= _LEAST_LABELS_UNDER_WILDCARD and suffix == rest


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
