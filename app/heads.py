"""The heads of both messages as this hop writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.policy.headers import DECISION_ID
from config.policy.normalisation import write_authority
from middleware.framing import HOP_BY_HOP, NO_LENGTH, end_to_end
from middleware.moments import http_date

if TYPE_CHECKING:
    from collections.abc import Mapping

    from config.attributes import RawHeaders
    from middleware.context import RequestContext

VIA = (b"via", b"1.1 egress-gateway")
"""RFC 9110 section 7.6.3. The version is the caller's, which is HTTP/1.1 or answered as such."""

_NOT_PASSED_ON = HOP_BY_HOP | {DECISION_ID}
"""Dropped from an origin's answer; the decision id, so that it cannot pass for one of the gateway's own."""
_NOT_PASSED_ON_BODYLESS = _NOT_PASSED_ON | {b"content-length"}


def request_head(context: RequestContext, authority: bytes | None, host: str, headers: RawHeaders) -> RawHeaders:
    """Return the fields for the origin: `Host` and framing are this hop's own, the rest is what policy left.

    Args:
        context: the request.
        authority: `Host` as the backend has it; none for an address.
        host: the request's canonical one.
        headers: end-to-end fields.

    """
    result: RawHeaders = [(b"host", context.authority or authority or write_authority(host).encode()), *headers, VIA]
    if context.chunked:
        result.append((b"transfer-encoding", b"chunked"))
    elif context.content_length is not None:
        result.append((b"content-length", b"%d" % context.content_length))
    return result


def answer_head(status: int, headers: RawHeaders, fields: Mapping[bytes, bytes]) -> RawHeaders:
    """Return the fields of an origin's answer that the caller gets."""
    result = end_to_end(headers, fields, _NOT_PASSED_ON_BODYLESS if status in NO_LENGTH else _NOT_PASSED_ON)
    if b"date" not in fields:
        result.append((b"date", http_date()))  # RFC 9110 section 6.6.1
    return result
