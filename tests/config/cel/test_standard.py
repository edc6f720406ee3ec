from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config.cel.errors import EvaluationError
from config.cel.limits import MAX_NUMBER_CHARACTERS
from config.cel.overloads import LIBRARY
from tests.cel_conformance.cases import Case, Expectation
from tests.cel_conformance.cel_expr import run_cel_expr


def call(name: str, *arguments: Any) -> Any:
    return LIBRARY.dispatcher(name, is_method=False)(*arguments)


@pytest.mark.parametrize("name", ["int", "uint", "double"])
def test_a_number_in_a_text_has_a_greatest_length(name: str) -> None:
    assert call(name, "1".zfill(MAX_NUMBER_CHARACTERS)) == 1
    for length in (MAX_NUMBER_CHARACTERS + 1, 5_000, 65_536):
        with pytest.raises(EvaluationError):
            call(name, "1".zfill(length))


DOUBLES = {
    0.0: "0",
    1.0: "1",
    0.1: "0.1",
    0.0001: "0.0001",
    0.00001: "1e-05",
    0.000012345: "1.2345e-05",
    100_000.5: "100000.5",
    999_999.0: "999999",
    1_000_000.0: "1e+06",
    -1_000_000.0: "-1e+06",
    1_234_567.891: "1.234567891e+06",
    123_456_789.0: "1.23456789e+08",
    1.5e300: "1.5e+300",
    5e-324: "5e-324",
}


@pytest.mark.parametrize("value", DOUBLES)
def test_a_double_is_written_as_in_go(value: float) -> None:
    case = Case("doubles", "", "", f"string({value!r})", Expectation())

    assert call("string", value) == DOUBLES[value]
    assert run_cel_expr(case).value == {"string": DOUBLES[value]}


def test_a_negative_zero_keeps_its_sign() -> None:
    assert call("string", -0.0) == "-0"


@example(5.960464477539063e-08)
@given(st.floats(allow_nan=False))
def test_a_double_that_was_written_reads_back(value: float) -> None:
    assert call("double", call("string", value)) == value
