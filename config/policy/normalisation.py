"""One spelling of a request target and its authority, or a refusal. Nothing ambiguous is repaired.

Repairing is where proxies lose: what one reader resolves the next one resolves differently. Only escapes of unreserved
characters are decoded (RFC 3986 section 6.2.2.2), so that every rule and the origin see the same string.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from typing import Final
from urllib.parse import unquote_to_bytes

_UNRESERVED: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
_PCHAR_AND_SLASH: Final = _UNRESERVED + b"!$&'()*+,;=:@/"
_PLAIN: Final = _PCHAR_AND_SLASH.replace(b";", b"")
"""Bytes that need no further look, unless they spell `//` or a dot segment."""
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_FORBIDDEN_ESCAPE = re.compile(rb"%(?:[01][0-9A-Fa-f]|7[Ff]|2[FfEe]|5[Cc]|25)")
"""Encoded controls, `/`, `.`, `\\` and `%`."""
_ENCODED_SLASH = re.compile(rb"%2[Ff]")
_SEGMENT_PARAMETER = re.compile(r";|%3[BbFf]|%2[03]")
"""Where some servers end a segment's name: `;`, or an encoded `;`, `?`, `#` or space."""
_LOOK_ALIKES = frozenset("\u2024\u2044\u2215\u29f8\uff0e\uff0f\uff3c")
"""Characters that some servers fold to a dot or a slash."""
_QUERY_FORBIDDEN = re.compile(rb"[^\x21\x22\x24-\x7e]")
"""Controls, space, `#`, DEL and non-ASCII bytes."""

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_PORT = re.compile(r"[0-9]{1,5}")
DEFAULT_PORT_OF: Final = {"http": 80, "https": 443}
"""Port that a URL of the scheme does not write (RFC 9110 section 4.2)."""
MAX_HOST_BYTES = 253
MAX_PORT = 65535
MAX_AUTHORITY_BYTES = MAX_HOST_BYTES + len(".:65535")
CACHED_AUTHORITIES = 4096
"""Spellings whose meaning is kept: callers send a few, again and again."""


class AmbiguousTargetError(ValueError):
    """A request target or authority that two readers could read in two ways."""


def normalise_path(raw: bytes) -> str:
    """Return the canonical path, or refuse it. Idempotent: the result passes unchanged.

    Raises:
        AmbiguousTargetError: see `docs/paths.md` for the rules, one by one.

    """
    if raw[:1] != b"/":
        raise AmbiguousTargetError("the path does not begin with a slash")
    if not raw.translate(None, _PLAIN) and b"//" not in raw and b"/." not in raw:
        return raw.decode("ascii")
    if _BAD_ESCAPE.search(raw):
        raise AmbiguousTargetError("a % without two hexadecimal digits")
    if _FORBIDDEN_ESCAPE.search(raw):
        raise AmbiguousTargetError("an encoded control, slash, backslash, dot or %")
    if raw.translate(None, _PCHAR_AND_SLASH + b"%"):
        raise AmbiguousTargetError("a byte that may not stand in a path")
    path = _ESCAPE.sub(_decode_unreserved, raw).decode("ascii")
    try:
        decoded = unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        raise AmbiguousTargetError("an escape sequence that is not shortest-form UTF-8") from None
    if not _LOOK_ALIKES.isdisjoint(decoded):
        raise AmbiguousTargetError("an encoded character that looks like a slash or a dot")
    segments = path.split("/")[1:]
    if "" in segments[:-1]:
        raise AmbiguousTargetError("an empty segment")
    if any(_SEGMENT_PARAMETER.split(segment, maxsplit=1)[0] in {".", ".."} for segment in segments):
        raise AmbiguousTargetError("a dot segment")
    return path


