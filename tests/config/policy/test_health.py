from __future__ import annotations

import pytest

from config.attributes import Peer, RequestAttributes, ResponseAttributes, SpiffeId
from config.cel import compile_expression
from config.policy.authorization import Authorization
from config.policy.health import Eviction, Health, smoothed
from config.snapshot import Backend, Route, WeightedBackend


def answered(status: int, *headers: tuple[bytes, bytes]) -> RequestAttributes:
    request = RequestAttributes(Peer(SpiffeId("t", "/a")), "GET", "a.test", "/")
    request.response = ResponseAttributes(status, headers)
    return request


@pytest.mark.parametrize(
    ("eviction", "health", "failures", "times", "seconds"),
    [
        (Eviction(10), 1.0, 1, 0, 10),
        (Eviction(10), 1.0, 1, 2, 30),
        (Eviction(60), 1.0, 1, 4, 300),
        (Eviction(10, health_threshold=0.5), 0.7, 9, 0, None),
        (Eviction(10, health_threshold=0.5), 0.5, 9, 0, None),
        (Eviction(10, health_threshold=0.5), 0.49, 1, 0, 10),
        (Eviction(10, consecutive_failures=3), 0.0, 2, 0, None),
        (Eviction(10, consecutive_failures=3), 1.0, 3, 0, 10),
        (Eviction(10, consecutive_failures=3), 1.0, 9, 0, 10),
        (Eviction(10, consecutive_failures=0), 0.0, 100, 0, None),
        (Eviction(10, consecutive_failures=5, health_threshold=0.5), 0.3, 1, 0, 10),
        (Eviction(10, consecutive_failures=3, health_threshold=0.5), 0.9, 3, 0, 10),
        (Eviction(10, consecutive_failures=5, health_threshold=0.5), 0.7, 2, 0, None),
    ],
)
def test_when_a_failure_evicts_and_for_how_long(
    eviction: Eviction, health: float, failures: int, times: int, seconds: float | None
) -> None:
    assert eviction.seconds(health, failures, times) == seconds


def test_health_is_a_moving_average() -> None:
    health = 1.0
    for expected in (0.7, 0.49, 0.343):
        health = smoothed(health, success=False)
        assert health == pytest.approx(expected)
    assert smoothed(health, success=True) == pytest.approx(0.3 + 0.7 * 0.343)
    assert smoothed(0.0, success=True) == 1.0


@pytest.mark.parametrize(
    ("condition", "status", "failure"),
    [
        (None, 499, False),
        (None, 500, True),
        (None, 599, True),
        ("response.code == 429", 429, True),
        ("response.code == 429", 503, False),
        ("response.headers['x-none'] == 'a'", 503, False),
        ("'yes'", 503, False),
        ("request.method == 'GET' && response.headers['x-a'] == '1'", 200, True),
    ],
)
def test_what_is_a_failure(condition: str | None, status: int, *, failure: bool) -> None:
    health = Health(Eviction(), compile_expression(condition) if condition else None)

    assert health.is_failure(answered(status, (b"x-a", b"1"))) is failure


def test_whether_the_requests_body_is_read_for_it() -> None:
    assert Health(Eviction(), compile_expression("request.body == b''")).reads_body
    assert not Health(Eviction()).reads_body


def test_a_route_reads_the_body_where_the_health_of_a_backend_asks_for_it() -> None:
    backend = Backend("a", health=Health(Eviction(), compile_expression("size(request.body) < 9")))

    assert Route("r", Authorization.of(), backends=(WeightedBackend(backend),)).reads_body
