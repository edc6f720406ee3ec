import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.cel.errors import EvaluationError
from config.cel.mathematics import round_away
from config.cel.overloads import LIBRARY
from config.cel.values import UInt

INTS = st.integers(-(2**63), 2**63 - 1)
UINTS = st.integers(0, 2**64 - 1).map(UInt)
NAN = math.nan
INFINITY = math.inf


def call(name: str, *arguments: Any) -> Any:
    return LIBRARY.dispatcher(f"math.{name}", is_method=False)(*arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("greatest", (-5,), -5),
        ("greatest", (1, 1.0), 1),
        ("greatest", (1.0, 1), 1.0),
        ("greatest", (UInt(1), 1), UInt(1)),
        ("greatest", (-3, UInt(3)), UInt(3)),
        ("greatest", (5.4, 10, UInt(3), -5.0, 2**63 - 1), 2**63 - 1),
        ("greatest", ([5.4, 10, UInt(3)],), 10),
        ("greatest", (UInt(1), UInt(2), UInt(3)), UInt(3)),
        ("greatest", (2**53 + 1, 2.0**53), 2**53 + 1),
        ("greatest", (INFINITY, 1), INFINITY),
        ("least", (1, 1.0), 1),
        ("least", (5.4, 10, UInt(3), -5.0), -5.0),
        ("least", ([UInt(1), 1.0],), UInt(1)),
        ("least", (3, 1, 2), 1),
        ("ceil", (-1.2,), -1.0),
        ("ceil", (-0.5,), -0.0),
        ("ceil", (INFINITY,), INFINITY),
        ("floor", (-1.2,), -2.0),
        ("floor", (0.5,), 0.0),
        ("trunc", (-1.9,), -1.0),
        ("round", (-1.5,), -2.0),
        ("round", (2.5,), 3.0),
        ("round", (0.49999999999999994,), 0.0),
        ("round", (-0.2,), -0.0),
        ("round", (1e300,), 1e300),
        ("round", (-INFINITY,), -INFINITY),
        ("abs", (-11,), 11),
        ("abs", (UInt(7),), UInt(7)),
        ("abs", (-1.5,), 1.5),
        ("sign", (UInt(100),), UInt(1)),
        ("sign", (-11,), -1),
        ("sign", (0,), 0),
        ("sign", (-32.0,), -1.0),
        ("sign", (-0.0,), 0.0),
        ("isNaN", (NAN,), True),
        ("isNaN", (INFINITY,), False),
        ("isInf", (-INFINITY,), True),
        ("isFinite", (NAN,), False),
        ("isFinite", (1.5,), True),
        ("sqrt", (81,), 9.0),
        ("sqrt", (UInt(4),), 2.0),
        ("bitAnd", (1, -1), 1),
        ("bitAnd", (UInt(3), UInt(2)), UInt(2)),
        ("bitOr", (4, -2), -2),
        ("bitXor", (4, -2), -6),
        ("bitNot", (1,), -2),
        ("bitNot", (UInt(0),), UInt(2**64 - 1)),
        ("bitShiftLeft", (1, 63), -(2**63)),
        ("bitShiftLeft", (-1, 2), -4),
        ("bitShiftLeft", (-1, 200), 0),
        ("bitShiftLeft", (UInt(1), 64), UInt(0)),
        ("bitShiftRight", (-1024, 3), 2305843009213693824),
        ("bitShiftRight", (-1024, 0), -1024),
        ("bitShiftRight", (-1024, 64), 0),
        ("bitShiftRight", (UInt(1024), 2), UInt(256)),
    ],
)
def test_results_have_the_value_and_type_of_the_specification(
    name: str, arguments: tuple[Any, ...], expected: float
) -> None:
    result = call(name, *arguments)

    assert type(result) is type(expected)
    assert repr(result) == repr(expected)


@pytest.mark.parametrize("name", ["ceil", "floor", "trunc", "round", "abs", "sign", "sqrt", "greatest"])
def test_nan_stays_nan(name: str) -> None:
    assert math.isnan(call(name, NAN))


def test_the_root_of_a_negative_number_is_nan() -> None:
    assert math.isnan(call("sqrt", -15))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("greatest", ([],)),
        ("greatest", ("string",)),
        ("greatest", (1, "string")),
        ("greatest", (1, True)),
        ("least", ([1, None],)),
        ("least", (1.0, NAN)),
        ("greatest", (NAN, 1)),
        ("abs", (-(2**63),)),
        ("ceil", (1,)),
        ("sign", (True,)),
        ("bitAnd", (1, UInt(2))),
        ("bitNot", ("",)),
        ("bitShiftLeft", (UInt(1), -1)),
        ("bitShiftRight", (1, -1)),
        ("bitShiftRight", (1, UInt(1))),
    ],
)
def test_overflow_nothing_to_compare_and_wrong_types_are_errors(name: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(EvaluationError):
        call(name, *arguments)


@given(INTS, INTS)
def test_bits_of_ints_are_those_of_their_64_bit_patterns(left: int, right: int) -> None:
    mask = 2**64 - 1
    for name, expected in {"bitAnd": left & right, "bitOr": left | right, "bitXor": left ^ right}.items():
        result = call(name, left, right)
        assert -(2**63) <= result < 2**63
        assert result & mask == expected & mask


@given(INTS, st.integers(0, 70))
def test_shifts_are_those_of_the_64_bit_pattern(value: int, distance: int) -> None:
    mask = 2**64 - 1

    assert call("bitShiftLeft", value, distance) & mask == ((value & mask) << distance) & mask
    assert call("bitShiftRight", value, distance) & mask == (value & mask) >> distance


@given(UINTS, st.integers(0, 70))
def test_shifted_uints_stay_uints(value: UInt, distance: int) -> None:
    for name in ("bitShiftLeft", "bitShiftRight"):
        result = call(name, value, distance)
        assert type(result) is UInt
        assert 0 <= result < 2**64


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_rounding_is_off_by_a_half_at_most_and_symmetric(value: float) -> None:
    rounded = round_away(value)

    assert rounded.is_integer()
    assert abs(rounded - value) <= 0.5
    assert round_away(-value) == -rounded


@given(st.lists(st.one_of(INTS, UINTS, st.floats(allow_nan=False)), min_size=1))
def test_extremes_bound_every_element(values: list[Any]) -> None:
    assert all(call("least", *values) <= value <= call("greatest", values) for value in values)
