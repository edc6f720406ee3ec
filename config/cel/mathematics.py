"""The math extension: extremes, rounding, signs, bits."""

from __future__ import annotations

import math
from typing import Any, Final

from config.cel.errors import EvaluationError
from config.cel.operators import int64
from config.cel.overloads import LIBRARY
from config.cel.values import INT_MAX, UINT_MAX, UInt

function = LIBRARY.function

_NUMBERS: Final = frozenset({int, UInt, float})
_BITS: Final = 64


def _check_numbers(values: tuple[Any, ...] | list[Any]) -> None:
    if not values:
        raise EvaluationError("the extreme of nothing")
    if not all(type(value) in _NUMBERS for value in values):
        raise EvaluationError("an extreme of something that is no number")
    if len(values) > 1 and any(value != value for value in values):  # noqa: PLR0124  only NaN differs from itself
        raise EvaluationError("NaN has no order")


@function("math.greatest", "list", "dyn")
def greatest_of(values: list[Any]) -> Any:
    _check_numbers(values)
    return max(values)


@function("math.greatest", "int", "int", variadic=True, total=True)
@function("math.greatest", "uint", "uint", variadic=True, total=True)
def greatest_integer(*values: int) -> int:
    return max(values)


@function("math.greatest", "double", "double", variadic=True)
@function("math.greatest", "dyn dyn", "dyn", variadic=True)
def greatest(*values: Any) -> Any:
    """Return the greatest number, its type kept; among equal ones the first."""
    _check_numbers(values)
    return max(values)


@function("math.least", "list", "dyn")
def least_of(values: list[Any]) -> Any:
    _check_numbers(values)
    return min(values)


@function("math.least", "int", "int", variadic=True, total=True)
@function("math.least", "uint", "uint", variadic=True, total=True)
def least_integer(*values: int) -> int:
    return min(values)


@function("math.least", "double", "double", variadic=True)
@function("math.least", "dyn dyn", "dyn", variadic=True)
def least(*values: Any) -> Any:
    _check_numbers(values)
    return min(values)


@function("math.ceil", "double", "double", total=True)
def ceil(value: float) -> float:
    return math.copysign(math.ceil(value), value) if math.isfinite(value) else value


@function("math.floor", "double", "double", total=True)
def floor(value: float) -> float:
    return math.copysign(math.floor(value), value) if math.isfinite(value) else value


@function("math.trunc", "double", "double", total=True)
def trunc(value: float) -> float:
    return _trunc(value)


def _trunc(value: float) -> float:
    return math.copysign(math.trunc(value), value) if math.isfinite(value) else value


@function("math.round", "double", "double", total=True)
def round_away(value: float) -> float:
    """Round half away from zero. Adding 0.5 first would round the greatest double below 0.5 up."""
    whole = _trunc(value)
    return whole + math.copysign(1.0, value) if abs(value - whole) >= 0.5 else whole  # noqa: PLR2004  half


@function("math.abs", "double", "double", inline="abs({0})", total=True)
@function("math.abs", "uint", "uint", inline="{0}", total=True)
def absolute(value: Any) -> Any:
    return value if type(value) is UInt else abs(value)


@function("math.abs", "int", "int")
def absolute_int(value: int) -> int:
    return int64(abs(value))


@function("math.sign", "int", "int", total=True)
def sign_int(value: int) -> int:
    return (value > 0) - (value < 0)


@function("math.sign", "uint", "uint", total=True)
def sign_uint(value: UInt) -> UInt:
    return UInt(value > 0)


@function("math.sign", "double", "double", total=True)
def sign(value: float) -> float:
    return value if math.isnan(value) else float((value > 0) - (value < 0))


@function("math.isNaN", "double", "bool", total=True)
def is_nan(value: float) -> bool:
    return math.isnan(value)


@function("math.isInf", "double", "bool", total=True)
def is_infinite(value: float) -> bool:
    return math.isinf(value)


@function("math.isFinite", "double", "bool", total=True)
def is_finite(value: float) -> bool:
    return math.isfinite(value)


@function("math.sqrt", "double", "double", total=True)
@function("math.sqrt", "int", "double", total=True)
@function("math.sqrt", "uint", "double", total=True)
def square_root(value: float) -> float:
    """Return the square root; NaN for a negative number."""
    return math.nan if value < 0 else math.sqrt(value)


@function("math.bitAnd", "int int", "int", inline="({0} & {1})", total=True)
def bit_and_int(left: int, right: int) -> int:
    return left & right


@function("math.bitAnd", "uint uint", "uint", total=True)
def bit_and_uint(left: UInt, right: UInt) -> UInt:
    return UInt(left & right)


@function("math.bitOr", "int int", "int", inline="({0} | {1})", total=True)
def bit_or_int(left: int, right: int) -> int:
    return left | right


@function("math.bitOr", "uint uint", "uint", total=True)
def bit_or_uint(left: UInt, right: UInt) -> UInt:
    return UInt(left | right)


@function("math.bitXor", "int int", "int", inline="({0} ^ {1})", total=True)
def bit_xor_int(left: int, right: int) -> int:
    return left ^ right


@function("math.bitXor", "uint uint", "uint", total=True)
def bit_xor_uint(left: UInt, right: UInt) -> UInt:
    return UInt(left ^ right)


@function("math.bitNot", "int", "int", inline="(~{0})", total=True)
def bit_not_int(value: int) -> int:
    return ~value


@function("math.bitNot", "uint", "uint", total=True)
def bit_not_uint(value: UInt) -> UInt:
    return UInt(value ^ UINT_MAX)


def _signed(bits: int) -> int:
    """Read the lowest 64 bits as two's complement."""
    bits &= UINT_MAX
    return bits - 2**_BITS if bits > INT_MAX else bits


def _check_distance(distance: int) -> None:
    if distance < 0:
        raise EvaluationError("a shift by a negative number of bits")


@function("math.bitShiftLeft", "int int", "int")
def bit_shift_left_int(value: int, distance: int) -> int:
    _check_distance(distance)
    return _signed(value << distance) if distance < _BITS else 0


@function("math.bitShiftLeft", "uint int", "uint")
def bit_shift_left_uint(value: UInt, distance: int) -> UInt:
    _check_distance(distance)
    return UInt((value << distance) & UINT_MAX) if distance < _BITS else UInt(0)


@function("math.bitShiftRight", "int int", "int")
def bit_shift_right_int(value: int, distance: int) -> int:
    """Shift right, filling with zeros: the sign is not kept."""
    _check_distance(distance)
    return _signed((value & UINT_MAX) >> distance) if distance < _BITS else 0


@function("math.bitShiftRight", "uint int", "uint")
def bit_shift_right_uint(value: UInt, distance: int) -> UInt:
    _check_distance(distance)
    return UInt(value >> distance) if distance < _BITS else UInt(0)
