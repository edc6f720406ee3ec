"""The message head as a proxy must read it: what is end to end, what is hop by hop, what is ambiguous."""

from __future__ import annotations

from typing import TYPE_CHECKING

from middleware.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from config.attributes import RawHeaders

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""RFC 9110 section 7.6.1, with the older names that RFC 2616 section 13.5.1 listed."""

_REQUEST_ONLY = frozenset({b"host", b"content-length", b"expect", b"x-forwarded-client-cert"})
"""Written anew for the origin, answered by the server (`Expect`), or a claim of identity that nobody here may make."""

_MAX_LENGTH_DIGITS = 18
"""Longer ones overflow some reader's 64 bits."""


def end_to_end(headers: Iterable[tuple[bytes, bytes]], dropped: frozenset[bytes] = frozenset()) -> RawHeaders:
    """Return the header fields that are passed on: without hop-by-hop ones and all that `Connection` names."""
    headers = list(headers)
    gone = HOP_BY_HOP | dropped
    named = [value for name, value in headers if name == b"connection"]
    if named:
        gone = gone | {token.strip().lower() for value in named for token in value.split(b",")}
    # Origins that fold `_` to `-`, as CGI does, would read `Transfer_Encoding` as what it looks like.
    return [pair for pair in headers if pair[0] not in gone and pair[0].replace(b"_", b"-") not in gone]


def request_headers(headers: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """Return the end-to-end fields of a request, without those that are written anew for the origin."""
    return end_to_end(headers, _REQUEST_ONLY)


def check_framing(headers: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, int | None, bool]:
    """Return `Host`, the content length and whether the body is chunked.

    Parsers differ in what they let through, so it is judged here once for all of them.

    Raises:
        InvalidRequestError: no `Host` or two (RFC 9112 section 3.2), two lengths, a length beside a transfer coding
            (section 6.1), another coding than `chunked`, a length that is no number.

    """
    hosts: list[bytes] = []
    lengths: list[bytes] = []
    codings: list[bytes] = []
    for name, value in headers:
        if name == b"host":
            hosts.append(value)
        elif name == b"content-length":
            lengths.append(value)
        elif name == b"transfer-encoding":
            codings.append(value)
    if len(hosts) != 1:
        raise InvalidRequestError(f"{len(hosts)} Host fields")
    if len(lengths) > 1 or (lengths and codings):
        raise InvalidRequestError("more than one statement of the body's length")
    if codings and (len(codings) > 1 or codings[0].lower() != b"chunked"):
        raise InvalidRequestError("a transfer coding other than chunked")
    if lengths and not (lengths[0].isdigit() and len(lengths[0]) <= _MAX_LENGTH_DIGITS):
        raise InvalidRequestError("a content length that is no number")
    return hosts[0], int(lengths[0]) if lengths else None, bool(codings)
