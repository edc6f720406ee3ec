"""Deadlines, retries and health, as written, to what the request path asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.model.resilience import RetrySpec
from config.model.route import RouteTimeoutsSpec
from config.policy.health import Eviction, Health
from config.policy.resilience import Retry, Timeouts

if TYPE_CHECKING:
    from config.cel import Expression
    from config.compiler.place import Place
    from config.model.resilience import HealthSpec, TimeoutsSpec
    from config.model.route import RouteRetrySpec


def compile_timeouts(place: Place, spec: TimeoutsSpec | RouteTimeoutsSpec) -> Timeouts:  # noqa: ARG001  as its siblings
    """Compile `traffic.timeouts`, or `timeouts` of an `HTTPRoute` rule, where `0s` means none."""
    attempt = spec.backend_request if isinstance(spec, RouteTimeoutsSpec) else None
    return Timeouts(spec.request or None, attempt or None)


def compile_retry(place: Place, spec: RetrySpec | RouteRetrySpec) -> Retry:
    """Compile `traffic.retry`, or `retry` of an `HTTPRoute` rule. A precondition with a fault: nothing is retried."""
    attempts, precondition, condition = spec.attempts, None, None
    if isinstance(spec, RetrySpec):
        if spec.precondition is not None:
            precondition = _of_request(place.at("precondition"), spec.precondition)
            attempts = attempts if precondition is not None else 0
        if spec.condition is not None:
            condition = _of_answer(place.at("condition"), spec.condition)
        if condition is not None and not condition.reads_response:
            place.at("condition").warn("pointless-rule", "it does not read the answer, so that every one is the same")
    return Retry(attempts, spec.backoff or None, frozenset(spec.codes), precondition, condition)


def compile_health(place: Place, spec: HealthSpec) -> Health | None:
    """Compile `backend.health`; none without `eviction`, where nothing follows from it.

    A condition with a fault counts as absent: a 5xx is a failure then.
    """
    condition = None
    if spec.unhealthy_condition is not None:
        condition = _of_answer(place.at("unhealthyCondition"), spec.unhealthy_condition)
    if spec.eviction is None:
        place.warn("pointless-rule", "without eviction nothing follows from an endpoint's health", "add eviction: {}")
        return None
    eviction = spec.eviction
    return Health(
        Eviction(
            eviction.duration,
            _share(eviction.restore_health),
            eviction.consecutive_failures,
            _share(eviction.health_threshold),
        ),
        condition,
    )


def _of_request(place: Place, text: str) -> Expression | None:
    expression = place.expression(text)
    if expression is not None and expression.reads_response:
        place.error("invalid-expression", "there is no answer yet when this is asked", "name the request only")
        return None
    return expression


def _of_answer(place: Place, text: str) -> Expression | None:
    expression = place.expression(text)
    if expression is not None and expression.reads_response_body:
        place.error("invalid-expression", "it is asked before the answer's body is read", "name its status or headers")
        return None
    return expression


def _share(percent: int | None) -> float | None:
    return None if percent is None else percent / 100
