from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeVar

import pytest

from config.compiler.place import Place
from config.compiler.resilience import compile_health, compile_retry, compile_timeouts
from config.errors import Severity
from config.model.resilience import HealthSpec, RetrySpec, TimeoutsSpec
from config.model.route import RouteRetrySpec, RouteTimeoutsSpec
from config.policy.health import Eviction
from config.policy.resilience import Timeouts
from tests.config.examples import SERVICE, codes, resources_of

if TYPE_CHECKING:
    from config.errors import Finding
    from config.model.base import Model

S = TypeVar("S", bound="Model")


def written(kind: type[S], **fields: object) -> S:
    """Read a block as a manifest has it."""
    return kind.model_validate_json(json.dumps(fields))


def place() -> tuple[Place, list[Finding]]:
    resources, findings = resources_of(SERVICE)
    assert findings == []
    return Place(resources.service_entries["infra/origin"], resources, findings, ("spec",)), findings


def test_timeouts_of_a_policy_and_of_a_rule() -> None:
    where, findings = place()

    assert compile_timeouts(where, written(TimeoutsSpec, request="20s")) == Timeouts(20.0)
    assert compile_timeouts(where, written(RouteTimeoutsSpec, request="20s", backendRequest="5s")) == Timeouts(
        20.0, 5.0
    )
    assert compile_timeouts(where, written(RouteTimeoutsSpec, request="0s", backendRequest="0s")) == Timeouts()
    assert findings == []


def test_retry_of_a_policy() -> None:
    where, findings = place()
    spec = written(
        RetrySpec,
        attempts=2,
        backoff="200ms",
        codes=[502, 503],
        precondition="request.method == 'GET'",
        condition="response.code == 429",
    )

    retry = compile_retry(where, spec)

    assert (retry.attempts, retry.backoff, retry.codes) == (2, 0.2, frozenset({502, 503}))
    assert retry.precondition is not None
    assert retry.condition is not None
    assert findings == []


def test_retry_of_a_rule() -> None:
    where, _ = place()

    retry = compile_retry(where, written(RouteRetrySpec, attempts=3, backoff="0s", codes=[504]))

    assert (retry.attempts, retry.backoff, retry.codes, retry.precondition) == (3, None, frozenset({504}), None)


@pytest.mark.parametrize("text", ["request.method ==", "response.code == 200"])
def test_a_precondition_with_a_fault_rules_out_retries(text: str) -> None:
    where, findings = place()

    retry = compile_retry(where, written(RetrySpec, attempts=3, codes=[503], precondition=text))

    assert retry.attempts == 0
    assert codes(findings) == ["invalid-expression"]


@pytest.mark.parametrize("text", ["response.code ==", "response.body == b''"])
def test_a_condition_with_a_fault_asks_for_nothing(text: str) -> None:
    where, findings = place()

    retry = compile_retry(where, written(RetrySpec, codes=[503], condition=text))

    assert (retry.condition, retry.codes) == (None, frozenset({503}))
    assert codes(findings) == ["invalid-expression"]


def test_a_condition_that_does_not_read_the_answer_is_pointed_out() -> None:
    where, findings = place()

    compile_retry(where, written(RetrySpec, condition="request.method == 'GET'"))

    assert [(finding.code, finding.severity) for finding in findings] == [("pointless-rule", Severity.WARNING)]


def test_health() -> None:
    where, findings = place()
    eviction = {"duration": "30s", "restoreHealth": 50, "consecutiveFailures": 3, "healthThreshold": 40}

    health = compile_health(where, written(HealthSpec, unhealthyCondition="response.code >= 500", eviction=eviction))

    assert health is not None
    assert health.eviction == Eviction(30.0, 0.5, 3, 0.4)
    assert health.unhealthy is not None
    assert findings == []


def test_without_limits_every_failure_evicts_for_three_seconds() -> None:
    where, _ = place()

    health = compile_health(where, written(HealthSpec, eviction={}))

    assert health is not None
    assert (health.eviction, health.unhealthy) == (Eviction(3.0), None)


def test_without_eviction_there_is_nothing_to_judge() -> None:
    where, findings = place()

    assert compile_health(where, written(HealthSpec, unhealthyCondition="response.code >= 500")) is None
    assert [(finding.code, finding.severity) for finding in findings] == [("pointless-rule", Severity.WARNING)]


@pytest.mark.parametrize("text", ["response.code >=", "response.bodyPrefix == b''"])
def test_a_condition_of_health_with_a_fault_counts_as_absent(text: str) -> None:
    where, findings = place()

    health = compile_health(where, written(HealthSpec, unhealthyCondition=text, eviction={}))

    assert health is not None
    assert health.unhealthy is None
    assert codes(findings) == ["invalid-expression"]
