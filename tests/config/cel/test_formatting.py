from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.cel.errors import EvaluationError
from config.cel.formatting import format_text
from config.cel.values import FALSE_KEY, NONE, TRUE_KEY, CelType, Duration, Timestamp, UInt

INFINITY = float("inf")
NAN = float("nan")


@pytest.mark.parametrize(
    ("template", "arguments", "expected"),
    [
        ("no substitution", [], "no substitution"),
        ("%%%s%%", ["text"], "%text%"),
        ("%d %s", [1, "A"], "1 A"),
        ("one is left %s", ["a", "b"], "one is left a"),
        ("%.3f", [1.2345], "1.234"),
        ("%.0f", [2.5], "2"),
        ("%f", [UInt(3)], "3.000000"),
        ("%f %e %d", [NAN, INFINITY, -INFINITY], "NaN Infinity -Infinity"),
        ("%.6e", [1052.032911275], "1.052033e+03"),
        ("%e", [1e-300], "1.000000e-300"),
        ("%d", [UInt(2**64 - 1)], "18446744073709551615"),
        ("%d", [6.0], "6"),
        ("%b %b %b", [5, True, -5], "101 1 -101"),
        ("%o", [UInt(65535)], "177777"),
        ("%x %X %x", [30, 30, -30], "1e 1E -1e"),
        ("%x %X", ["Hello!", b"byte"], "48656c6c6f21 62797465"),
        ("%X", ["\u00ff"], "C3BF"),
        ("%s", [None], "null"),
        ("%s", [b"xyz"], "xyz"),
        ("%s", [CelType("string")], "string"),
        ("%s", [True], "true"),
        ("%s %s", [1e300, 1.5e-7], "1" + "0" * 300 + " 0.00000015"),
        ("%s", [Timestamp(1675467080 * 10**9)], "2023-02-03T23:31:20Z"),
        ("%s", [Duration(6347 * 10**9)], "6347s"),
        ("%s", [["abc", 3.14, None, [9, 8], NAN]], "[abc, 3.14, null, [9, 8], NaN]"),
        ("%s", [{"strKey": "x", 6: Duration(422 * 10**9), TRUE_KEY: 42}], "{6: 422s, strKey: x, true: 42}"),
        ("%s", [{FALSE_KEY: {}, UInt(2): []}], "{2: [], false: {}}"),
        ("%.2s", ["ab"], "ab"),
    ],
)
def test_clauses_are_filled_in(template: str, arguments: list[Any], expected: str) -> None:
    assert format_text(template, arguments) == expected


@pytest.mark.parametrize(
    ("template", "arguments"),
    [
        ("%a", [1]),
        ("%E", [0.5]),
        ("%", [1]),
        ("%.f", [1.0]),
        ("%.101f", [1.0]),
        ("%-5d", [1]),
        ("%d %d %d", [0, 1]),
        ("%b", ["abc"]),
        ("%d", [Duration(1)]),
        ("%d", [True]),
        ("%o", ["a"]),
        ("%o", [1.0]),
        ("%x", [0.5]),
        ("%x", [True]),
        ("%f", [None]),
        ("%e", ["1"]),
        ("%s", [NONE]),
        ("%s", [[NONE]]),
        ("%s", [b"\xff"]),
    ],
)
def test_a_bad_clause_or_argument_is_an_error(template: str, arguments: list[Any]) -> None:
    with pytest.raises(EvaluationError):
        format_text(template, arguments)


def test_shared_parts_do_not_grow_without_bound() -> None:
    value: list[Any] = ["x" * 100]
    for _ in range(30):
        value = [value, value]

    with pytest.raises(EvaluationError, match="result too large"):
        format_text("%s", [value])


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers_read_back_from_every_base(value: int) -> None:
    for verb, base in {"d": 10, "b": 2, "o": 8, "x": 16, "X": 16}.items():
        assert int(format_text(f"%{verb}", [value]), base) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_doubles_read_back_and_have_no_exponent(value: float) -> None:
    text = format_text("%s", [value])

    assert float(text) == value
    assert "e" not in text
