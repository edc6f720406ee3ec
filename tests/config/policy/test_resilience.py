from __future__ import annotations

import pytest

from config.attributes import Peer, RequestAttributes, ResponseAttributes, SpiffeId
from config.cel import compile_expression
from config.policy.resilience import Retry


def request(status: int | None = None) -> RequestAttributes:
    found = RequestAttributes(Peer(SpiffeId("t", "/a")), "GET", "a.test", "/")
    found.response = None if status is None else ResponseAttributes(status)
    return found


@pytest.mark.parametrize(
    ("precondition", "attempts"),
    [(None, 3), ("request.method == 'GET'", 3), ("request.method == 'PUT'", 0), ("1", 0), ("null", 0), ("1/0 == 1", 0)],
)
def test_an_expression_that_is_not_true_rules_out_further_attempts(precondition: str | None, attempts: int) -> None:
    retry = Retry(3, precondition=compile_expression(precondition) if precondition else None)

    assert retry.attempts_for(request()) == attempts


@pytest.mark.parametrize(
    ("codes", "condition", "status", "again"),
    [
        ({502, 503}, None, 503, True),
        ({502, 503}, None, 504, False),
        (set(), None, 503, False),
        (set(), "response.code == 429", 429, True),
        ({503}, "response.code == 429", 503, True),
        ({503}, "response.code == 429", 200, False),
        (set(), "response.headers['x'] == ''", 200, False),
        (set(), "'yes'", 200, False),
    ],
)
def test_a_listed_status_or_the_condition_asks_again(
    codes: set[int], condition: str | None, status: int, *, again: bool
) -> None:
    retry = Retry(1, codes=frozenset(codes), condition=compile_expression(condition) if condition else None)

    assert retry.wants_another(request(status)) is again


def test_whether_the_requests_body_is_read_for_it() -> None:
    assert Retry(precondition=compile_expression("size(request.body) < 9")).reads_body
    assert Retry(condition=compile_expression("size(request.bodyPrefix) < 9")).reads_body
    assert not Retry().reads_body
