"""The message head as a proxy must read it: what is end to end, what is hop by hop, what is ambiguous."""

from __future__ import annotations

from typing import TYPE_CHECKING

from middleware.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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

TRACE_CONTEXT = frozenset({b"traceparent", b"tracestate"})
"""Source: W3C Trace Context, section 3."""

NO_CONTENT = frozenset({204, 205, 304})
"""Statuses without a body: RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5."""
NO_LENGTH = frozenset({204, 304})
"""Of these, the ones that carry no `Content-Length`: it would say nothing about this message."""

CONTROLS = bytes({*range(32), 127} - {9})
"""What may not stand in a field or a target, CR and LF among them (RFC 9110 section 5.5)."""

_MAX_LENGTH_DIGITS = 18
"""Longer ones overflow some reader's 64 bits."""

_NOT_PASSED_ON = HOP_BY_HOP | _REQUEST_ONLY


class BrokenHeadError(ValueError):
    """A head that would be read as another one than was meant."""


def written_head(start_line: bytes, fields: RawHeaders) -> bytes:
    """Return a message's head as it goes out.

    Raises:
        BrokenHeadError: the start line or a field holds a control character. Whoever made them has checked them; one
            that slipped through would be a message of somebody else's.

    """
    head = b"\r\n".join([start_line, *map(b": ".join, fields), b"\r\n"])
    if len(head) - len(head.translate(None, CONTROLS)) != 2 * (len(fields) + 2):
        raise BrokenHeadError("a header field or the start line holds a control character")
    return head


def end_to_end(
    headers: RawHeaders, fields: Mapping[bytes, bytes], dropped: frozenset[bytes] = HOP_BY_HOP
) -> RawHeaders:
    """Return the header fields that are passed on: without the hop-by-hop ones and all that `Connection` names.

    Args:
        headers: every field as it came, names lower-cased.
        fields: the same by name.
        dropped: names to leave out, `HOP_BY_HOP` among them.

    """
    if b"connection" in fields:
        named = (value for name, value in headers if name == b"connection")
        dropped |= {token.strip().lower() for value in named for token in value.split(b",")}
    if b"_" in b"".join(fields):
        # Origins that fold `_` to `-`, as CGI does, would read `Transfer_Encoding` as what it looks like.
        headers = [pair for pair in headers if pair[0].replace(b"_", b"-") not in dropped]
    return [pair for pair in headers if pair[0] not in dropped]


def request_headers(headers: RawHeaders, fields: Mapping[bytes, bytes]) -> RawHeaders:
    """Return the end-to-end fields of a request, without those that are written anew for the origin."""
    return end_to_end(headers, fields, _NOT_PASSED_ON)


def without_trace_context(headers: RawHeaders) -> RawHeaders:
    """Return the fields without the caller's W3C trace context, which origins outside have no business with."""
    return [pair for pair in headers if pair[0] not in TRACE_CONTEXT]


def check_framing(
    headers: Sequence[tuple[bytes, bytes]], fields: Mapping[bytes, bytes]
) -> tuple[bytes, int | None, bool]:
    """Return `Host`, the content length and whether the body is chunked.

    Parsers differ in what they let through, so it is judged here once for all of them.

    Args:
        headers: every field as it came.
        fields: the same by name, the last of several.

    Raises:
        InvalidRequestError: no `Host` or two (RFC 9112 section 3.2), two lengths, a length beside a transfer coding
            (section 6.1), another coding than `chunked`, a length that is no number.

    """
    if len(fields) != len(headers):  # a name occurs twice: which one?
        _check_repeated([name for name, _ in headers])
    host, length, coding = fields.get(b"host"), fields.get(b"content-length"), fields.get(b"transfer-encoding")
    if host is None:
        raise InvalidRequestError("0 Host fields")
    if coding is not None:
        if length is not None:
            raise InvalidRequestError("more than one statement of the body's length")
        if coding.lower() != b"chunked":
            raise InvalidRequestError("a transfer coding other than chunked")
        return host, None, True
    if length is None:
        return host, None, False
    if not (length.isdigit() and len(length) <= _MAX_LENGTH_DIGITS):
        raise InvalidRequestError("a content length that is no number")
    return host, int(length), False


def _check_repeated(names: list[bytes]) -> None:
    if (hosts := names.count(b"host")) > 1:
        raise InvalidRequestError(f"{hosts} Host fields")
    if names.count(b"content-length") > 1:
        raise InvalidRequestError("more than one statement of the body's length")
    if names.count(b"transfer-encoding") > 1:
        raise InvalidRequestError("a transfer coding other than chunked")
