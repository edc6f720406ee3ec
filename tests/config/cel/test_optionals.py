from __future__ import annotations

from typing import Any

import pytest

from config.cel import EvaluationError, ExpressionError, compile_expression
from tests.config.examples import request


def value(text: str) -> Any:
    return compile_expression(text).evaluate(request("/a?q=1"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("optional.of(1).orValue(1 / 0)", 1),
        ("optional.of(1).orValue([1, 0].map(x, 1 / x)[0])", 1),
        ("optional.of(1).or(optional.of(1 / 0)).value()", 1),
        ("optional.of(1).or([optional.of(1)].filter(x, 1 / 0 == 1)[0]).value()", 1),
        ("dyn(optional.of(1)).orValue(fail())", 1),
        ("optional.of(1).or(dyn(2)).value()", 1),
        ("optional.none().orValue(2)", 2),
        ("optional.none().orValue([2].map(x, x + 1))", [3]),
        ("optional.none().or(optional.none()).or(dyn(optional.of(3))).orValue(4)", 3),
        ("optional.none().or([1].map(x, optional.of(x + 1))[0]).value()", 2),
        ("[1, 2].map(x, {1: 'a'}[?x].orValue('b'))", ["a", "b"]),
        ("optional.of(true).orValue(false) && true", True),
        ("{'a': 1}[?'a'].orValue(2) == 1 || 1 / 0 == 1", True),
    ],
)
def test_a_stand_in_is_evaluated_only_for_an_empty_optional(text: str, expected: Any) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "optional.none().orValue(1 / 0)",
        "optional.none().or(optional.of(1 / 0))",
        "optional.none().or(dyn(1))",
        "dyn(1).orValue(2)",
        "dyn(1).or(optional.of(2))",
        "dyn(null).orValue(2)",
    ],
)
def test_the_stand_in_or_the_receiver_that_fails_is_an_error(text: str) -> None:
    with pytest.raises(EvaluationError):
        value(text)


@pytest.mark.parametrize(
    "text",
    ["1.orValue(2)", "optional.of(1).or(2)", "or(1, 2)", "optional.of(1).orValue()", "optional.of(1).orValue(1, 2)"],
)
def test_a_call_that_does_not_fit_is_refused_at_load(text: str) -> None:
    with pytest.raises(ExpressionError):
        compile_expression(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("default(optional.none().value(), 1)", 1),
        ("default(request.headers.cookie('s'), 'none')", "none"),
        ("default(request.pathAndQuery.query('z'), [])", []),
        ("default(request.pathAndQuery.query('q'), [])", ["1"]),
        ("default(jsonField('{}', 'a'), 1)", 1),
    ],
)
def test_default_stands_in_for_what_a_function_does_not_find(text: str, expected: Any) -> None:
    assert value(text) == expected


@pytest.mark.parametrize("text", ["default(jsonField('[]', 'a'), 1)", "default('/?a=%FF'.query('a'), [])"])
def test_default_hides_no_other_error(text: str) -> None:
    with pytest.raises(EvaluationError):
        value(text)
