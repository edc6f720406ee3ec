"""SPIFFE ID syntax: the strict reading of a URI SAN."""

from __future__ import annotations

import re

from config.attributes import SpiffeId

MAX_SPIFFE_ID_BYTES = 2048
MAX_TRUST_DOMAIN_BYTES = 255

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]+")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]+")
_SCHEME = "spiffe://"


class InvalidSpiffeIdError(ValueError):
    """A URI that is not a SPIFFE ID of a workload."""


def is_trust_domain(name: str) -> bool:
    """Tell whether a name may be a trust domain (SPIFFE-ID, section 2.1)."""
    return _TRUST_DOMAIN.fullmatch(name) is not None and len(name) <= MAX_TRUST_DOMAIN_BYTES


def parse_spiffe_id(uri: str) -> SpiffeId:
    """Read a SPIFFE ID, or refuse it. Nothing is repaired: no case folding, no unescaping.

    Raises:
        InvalidSpiffeIdError: another scheme, an impossible trust domain, no path (a leaf has one), port, userinfo,
            query, fragment, percent escape, empty or dot segment, trailing slash, more than 2048 bytes.

    """
    if len(uri.encode(errors="surrogatepass")) > MAX_SPIFFE_ID_BYTES:
        raise InvalidSpiffeIdError(f"longer than {MAX_SPIFFE_ID_BYTES} bytes")
    if not uri.startswith(_SCHEME):
        raise InvalidSpiffeIdError("the scheme is not spiffe")
    trust_domain, slash, rest = uri[len(_SCHEME) :].partition("/")
    if not is_trust_domain(trust_domain):
        raise InvalidSpiffeIdError("not a trust domain: only a-z, 0-9, '.', '-' and '_' may stand there")
    if not slash:
        raise InvalidSpiffeIdError("no path: this names a trust domain, not a workload")
    segments = rest.split("/")
    if not all(_SEGMENT.fullmatch(segment) and segment not in {".", ".."} for segment in segments):
        raise InvalidSpiffeIdError("a path segment is empty, a dot segment, or holds a character that may not be there")
    match segments:
        case ["ns", namespace, "sa", service_account]:
            return SpiffeId(trust_domain, f"/{rest}", namespace, service_account)
        case _:
            return SpiffeId(trust_domain, f"/{rest}")
