"""The standard library: sizes, strings, conversions, types."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

from config.cel.errors import EvaluationError
from config.cel.limits import MAX_NUMBER_CHARACTERS
from config.cel.operators import int64, uint64
from config.cel.overloads import LIBRARY
from config.cel.times import format_duration, format_timestamp, parse_duration, parse_timestamp
from config.cel.values import CelType, Duration, Timestamp, UInt, type_name

function = LIBRARY.function

_INT = re.compile(r"[-+]?[0-9]+")
_LEAST_PLAIN, _GREATEST_PLAIN = -4, 5
"""Exponents of the doubles that are written without one."""
_TRUE = frozenset({"1", "t", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "false", "FALSE", "False"})


@function("size", "string", "int", inline="len({0})", total=True)
@function("size", "string", "int", method=True, inline="len({0})", total=True)
@function("size", "bytes", "int", inline="len({0})", total=True)
@function("size", "bytes", "int", method=True, inline="len({0})", total=True)
@function("size", "list", "int", inline="len({0})", total=True)
@function("size", "list", "int", method=True, inline="len({0})", total=True)
@function("size", "map", "int", inline="len({0})", total=True)
@function("size", "map", "int", method=True, inline="len({0})", total=True)
def size(value: Any) -> int:
    return len(value)


@function("startsWith", "string string", "bool", method=True, inline="{0}.startswith({1})", total=True)
def starts_with(text: str, prefix: str) -> bool:
    return text.startswith(prefix)


@function("endsWith", "string string", "bool", method=True, inline="{0}.endswith({1})", total=True)
def ends_with(text: str, suffix: str) -> bool:
    return text.endswith(suffix)


@function("contains", "string string", "bool", method=True, inline="({1} in {0})", total=True)
def contains_text(text: str, part: str) -> bool:
    return part in text


@function("dyn", "dyn", "dyn", total=True)
def dyn(value: Any) -> Any:
    """Return the value, its type unknown to the checker."""
    return value


@function("type", "dyn", "type", total=True)
def type_of(value: Any) -> CelType:
    return CelType(type_name(value))


@function("bool", "bool", "bool", total=True)
@function("int", "int", "int", total=True)
@function("uint", "uint", "uint", total=True)
@function("double", "double", "double", total=True)
@function("string", "string", "string", total=True)
@function("bytes", "bytes", "bytes", total=True)
@function("timestamp", "timestamp", "timestamp", total=True)
@function("duration", "duration", "duration", total=True)
def identity(value: Any) -> Any:
    return value


@function("bool", "string", "bool")
def bool_of_string(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise EvaluationError("not a bool")


@function("int", "string", "int")
def int_of_string(text: str) -> int:
    if len(text) > MAX_NUMBER_CHARACTERS or not _INT.fullmatch(text):
        raise EvaluationError("not an int")
    return int64(int(text))


@function("int", "uint", "int")
def int_of_uint(value: UInt) -> int:
    return int64(int(value))


@function("int", "double", "int")
def int_of_double(value: float) -> int:
    # The bounds themselves are excluded: 2**63 is a double, and -2**63 could be a rounded smaller number.
    if not -(2.0**63) < value < 2.0**63:
        raise EvaluationError("a double out of the range of int")
    return int(value)


@function("int", "timestamp", "int", total=True)
def int_of_timestamp(value: Timestamp) -> int:
    return value.nanoseconds // 10**9


@function("uint", "string", "uint")
def uint_of_string(text: str) -> UInt:
    if len(text) > MAX_NUMBER_CHARACTERS or not (text.isascii() and text.isdigit()):
        raise EvaluationError("not a uint")
    return uint64(int(text))


@function("uint", "int", "uint")
def uint_of_int(value: int) -> UInt:
    return uint64(value)


@function("uint", "double", "uint")
def uint_of_double(value: float) -> UInt:
    if not 0 <= value < 2.0**64:
        raise EvaluationError("a double out of the range of uint")
    return UInt(int(value))


@function("double", "int", "double", total=True)
@function("double", "uint", "double", total=True)
def double_of_integer(value: int) -> float:
    return float(value)


@function("double", "string", "double")
def double_of_string(text: str) -> float:
    if len(text) > MAX_NUMBER_CHARACTERS or "_" in text or not text.isascii() or text.strip() != text:
        raise EvaluationError("not a double")
    try:
        return float(text)
    except ValueError:
        raise EvaluationError("not a double") from None


@function("string", "bool", "string", total=True)
def string_of_bool(value: bool) -> str:  # noqa: FBT001  a conversion has no keywords
    return "true" if value else "false"


@function("string", "int", "string", total=True)
@function("string", "uint", "string", total=True)
def string_of_integer(value: int) -> str:
    return int.__repr__(value)


@function("string", "double", "string", total=True)
def string_of_double(value: float) -> str:
    """Write the fewest digits that read back, as Go's `%g` does: an exponent below -4 or above 5 is written."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    power = len(digits) - 1 + int(exponent)
    if value == 0 or _LEAST_PLAIN <= power <= _GREATEST_PLAIN:
        return repr(value).removesuffix(".0")
    # From the digits of `repr`: formatting the value again would round its exact expansion, to another number at times.
    first, *others = map(str, digits)
    mantissa = f"{first}.{''.join(others)}" if others else first
    return f"{'-' if sign else ''}{mantissa}e{power:+03d}"


@function("string", "bytes", "string")
def string_of_bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise EvaluationError("bytes that are not UTF-8") from None


@function("string", "timestamp", "string", total=True)
def string_of_timestamp(value: Timestamp) -> str:
    return format_timestamp(value)


@function("string", "duration", "string", total=True)
def string_of_duration(value: Duration) -> str:
    return format_duration(value)


@function("bytes", "string", "bytes", total=True)
def bytes_of_string(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@function("timestamp", "string", "timestamp")
def timestamp_of_string(text: str) -> Timestamp:
    return parse_timestamp(text)


@function("timestamp", "int", "timestamp")
def timestamp_of_int(seconds: int) -> Timestamp:
    return Timestamp(seconds * 10**9)


@function("duration", "string", "duration")
def duration_of_string(text: str) -> Duration:
    return parse_duration(text)


@function("duration", "int", "duration")
def duration_of_int(seconds: int) -> Duration:
    return Duration(seconds * 10**9)
