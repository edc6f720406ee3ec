import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.cel.errors import EvaluationError
from config.cel.times import MAX_TIME_CHARACTERS, format_duration, parse_duration, parse_timestamp
from config.cel.values import DURATION_MAX, Duration


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("-0", 0),
        ("1h30m", 5_400 * 10**9),
        ("-1.5s", -1_500_000_000),
        ("+1.s.5s", 1_500_000_000),
        ("1ms2us3µs4μs5ns", 1_009_005),
        ("0" * (MAX_TIME_CHARACTERS - 1) + "s", 0),
    ],
)
def test_a_duration_is_written_as_in_go(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == Duration(nanoseconds)


@pytest.mark.parametrize(
    "text",
    ["", "1", "s", ".s", "1h 2m", "1.2.3s", "--1s", "0h0", "1d", "9" * 5000 + "s", "0" * MAX_TIME_CHARACTERS + "s"],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(EvaluationError):
        parse_duration(text)


@pytest.mark.parametrize("text", ["11s" * 34 + "x", "1" * 127 + "x", "1.1s" * 16_384 + "x", "9" * 65_536])
def test_a_text_that_is_almost_a_duration_is_refused_at_once(text: str) -> None:
    # The nested repetition of an earlier pattern took a second more for each few characters.
    start = time.process_time()
    with pytest.raises(EvaluationError):
        parse_duration(text)

    assert time.process_time() - start < 0.1


@pytest.mark.parametrize("fraction", ["9" * 9, "9" * (MAX_TIME_CHARACTERS - len("2020-01-01T00:00:00.Z"))])
def test_a_timestamp_keeps_nine_digits_of_a_second(fraction: str) -> None:
    assert parse_timestamp(f"2020-01-01T00:00:00.{fraction}Z").nanoseconds % 10**9 == 999_999_999


def test_a_timestamp_has_a_greatest_length() -> None:
    with pytest.raises(EvaluationError):
        parse_timestamp(f"2020-01-01T00:00:00.{'0' * MAX_TIME_CHARACTERS}Z")


@given(st.integers(-DURATION_MAX, DURATION_MAX).map(Duration))
def test_a_duration_that_was_written_reads_back(duration: Duration) -> None:
    assert parse_duration(format_duration(duration)) == duration
