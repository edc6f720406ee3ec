"""What a request costs, counted: steps do not depend on how busy a machine is, as times do.

Lower the budgets when the path gets shorter; raise one only with the reason in the commit.
`python -m tests.benchmarks.request_path` prints today's figures. Loops in C are not seen: `make bench ARGS=--scale`
measures those.
"""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

import pytest

from tests.benchmarks.peers.base import other_hosts, teams
from tests.benchmarks.peers.gateway import write_manifests
from tests.benchmarks.request_path import WORKSHOP, RequestPath, Steps, count, no_collector, run

if TYPE_CHECKING:
    from pathlib import Path

BUDGETS = {
    (3, 11): Steps(instructions=3634, calls=146),
    (3, 12): Steps(instructions=3356, calls=143),
    (3, 13): Steps(instructions=3383, calls=143),
}
"""One request of the workshop, uvicorn's and asyncio's part included: what it took when this was written, and 5 %."""
UNSAMPLED_TRACE = Steps(instructions=245, calls=6)
"""What a trace that is not recorded may add."""
OTHER_PYTHON = 1.25
"""How much more than any budget a version of Python without one may take."""
GROWN_BLOCKS = 50
"""Allocated blocks that may be more after 1,000 requests; it is 1 to 16. One forgotten object a request is 1,000."""
UNSAMPLED = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_SAMPLER": "always_off"}


@pytest.fixture(scope="module")
def workshop() -> Steps:
    return count()


def budget() -> Steps:
    if (own := BUDGETS.get(sys.version_info[:2])) is not None:
        return own
    return Steps(
        int(max(steps.instructions for steps in BUDGETS.values()) * OTHER_PYTHON),
        int(max(steps.calls for steps in BUDGETS.values()) * OTHER_PYTHON),
    )


async def _repeat(path: RequestPath, times: int) -> None:
    for _ in range(times):
        await path.request()
    await path.logged()


def test_a_request_stays_within_its_budget(workshop: Steps) -> None:
    assert workshop.instructions <= budget().instructions
    assert workshop.calls <= budget().calls


def test_the_count_is_the_same_each_time(workshop: Steps) -> None:
    assert count() == workshop


def test_a_trace_that_is_not_recorded_adds_little(workshop: Steps) -> None:
    traced = count(environment=UNSAMPLED)

    assert workshop.instructions < traced.instructions, "tracing was off"
    assert traced.instructions - workshop.instructions <= UNSAMPLED_TRACE.instructions
    assert traced.calls - workshop.calls <= UNSAMPLED_TRACE.calls


@pytest.mark.parametrize(("rules", "hosts"), [(1000, 1), (1, 1000)])
def test_the_cost_depends_on_neither_rules_nor_hosts(workshop: Steps, tmp_path: Path, rules: int, hosts: int) -> None:
    write_manifests(tmp_path / "many", teams(rules), other_hosts(hosts))

    many = count(tmp_path / "many")

    assert many.instructions == pytest.approx(workshop.instructions, rel=0.02)
    assert many.calls == pytest.approx(workshop.calls, rel=0.02)


@pytest.mark.parametrize("environment", [{}, UNSAMPLED], ids=["", "traced"])
def test_requests_leave_neither_cycles_nor_blocks(environment: dict[str, str]) -> None:
    async def use(path: RequestPath) -> tuple[int, int]:
        gc.collect()
        with no_collector():
            await _repeat(path, 200)  # caches, and the free lists that a collection empties, are full
            grown = []
            for _ in range(2):
                before = sys.getallocatedblocks()
                await _repeat(path, 1000)
                grown.append(sys.getallocatedblocks() - before)
            return gc.collect(), min(grown)

    unreachable, grown = run(use, WORKSHOP, environment)

    assert unreachable == 0
    assert grown <= GROWN_BLOCKS


def test_counting_puts_the_tracer_and_the_collector_back() -> None:
    calls = []

    def tracer(*_: object) -> None:
        calls.append(1)

    before, collected = sys.gettrace(), gc.isenabled()
    sys.settrace(tracer)
    try:
        count()
        after = sys.gettrace()
    finally:
        sys.settrace(before)

    assert after is tracer
    assert gc.isenabled() is collected
