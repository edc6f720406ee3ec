"""The protobuf encoding of what an OTLP trace export carries: just the messages that this gateway sends.

The generated classes of opentelemetry-proto cost 40 us a span, and these bytes mostly recur from request to request.
Sources: opentelemetry/proto/trace/v1/trace.proto and common/v1/common.proto of OTLP 1.x (their field numbers stand
beside each tag), and https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_LENGTH_DELIMITED = 2
_VARINT = 0
_DOUBLE = struct.Struct("<d").pack
_MORE, _LOW_BITS = 0x80, 0x7F
"""Of a varint's byte: another one follows; what it holds."""
_SHORT = tuple(bytes([number]) for number in range(_MORE))
"""Varints of one byte."""

# KeyValue { string key = 1; AnyValue value = 2; }
_KEY = b"\x0a"
_VALUE = b"\x12"
# AnyValue { string = 1; bool = 2; int64 = 3; double = 4; ArrayValue { repeated AnyValue values = 1; } = 5; }
_STRING = b"\x0a"
_BOOL = b"\x10"
_INT = b"\x18"
_FLOAT = b"\x21"
_ARRAY = b"\x2a"


def varint(number: int) -> bytes:
    """Return a number that is not negative as a base 128 varint."""
    if number < _MORE:
        return _SHORT[number]
    result = bytearray()
    while number >= _MORE:
        result.append(number & _LOW_BITS | _MORE)
        number >>= 7
    result.append(number)
    return bytes(result)


def delimited(tag: bytes, content: bytes) -> bytes:
    """Return a field of text, bytes or a message."""
    return b"%b%b%b" % (tag, varint(len(content)), content)


def text(value: str) -> bytes:
    """Return text as protobuf wants it. What UTF-8 cannot say must not cost the whole batch."""
    return value.encode("utf-8", "replace")


def any_value(value: object) -> bytes:
    """Return an `AnyValue`. A type that the message has no place for is sent as text."""
    match value:
        case bool():
            return _BOOL + _SHORT[value]
        case int():
            return _INT + varint(value & 0xFFFF_FFFF_FFFF_FFFF)  # two's complement
        case float():
            return _FLOAT + _DOUBLE(value)
        case Sequence() if not isinstance(value, str | bytes):
            return delimited(_ARRAY, b"".join(delimited(b"\x0a", any_value(item)) for item in value))
        case _:
            return delimited(_STRING, text(str(value)))


def attributes(tag: bytes, values: Mapping[str, object]) -> bytes:
    """Return a repeated field of `KeyValue`; what is None or empty is left out."""
    return b"".join(
        delimited(tag, delimited(_KEY, text(key)) + delimited(_VALUE, any_value(value)))
        for key, value in values.items()
        if value is not None and value != ""
    )


class TextAttribute:
    """Encodes an attribute whose text differs from request to request."""

    __slots__ = ("_key", "_tag")

    def __init__(self, tag: bytes, key: str) -> None:
        self._tag = tag
        self._key = delimited(_KEY, text(key)) + _VALUE

    def encode(self, value: bytes) -> bytes:
        """Return the field for a value in UTF-8."""
        size = varint(len(value))
        inner = varint(1 + len(size) + len(value))
        key = self._key
        outer = varint(len(key) + len(inner) + 1 + len(size) + len(value))
        return b"%b%b%b%b\x0a%b%b" % (self._tag, outer, key, inner, size, value)


class Envelope:
    """Puts encoded spans into an `ExportTraceServiceRequest`."""

    def __init__(self, resource: Mapping[str, object], scope: str, version: str, schema_url: str) -> None:
        # Resource { repeated KeyValue attributes = 1; }
        self._resource = delimited(b"\x0a", attributes(b"\x0a", resource))
        # ScopeSpans { InstrumentationScope scope = 1; repeated Span spans = 2; string schema_url = 3; }
        # InstrumentationScope { string name = 1; string version = 2; }
        named = delimited(b"\x0a", text(scope)) + delimited(b"\x12", text(version))
        self._scope = delimited(b"\x0a", named)
        self._schema_url = delimited(b"\x1a", text(schema_url))

    def wrap(self, spans: Iterable[bytes]) -> bytes:
        """Return the request for spans that `span` has made."""
        content = b"".join((self._scope, *spans, self._schema_url))
        # ResourceSpans { Resource resource = 1; repeated ScopeSpans scope_spans = 2; }
        head = b"%b\x12%b" % (self._resource, varint(len(content)))
        # ExportTraceServiceRequest { repeated ResourceSpans resource_spans = 1; }
        return b"".join((b"\x0a", varint(len(head) + len(content)), head, content))


def span(content: bytes) -> bytes:
    """Return a span as a field of `ScopeSpans`."""
    return b"\x12%b%b" % (varint(len(content)), content)


def rejected_spans(response: bytes) -> int:
    """Return how many spans an `ExportTraceServiceResponse` says were refused; 0 if it cannot be read.

    `partial_success = 1 { int64 rejected_spans = 1; string error_message = 2; }`
    """
    return int.from_bytes(_field(_field(response, 1), 1), "big")


def _field(message: bytes, wanted: int) -> bytes:
    """Return the value of a field, a varint's as big-endian bytes; empty if there is none or the message is garbage."""
    position = 0
    try:
        while position < len(message):
            key, position = _read_varint(message, position)
            size, position = _read_varint(message, position)
            kind = key & 7
            if kind == _VARINT:
                value = size.to_bytes(10, "big")
            elif kind == _LENGTH_DELIMITED:
                value = message[position : position + size]
                position += size
            else:
                break
            if key >> 3 == wanted:
                return value
    except (IndexError, OverflowError):
        pass
    return b""


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = message[position]
        position += 1
        result |= (byte & _LOW_BITS) << shift
        if byte < _MORE:
            return result, position
        shift += 7