def normalise_escaped_path(raw: bytes) -> tuple[str, str]:
    """Return both readings of a path with encoded slashes: as it is sent, and with the slashes decoded.

    Everything else about it must hold in either reading (`egress-gateway.dev/path-escapes: allow`).

    Raises:
        AmbiguousTargetError: one of the readings breaks a rule of `normalise_path`.

    """
    decoded = normalise_path(_ENCODED_SLASH.sub(b"/", raw))
    # Neither sent nor decoded: else `%41` would become a slash where `A` stands in for one.
    seen = raw + decoded.encode()
    stand_in = next((byte for byte in _UNRESERVED if byte not in seen and byte != ord(".")), None)
    if stand_in is None:
        raise AmbiguousTargetError("an encoded slash in a path of every character there is")
    kept = normalise_path(_ENCODED_SLASH.sub(bytes([stand_in]), raw))
    return kept.replace(chr(stand_in), "%2F"), decoded


def _decode_unreserved(match: re.Match[bytes]) -> bytes:
    byte = bytes.fromhex(match[1].decode())
    return byte if byte in _UNRESERVED else match[0]


def check_query(raw: bytes) -> str:
    """Return the query unchanged: it is never decoded or judged, only refused where it could end the request line.

    Raises:
        AmbiguousTargetError: a control, space, `#` or non-ASCII byte.

    """
    if _QUERY_FORBIDDEN.search(raw):
        raise AmbiguousTargetError("a byte that may not stand in a query")
    return raw.decode("ascii")


@functools.lru_cache(maxsize=CACHED_AUTHORITIES)
def parse_authority(raw: bytes) -> tuple[str, int | None]:
    """Return the canonical host and the port of a `Host` field or an absolute target.

    The host comes lower-cased, without one trailing dot; an IPv6 literal without brackets, compressed.

    Raises:
        AmbiguousTargetError: empty, userinfo, non-ASCII or escaped, an impossible name, address or port.

    """
    if len(raw) > MAX_AUTHORITY_BYTES:
        raise AmbiguousTargetError("not a host name")
    try:
        text = raw.decode("ascii").lower()
    except UnicodeDecodeError:
        raise AmbiguousTargetError("a host outside ASCII: internationalised names are written as A-labels") from None
    if text.startswith("["):
        literal, bracket, rest = text[1:].partition("]")
        try:
            host = ipaddress.IPv6Address(literal).compressed
        except ValueError:
            raise AmbiguousTargetError("not an IPv6 address") from None
        if not bracket or "%" in literal:
            raise AmbiguousTargetError("not an IPv6 address")
        colon, port = rest[:1], rest[1:]
        if rest and colon != ":":
            raise AmbiguousTargetError("no port after the address")
    else:
        name, colon, port = text.partition(":")
        host = name.removesuffix(".")
        if len(host) > MAX_HOST_BYTES or not all(map(_LABEL.fullmatch, host.split("."))):
            raise AmbiguousTargetError("not a host name")
    if not colon:
        return host, None
    if not _PORT.fullmatch(port) or not 0 < int(port) <= MAX_PORT:
        raise AmbiguousTargetError("not a port")
    return host, int(port)


def write_authority(host: str, port: int | None = None, default_port: int | None = None) -> str:
    """Return host and port as a URL and `Host` hold them: IPv6 in brackets, no port where it is the usual one."""
    written = f"[{host}]" if ":" in host else host
    return written if port is None or port == default_port else f"{written}:{port}"


def split_target(target: bytes) -> tuple[tuple[str, int | None] | None, bytes, bytes | None]:
    """Split a request target in origin or absolute form into authority, raw path and raw query.

    The authority is none for the origin form (RFC 9112 section 3.2.1). An absolute form without a path gets `/`.

    Raises:
        AmbiguousTargetError: another form (`*`, authority form), another scheme, an authority that is refused.

    """
    authority = None
    if target[:1] != b"/":
        scheme, separator, rest = target.partition(b"://")
        if not separator or scheme.lower() not in {b"http", b"https"}:
            raise AmbiguousTargetError("neither origin form nor absolute form")
        end = min((at for at in map(rest.find, (b"/", b"?", b"#")) if at >= 0), default=len(rest))
        authority = parse_authority(rest[:end])
        target = rest[end:]
        if target[:1] != b"/":
            target = b"/" + target
    path, mark, query = target.partition(b"?")
    return authority, path, query if mark else None
