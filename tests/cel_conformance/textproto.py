"""Protobuf's text format, read without a schema."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

Message: TypeAlias = dict[str, list[Any]]
"""Field names and the values each was given. A string is bytes, any other scalar is the text as written."""

_IGNORED = re.compile(r"(?:\s|#[^\n]*)*")
_NAME = r"[A-Za-z_]\w*|\[[^\]]+\]"  # in brackets: an extension, or the type in an Any
_STRING = r'"(?:[^"\\\n]|\\.)*"' + r"|'(?:[^'\\\n]|\\.)*'"
_SCALAR = r"-?\s*[\w.](?:[\w.]|(?<=[eE])[+-])*"
_CLOSING = {"{": r"\}", "<": ">"}
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))")
_ESCAPED = dict(zip(b"abfnrtv\\'\"?", b"\a\b\f\n\r\t\v\\'\"?", strict=True))


def parse_textproto(text: str) -> Message:
    """Read one top-level message."""
    return _Parser(text).message(r"\Z")


@dataclass(slots=True)
class _Parser:
    text: str
    position: int = 0

    def message(self, end: str) -> Message:
        fields: Message = {}
        while self._take(end) is None:
            values = fields.setdefault(self._expect(_NAME), [])
            self._take(":")
            values.extend(self._values())
            self._take("[,;]")
        return fields

    def _values(self) -> list[Any]:
        if self._take(r"\[") is None:
            return [self._value()]
        values = []
        while self._take(r"\]") is None:
            values.append(self._value())
            self._take(",")
        return values

    def _value(self) -> Any:
        if opening := self._take("[{<]"):
            return self.message(_CLOSING[opening])
        if (string := self._take(_STRING)) is None:
            return re.sub(r"\s", "", self._expect(_SCALAR))
        content = _unescape(string)
        while string := self._take(_STRING):  # adjacent strings are one
            content += _unescape(string)
        return content

    def _take(self, pattern: str) -> str | None:
        if ignored := _IGNORED.match(self.text, self.position):
            self.position = ignored.end()
        if found := re.compile(pattern).match(self.text, self.position):
            self.position = found.end()
            return found[0]
        return None

    def _expect(self, pattern: str) -> str:
        if (token := self._take(pattern)) is None:
            line = self.text.count("\n", 0, self.position) + 1
            raise ValueError(f"line {line}: not text format: {self.text[self.position :][:40]!r}")
        return token


def _unescape(literal: str) -> bytes:
    def decode(match: re.Match[bytes]) -> bytes:
        octal, hexadecimal, short, long, character = match.groups()
        if octal or hexadecimal:
            return bytes([int(octal, 8) if octal else int(hexadecimal, 16)])
        if short or long:
            return chr(int(short or long, 16)).encode()
        return bytes([_ESCAPED[ord(character)]])

    return _ESCAPE.sub(decode, literal[1:-1].encode())
