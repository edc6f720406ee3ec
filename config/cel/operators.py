"""Operators: arithmetic that never wraps around, comparison across number types."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from config.cel.errors import EvaluationError
from config.cel.limits import check_count, check_length
from config.cel.overloads import LIBRARY
from config.cel.values import INT_MAX, INT_MIN, UINT_MAX, Duration, Timestamp, UInt

if TYPE_CHECKING:
    from collections.abc import Callable

function = LIBRARY.function


def int64(value: int) -> int:
    """Return the value if it is in range, else fail: CEL integers overflow to an error."""
    if INT_MIN <= value <= INT_MAX:
        return value
    raise EvaluationError("integer overflow")


def uint64(value: int) -> UInt:
    """Return the value as a uint if it is in range."""
    if 0 <= value <= UINT_MAX:
        return UInt(value)
    raise EvaluationError("unsigned integer overflow")


@function("_+_", "int int", "int", inline="int64({0} + {1})")
def add_int(left: int, right: int) -> int:
    return int64(left + right)


@function("_+_", "uint uint", "uint")
def add_uint(left: UInt, right: UInt) -> UInt:
    return uint64(int(left) + int(right))


@function("_+_", "double double", "double", inline="({0} + {1})", total=True)
def add_double(left: float, right: float) -> float:
    return left + right


@function("_+_", "string string", "string")
@function("_+_", "bytes bytes", "bytes")
def add_text(left: Any, right: Any) -> Any:
    """Join two texts. Without a bound, doubling a text in a chain of `cel.bind` would take any memory."""
    check_length(len(left) + len(right))
    return left + right


@function("_+_", "list list", "list")
def add_list(left: list[Any], right: list[Any]) -> list[Any]:
    check_count(len(left) + len(right))
    return left + right


@function("_+_", "timestamp duration", "timestamp")
def add_timestamp(left: Timestamp, right: Duration) -> Timestamp:
    return Timestamp(left.nanoseconds + right.nanoseconds)


@function("_+_", "duration timestamp", "timestamp")
def add_to_timestamp(left: Duration, right: Timestamp) -> Timestamp:
    return Timestamp(left.nanoseconds + right.nanoseconds)


@function("_+_", "duration duration", "duration")
def add_duration(left: Duration, right: Duration) -> Duration:
    return Duration(left.nanoseconds + right.nanoseconds)


@function("_-_", "int int", "int", inline="int64({0} - {1})")
def subtract_int(left: int, right: int) -> int:
    return int64(left - right)


@function("_-_", "uint uint", "uint")
def subtract_uint(left: UInt, right: UInt) -> UInt:
    return uint64(int(left) - int(right))


@function("_-_", "double double", "double", inline="({0} - {1})", total=True)
def subtract_double(left: float, right: float) -> float:
    return left - right


@function("_-_", "timestamp timestamp", "duration")
@function("_-_", "duration duration", "duration")
def subtract_times(left: Timestamp | Duration, right: Timestamp | Duration) -> Duration:
    return Duration(left.nanoseconds - right.nanoseconds)


@function("_-_", "timestamp duration", "timestamp")
def subtract_from_timestamp(left: Timestamp, right: Duration) -> Timestamp:
    return Timestamp(left.nanoseconds - right.nanoseconds)


@function("_*_", "int int", "int", inline="int64({0} * {1})")
def multiply_int(left: int, right: int) -> int:
    return int64(left * right)


@function("_*_", "uint uint", "uint")
def multiply_uint(left: UInt, right: UInt) -> UInt:
    return uint64(int(left) * int(right))


@function("_*_", "double double", "double", inline="({0} * {1})", total=True)
def multiply_double(left: float, right: float) -> float:
    return left * right


@function("_/_", "int int", "int")
def divide_int(left: int, right: int) -> int:
    """Divide, truncating toward zero as C does; Python's `//` rounds down."""
    if right == 0:
        raise EvaluationError("division by zero")
    quotient = abs(left) // abs(right)
    return int64(quotient if (left < 0) == (right < 0) else -quotient)


@function("_/_", "uint uint", "uint")
def divide_uint(left: UInt, right: UInt) -> UInt:
    if right == 0:
        raise EvaluationError("division by zero")
    return UInt(int(left) // int(right))


@function("_/_", "double double", "double", total=True)
def divide_double(left: float, right: float) -> float:
    """Divide as IEEE 754 does; Python raises for zero."""
    if right != 0:
        return left / right
    if left == 0 or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


@function("_%_", "int int", "int")
def modulo_int(left: int, right: int) -> int:
    """Return the remainder with the sign of the dividend, as truncating division leaves it."""
    if right == 0:
        raise EvaluationError("modulus by zero")
    if left == INT_MIN and right == -1:
        raise EvaluationError("integer overflow")
    remainder = abs(left) % abs(right)
    return -remainder if left < 0 else remainder


@function("_%_", "uint uint", "uint")
def modulo_uint(left: UInt, right: UInt) -> UInt:
    if right == 0:
        raise EvaluationError("modulus by zero")
    return UInt(int(left) % int(right))


@function("-_", "int", "int")
def negate_int(value: int) -> int:
    return int64(-value)


@function("-_", "double", "double", inline="(-{0})", total=True)
def negate_double(value: float) -> float:
    return -value


@function("!_", "bool", "bool", inline="(not {0})", total=True)
def logical_not(value: bool) -> bool:  # noqa: FBT001  an operator has no keywords
    return not value


def _ordering(name: str, symbol: str, compare: Callable[[Any, Any], bool]) -> None:
    """Register one comparison for every pair of kinds that has an order. NaN is in no order: always false."""
    kinds = ("bool", "int", "uint", "double", "string", "bytes", "timestamp", "duration")
    pairs = {(kind, kind) for kind in kinds}
    pairs |= {(left, right) for left in ("int", "uint", "double") for right in ("int", "uint", "double")}
    for left, right in sorted(pairs):
        if left != right and "double" in (left, right):
            # The specification compares as doubles here, where Python would compare exactly.
            function(name, f"{left} {right}", "bool", total=True)(_as_doubles(compare))
        else:
            function(name, f"{left} {right}", "bool", inline=f"({{0}} {symbol} {{1}})", total=True)(compare)


def _as_doubles(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda left, right: compare(float(left), float(right))


_ordering("_<_", "<", lambda left, right: left < right)
_ordering("_<=_", "<=", lambda left, right: left <= right)
_ordering("_>_", ">", lambda left, right: left > right)
_ordering("_>=_", ">=", lambda left, right: left >= right)
