"""Encodings and digests: base64, percent, forms, SHA-256 and its weaker elders."""

from __future__ import annotations

import binascii
import hashlib
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, quote_plus, unquote_to_bytes

from config.cel.errors import EvaluationError
from config.cel.limits import MAX_PARSED_ELEMENTS, check_count, check_length, concatenate
from config.cel.overloads import LIBRARY
from config.cel.values import plain_key

if TYPE_CHECKING:
    from collections.abc import Iterator

function = LIBRARY.function

_STRAY_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_BASE64_GROUP: Final = 4


def utf8(text: str) -> bytes:
    """Return the text's bytes.

    Raises:
        EvaluationError: it holds half a surrogate pair, so it has none.

    """
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise EvaluationError("a string that is no Unicode text") from None


def text_of(value: bytes) -> str:
    """Return the text that the bytes encode.

    Raises:
        EvaluationError: not UTF-8.

    """
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise EvaluationError("bytes that are not UTF-8") from None


def _bytes_of(value: str | bytes) -> bytes:
    return utf8(value) if isinstance(value, str) else value


@function("base64.encode", "bytes", "string")
@function("base64.encode", "string", "string")
@function("base64Encode", "bytes", "string")
@function("base64Encode", "string", "string")
def base64_encode(value: str | bytes) -> str:
    plain = _bytes_of(value)
    check_length((len(plain) + 2) // 3 * _BASE64_GROUP)
    return binascii.b2a_base64(plain, newline=False).decode("ascii")


@function("base64.decode", "string", "bytes")
@function("base64.decode", "bytes", "bytes")
@function("base64Decode", "string", "bytes")
@function("base64Decode", "bytes", "bytes")
def base64_decode(value: str | bytes) -> bytes:
    return decode_base64(_bytes_of(value))


def decode_base64(encoded: bytes) -> bytes:
    """Decode the standard alphabet, padded in full or not at all.

    Of all spellings only the one that encoding gives is taken: no line breaks, no stray bits behind the end.

    Raises:
        EvaluationError: not that.

    """
    padded = encoded if b"=" in encoded else encoded + b"=" * (-len(encoded) % _BASE64_GROUP)
    try:
        plain = binascii.a2b_base64(padded, strict_mode=True)
    except binascii.Error:
        raise EvaluationError("not base64") from None
    if binascii.b2a_base64(plain, newline=False) != padded:
        raise EvaluationError("not base64")
    return plain


@function("url.encode", "string", "string")
@function("url.encode", "bytes", "string")
def url_encode(value: str | bytes) -> str:
    """Escape all but RFC 3986's unreserved characters."""
    plain = _bytes_of(value)
    check_length(len(plain))
    return concatenate((quote(plain, safe=""),))


@function("url.decode", "string", "string")
def url_decode(text: str) -> str:
    """Undo the escapes; a plus stays one.

    AgentGateway lets a percent sign without two digits stand. Here it is an error: the origin may read it otherwise.
    """
    if _STRAY_PERCENT.search(text):
        raise EvaluationError("a percent sign without two hexadecimal digits")
    return text_of(unquote_to_bytes(utf8(text)))


def form_fields(text: str) -> list[tuple[str, str]]:
    """Return the fields of `application/x-www-form-urlencoded` text in order.

    Raises:
        EvaluationError: a field that is not UTF-8, or more than 1,000 fields.

    """
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARSED_ELEMENTS)
    except UnicodeError:
        raise EvaluationError("a form field that is not UTF-8") from None
    except ValueError:
        raise EvaluationError("result too large") from None


def form_text(fields: list[tuple[str, str]]) -> str:
    """Write fields as `application/x-www-form-urlencoded`, as the URL standard spells it."""
    return concatenate(_form_pieces(fields))


def _form_pieces(fields: list[tuple[str, str]]) -> Iterator[str]:
    for position, (name, value) in enumerate(fields):
        yield f"{'&' if position else ''}{_form_escape(name)}={_form_escape(value)}"


def _form_escape(text: str) -> str:
    return quote_plus(utf8(text), safe="*").replace("~", "%7E")


@function("form.decode", "string", "map")
@function("form.decode", "bytes", "map")
def form_decode(value: str | bytes) -> dict[str, Any]:
    """Read a form; a name that occurs several times gets a list."""
    values: dict[str, list[str]] = {}
    for name, content in form_fields(value if isinstance(value, str) else text_of(value)):
        values.setdefault(name, []).append(content)
    return {name: contents if len(contents) > 1 else contents[0] for name, contents in values.items()}


@function("form.encode", "map", "string")
def form_encode(items: dict[Any, Any]) -> str:
    """Write a form, names sorted. A list gives a field for each element, null gives none."""
    fields: list[tuple[str, str]] = []
    for key, value in items.items():
        contents = value if type(value) is list else [] if value is None else [value]
        check_count(len(fields) + len(contents))
        if any(type(content) is not str for content in contents):
            raise EvaluationError("a form field that is no string")
        fields.extend((key_text(key), content) for content in contents)
    return form_text(sorted(fields, key=lambda field: field[0]))


def key_text(key: Any) -> str:
    """Write the key of a map as text: `true`, `1`, `name`."""
    plain = plain_key(key)
    if type(plain) is bool:
        return "true" if plain else "false"
    return plain if type(plain) is str else int.__repr__(plain)


def _digest(name: str) -> None:
    """Register a digest, written in hexadecimal."""

    @function(f"{name}.encode", "string", "string")
    @function(f"{name}.encode", "bytes", "string")
    def digest(value: str | bytes) -> str:
        # SHA-1 and MD5 name things here (cache keys, buckets); nothing is protected by them.
        return hashlib.new(name, _bytes_of(value), usedforsecurity=False).hexdigest()


_digest("sha256")
_digest("sha1")
_digest("md5")
