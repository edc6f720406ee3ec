from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.backends import health as module
from app.backends.health import HealthTable
from app.choice import Chooser
from config.attributes import Peer, RequestAttributes, SpiffeId
from config.policy.balancing import DynamicForwardProxy, Endpoint
from config.policy.health import Eviction, Health
from config.policy.upstream import Upstream
from config.snapshot import Backend, WeightedBackend
from middleware.context import Connection, RequestContext
from middleware.errors import NoHealthyBackendError, NoValidBackendError
from tests.support.forwarding import Clock, route, snapshot_of, upstream

A = upstream("a")
HEALTH = Health(Eviction(duration=10.0))


def backend(eviction: Eviction | None = None, name: str = "a") -> Backend:
    return Backend(name, A, health=Health(eviction) if eviction else HEALTH)


def fail(table: HealthTable, found: Backend, times: int = 1, *, success: bool = False) -> None:
    assert found.health is not None
    for _ in range(times):
        table.record(found, found.health, A, success=success)


def test_each_further_eviction_in_a_row_is_longer_and_a_success_begins_anew() -> None:
    clock = Clock(0.0)
    table, found = HealthTable(clock), backend()
    for times in (1, 2, 3):
        fail(table, found)
        clock.now += 10.0 * times - 0.5
        assert table.is_evicted(found, A)
        clock.now += 0.5
        assert not table.is_evicted(found, A)
    fail(table, found, success=True)
    fail(table, found)
    clock.now += 10.0

    assert not table.is_evicted(found, A)


def test_what_was_under_way_does_not_make_an_eviction_longer() -> None:
    clock = Clock(0.0)
    table, found = HealthTable(clock), backend()
    fail(table, found)
    clock.now = 9.0
    fail(table, found, times=5)
    clock.now = 10.0

    assert not table.is_evicted(found, A)


def test_a_success_does_not_end_an_eviction() -> None:
    table, found = HealthTable(Clock()), backend()
    fail(table, found)
    fail(table, found, success=True)

    assert table.is_evicted(found, A)


def test_failures_in_a_row_go_on_after_an_eviction_as_with_agentgateway() -> None:
    clock = Clock(0.0)
    table, found = HealthTable(clock), backend(Eviction(10.0, consecutive_failures=3))
    fail(table, found, times=3)
    clock.now = 10.0
    assert not table.is_evicted(found, A)
    fail(table, found)

    assert table.is_evicted(found, A)


@pytest.mark.parametrize(("restored", "failures"), [(1.0, 3), (0.0, 1), (0.5, 2)])
def test_health_is_restored_with_the_end_of_an_eviction(restored: float, failures: int) -> None:
    """The health before a failure counts: 1, 0.7, 0.49."""
    clock = Clock(0.0)
    table, found = HealthTable(clock), backend(Eviction(10.0, restored, health_threshold=0.5))
    fail(table, found, times=3)
    assert table.is_evicted(found, A)
    clock.now = 10.0
    assert not table.is_evicted(found, A)
    fail(table, found, times=failures - 1)
    assert not table.is_evicted(found, A)
    fail(table, found)

    assert table.is_evicted(found, A)


def test_endpoints_of_one_address_are_judged_by_backend() -> None:
    table = HealthTable(Clock())
    fail(table, backend())

    assert not table.is_evicted(backend(name="b"), A)
    assert not table.is_evicted(Backend("a", A), A), "without a policy nothing is left out"


def test_a_reload_keeps_what_is_known_of_unchanged_endpoints_only() -> None:
    table, found = HealthTable(Clock()), backend()
    fail(table, found)
    table.reconcile(snapshot_of(route(found, backend(name="b"))))
    assert table.is_evicted(found, A)
    table.reconcile(snapshot_of(route(backend(name="b"))))
    table.reconcile(snapshot_of(route(found)))

    assert not table.is_evicted(found, A)


def test_hosts_that_callers_name_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DYNAMIC_ENDPOINTS", 3)
    table = HealthTable(Clock())
    found = Backend("any", dynamic=DynamicForwardProxy(Upstream, 80, 80), health=HEALTH)
    hosts = [upstream(name) for name in "abcd"]
    for host in hosts:
        table.record(found, HEALTH, host, success=False)

    assert [table.is_evicted(found, host) for host in hosts] == [False, True, True, True]
    table.reconcile(snapshot_of(route(found)))
    assert table.is_evicted(found, hosts[3])
    table.reconcile(snapshot_of(route()))
    assert not table.is_evicted(found, hosts[3])


class ChoiceMachine(RuleBasedStateMachine):
    """Whatever happens: nobody is sent to an endpoint that is left out, or to one without a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock(0.0)
        self.table = HealthTable(self.clock)
        one = Backend(
            "one",
            endpoints=tuple(Endpoint(upstream(name), weight) for name, weight in zip("abc", (1, 5, 0), strict=True)),
            health=HEALTH,
        )
        two = Backend("two", upstream("d"), health=Health(Eviction(5.0, 0.5, 2, 0.4)))
        never = Backend("never", upstream("e"))
        self.route = route(WeightedBackend(one, 3), WeightedBackend(two, 1), WeightedBackend(never, 0))
        self.out: dict[tuple[str, str], float] = {}
        self.chosen: tuple[Backend, Upstream] | None = None
        self.number = 0.0

    @rule(number=st.floats(0, 1, exclude_max=True), attempts=st.integers(1, 5))
    def choose(self, number: float, attempts: int) -> None:
        context = RequestContext(snapshot_of(self.route), Connection(), {})
        context.route = self.route
        context.attributes = RequestAttributes(Peer(SpiffeId("t", "/a")), "GET", "a.test", "/")
        chooser = Chooser(context, self.table, lambda: number)
        seen = []
        for _ in range(attempts):
            if not chooser.has_any:
                with pytest.raises(NoHealthyBackendError):
                    chooser.choose()
                return
            self.chosen = found, endpoint = chooser.choose()
            seen.append((found.name, endpoint.host))
            assert not self.table.is_evicted(found, endpoint)
            assert found.name != "never"
            assert endpoint.host != "c.test"
            assert context.choice == self.chosen
        fresh = len(set(seen))
        assert seen[:fresh] == list(dict.fromkeys(seen)), "one that was tried came before one that was not"

    @rule(success=st.booleans(), times=st.integers(1, 3))
    def record(self, *, success: bool, times: int) -> None:
        if self.chosen is not None and self.chosen[0].health is not None:
            for _ in range(times):
                self.table.record(self.chosen[0], self.chosen[0].health, self.chosen[1], success=success)

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def reload(self) -> None:
        self.table.reconcile(snapshot_of(self.route))

    @invariant()
    def memory_is_bounded(self) -> None:
        assert len(self.table._endpoints) <= 3


TestChoice = ChoiceMachine.TestCase
TestChoice.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def test_a_route_without_backends_has_no_valid_one() -> None:
    context = RequestContext(snapshot_of(route()), Connection(), {})
    context.route = route()
    context.attributes = RequestAttributes(Peer(SpiffeId("t", "/a")), "GET", "a.test", "/")

    with pytest.raises(NoValidBackendError):
        Chooser(context, HealthTable(), lambda: 0.0).choose()
