from __future__ import annotations

import pytest

from config.cel import compile_expression
from config.policy.conditional import Choice, Conditional, UnusableConditionError
from tests.config.examples import request

REQUEST = request("/a")


def when(text: str, policy: str) -> Choice[str]:
    return Choice(policy, compile_expression(text))


def test_the_first_condition_that_is_true_wins_and_the_unconditional_entry_is_the_rest() -> None:
    policies = Conditional(
        (when('request.path == "/b"', "b"), when("true", "first"), when("true", "second"), Choice("rest"))
    )

    assert policies.select(REQUEST) == "first"
    assert Conditional((when("false", "no"), Choice("rest"))).select(REQUEST) == "rest"


@pytest.mark.parametrize("text", ["1 / 0 == 1", "null", '"true"', "1", 'request.headers["x"] == "y"'])
def test_an_error_and_what_is_no_boolean_count_as_false(text: str) -> None:
    assert Conditional((when(text, "no"),)).select(REQUEST) is None


def test_a_condition_that_did_not_compile_stops_the_choice_where_it_is_reached() -> None:
    unusable = Choice("?", is_unusable=True)

    with pytest.raises(UnusableConditionError):
        Conditional((when("false", "no"), unusable, Choice("rest"))).select(REQUEST)
    assert Conditional((when("true", "yes"), unusable)).select(REQUEST) == "yes"
    with pytest.raises(UnusableConditionError):
        Conditional((unusable,)).select(REQUEST)


def test_conditions_and_policies_are_told() -> None:
    policies = Conditional((when("true", "a"), Choice("b")))

    assert policies.policies == ("a", "b")
    assert [condition.text for condition in policies.conditions] == ["true"]
    assert not policies.is_unconditional
    assert Conditional.always("a").is_unconditional
