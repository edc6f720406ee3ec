"""Constants as CEL writes them."""

from __future__ import annotations

import re
from typing import Any, Final

from config.cel.limits import MAX_NUMBER_CHARACTERS
from config.cel.values import INT_MAX, INT_MIN, UINT_MAX, UInt

_ESCAPE = re.compile(
    r"""\\(?:([abfnrtv"'`?\\])|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|([\s\S]?))"""
)
_SIMPLE: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_SURROGATES: Final = range(0xD800, 0xE000)
_MAX_CODE_POINT: Final = 0x10FFFF


def parse_literal(kind: str, text: str) -> Any:  # noqa: PLR0911  one for each kind of literal
    """Return the value of a literal token.

    Raises:
        ValueError: out of range, or an escape that does not exist.

    """
    match kind:
        case "BOOL_LIT":
            return text == "true"
        case "NULL_LIT":
            return None
        case "INT_LIT":
            return _integer(text, INT_MIN, INT_MAX)
        case "UINT_LIT":
            return UInt(_integer(text[:-1], 0, UINT_MAX))
        case "FLOAT_LIT":
            return float(text)
        case "BYTES_LIT":
            return _unquote(text[1:], is_bytes=True)
        case _:
            return _unquote(text, is_bytes=False)


def _integer(text: str, low: int, high: int) -> int:
    # Python refuses thousands of digits in words of its own.
    if len(text) <= MAX_NUMBER_CHARACTERS and low <= (value := int(text, 16 if "0x" in text.lower() else 10)) <= high:
        return value
    raise ValueError("a number out of range")


def _unquote(text: str, *, is_bytes: bool) -> str | bytes:
    raw = text[0] in "rR"
    text = text[1:] if raw else text
    width = 3 if text[:3] in {'"""', "'''"} and len(text) >= 6 else 1  # noqa: PLR2004  two triple quotes
    content = text[width:-width]
    if raw:
        return content.encode() if is_bytes else content
    if is_bytes:
        parts, end = [], 0
        for match in _ESCAPE.finditer(content):
            parts += [content[end : match.start()].encode(), _escape(match, is_bytes=True)]
            end = match.end()
        return b"".join([*parts, content[end:].encode()])
    return _ESCAPE.sub(lambda match: _escape(match, is_bytes=False).decode("utf-8", "surrogatepass"), content)


def _escape(match: re.Match[str], *, is_bytes: bool) -> bytes:
    """Return what an escape stands for. In bytes hexadecimal and octal escapes are bytes, in strings code points."""
    simple, hexadecimal, short, long, octal, unknown = match.groups()
    if simple:
        return _SIMPLE.get(simple, simple).encode()
    if unknown is not None:
        raise ValueError(f"\\{unknown} is no escape")
    if is_bytes and (short or long):
        raise ValueError("\\u and \\U have no meaning in bytes")
    code = int(octal, 8) if octal else int(hexadecimal or short or long, 16)
    if is_bytes:
        return bytes([code])
    if code in _SURROGATES or code > _MAX_CODE_POINT:
        raise ValueError("an escape that is no code point")
    return chr(code).encode()
