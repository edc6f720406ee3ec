"""The standard library: sizes, strings, conversions, types, optionals."""

from __future__ import annotations

import functools
import math
import re
from typing import TYPE_CHECKING, Any

import re2

from config.cel.errors import EvaluationError
from config.cel.operators import int64, uint64
from config.cel.overloads import LIBRARY
from config.cel.times import format_duration, format_timestamp, parse_duration, parse_timestamp
from config.cel.values import NONE, CelType, Duration, Optional, Timestamp, UInt, type_name

if TYPE_CHECKING:
    from collections.abc import Callable

function = LIBRARY.function

_RE2_OPTIONS = re2.Options()
_RE2_OPTIONS.log_errors = False
_RE2_OPTIONS.max_mem = 1 << 20
MAX_DYNAMIC_PATTERNS = 256

_INT = re.compile(r"[-+]?[0-9]+")
_TRUE = frozenset({"1", "t", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "false", "FALSE", "False"})


def compile_pattern(pattern: str) -> Any:
    """Compile an RE2 pattern, which matches in linear time.

    Raises:
        EvaluationError: not an RE2 pattern, or one that needs more than 1 MiB.

    """
    try:
        return re2.compile(pattern, _RE2_OPTIONS)
    except (re2.error, UnicodeEncodeError) as error:
        raise EvaluationError("not an RE2 pattern") from error


dynamic_pattern = functools.lru_cache(maxsize=MAX_DYNAMIC_PATTERNS)(compile_pattern)


@function("matches", "string string", "bool", method=True)
@function("matches", "string string", "bool")
def matches(text: str, pattern: str) -> bool:
    """Tell whether the pattern is found anywhere in the text."""
    return _found(dynamic_pattern(pattern).search, text)


def searcher(pattern: str) -> Callable[[str], bool]:
    """Return the function that `matches` is for one pattern; see `compile_pattern`."""
    return functools.partial(_found, compile_pattern(pattern).search)


def _found(search: Callable[[str], Any], text: str) -> bool:
    try:
        return search(text) is not None
    except UnicodeEncodeError:
        raise EvaluationError("text that is no Unicode") from None


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
    if not _INT.fullmatch(text):
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
    if not (text.isascii() and text.isdigit()):
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
    if not text or "_" in text or not text.isascii() or text.strip() != text:
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
    """Write the shortest form that reads back, as Go's `%g` with the least digits does."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value).removesuffix(".0")
    mantissa, exponent, power = text.partition("e")
    return f"{mantissa}e{power[0]}{power[1:].zfill(2)}" if exponent else text


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


@function("optional.of", "dyn", "optional", total=True)
def optional_of(value: Any) -> Optional:
    return Optional(present=True, content=value)


@function("optional.none", "", "optional", total=True)
def optional_none() -> Optional:
    return NONE


@function("optional.ofNonZeroValue", "dyn", "optional", total=True)
def optional_of_non_zero(value: Any) -> Optional:
    zero = value in (None, False, 0, 0.0, "", b"", Duration(0)) if not isinstance(value, (list, dict)) else not value
    return NONE if zero else Optional(present=True, content=value)


@function("hasValue", "optional", "bool", method=True, total=True)
def has_value(optional: Optional) -> bool:
    return optional.present


@function("value", "optional", "dyn", method=True)
def optional_value(optional: Optional) -> Any:
    if not optional.present:
        raise EvaluationError("an optional without a value")
    return optional.content


@function("or", "optional optional", "optional", method=True, total=True)
def optional_or(optional: Optional, other: Optional) -> Optional:
    return optional if optional.present else other


@function("orValue", "optional dyn", "dyn", method=True, total=True)
def optional_or_value(optional: Optional, default: Any) -> Any:
    return optional.content if optional.present else default
