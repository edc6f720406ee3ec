from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from config.policy.balancing import weighted


@given(st.lists(st.integers(0, 1_000_000)), st.floats(0, 1, exclude_max=True))
def test_only_what_has_a_weight_is_chosen(weights: list[int], number: float) -> None:
    chosen = weighted([(weight, index) for index, weight in enumerate(weights)], lambda: number)

    if any(weights):
        assert chosen is not None
        assert weights[chosen] > 0
    else:
        assert chosen is None


def test_each_is_chosen_as_often_as_its_weight_says() -> None:
    choices = [(1, "a"), (0, "b"), (3, "c"), (6, "d")]
    found = Counter(weighted(choices, lambda index=index: (index + 0.5) / 1000) for index in range(1000))  # type: ignore[misc]

    assert found == {"a": 100, "c": 300, "d": 600}
