import itertools

import pytest

from config.cel.errors import EvaluationError
from config.cel.limits import (
    MAX_RESULT_CHARACTERS,
    MAX_RESULT_ELEMENTS,
    MAX_VISITED_VALUES,
    Visits,
    check_count,
    check_length,
    concatenate,
)


def test_a_result_may_have_its_full_size() -> None:
    check_length(MAX_RESULT_CHARACTERS)
    check_count(MAX_RESULT_ELEMENTS)

    assert len(concatenate(["x"] * MAX_RESULT_CHARACTERS)) == MAX_RESULT_CHARACTERS


def test_one_more_is_refused() -> None:
    with pytest.raises(EvaluationError):
        check_length(MAX_RESULT_CHARACTERS + 1)
    with pytest.raises(EvaluationError):
        check_count(MAX_RESULT_ELEMENTS + 1)


def test_gathering_stops_at_the_limit() -> None:
    with pytest.raises(EvaluationError):
        concatenate(itertools.repeat("x" * 1000))


def test_gathering_nothing_stops_too() -> None:
    with pytest.raises(EvaluationError):
        concatenate(itertools.repeat(""))


def test_visits_are_counted() -> None:
    visits = Visits()
    for _ in range(MAX_VISITED_VALUES):
        visits.count()

    with pytest.raises(EvaluationError):
        visits.count()
