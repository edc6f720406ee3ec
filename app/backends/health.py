"""Which endpoints are left out for their failures, and until when."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from config.policy.health import smoothed

if TYPE_CHECKING:
    from collections.abc import Callable

    from config.policy.health import Eviction, Health
    from config.policy.upstream import Upstream
    from config.snapshot import Backend, Snapshot

MAX_DYNAMIC_ENDPOINTS = 1024
"""Hosts of dynamic forward proxies that are remembered: how many there are is up to callers. The oldest goes first."""

_Key = tuple[str, str]
"""Name of the backend, and key of the upstream."""


class _Endpoint:
    """What is known about one endpoint that has failed at least once."""

    __slots__ = ("evicted_until", "failures", "health", "times_evicted")

    def __init__(self) -> None:
        self.health = 1.0
        self.failures = 0
        self.times_evicted = 0
        self.evicted_until: float | None = None

    def succeed(self) -> None:
        self.health = smoothed(self.health, success=True)
        self.failures = self.times_evicted = 0

    def fail(self, eviction: Eviction, now: float) -> None:
        seconds = eviction.seconds(self.health, self.failures + 1, self.times_evicted)
        self.health = smoothed(self.health, success=False)
        self.failures += 1
        if seconds is not None and self.evicted_until is None:  # what was under way does not make it longer
            self.evicted_until = now + seconds
            self.times_evicted += 1

    def is_out(self, eviction: Eviction, now: float) -> bool:
        if self.evicted_until is None:
            return False
        if now < self.evicted_until:
            return True
        self.evicted_until = None
        if eviction.restore_health is not None:
            self.health = eviction.restore_health
        return False


class HealthTable:
    """The health of every endpoint whose backend has a `health` policy. Those that never failed take no memory."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._endpoints: dict[_Key, _Endpoint] = {}
        self._dynamic: OrderedDict[_Key, _Endpoint] = OrderedDict()
        """Those of dynamic forward proxies."""

    def is_evicted(self, backend: Backend, upstream: Upstream) -> bool:
        """Tell whether an endpoint is left out now."""
        health = backend.health
        if health is None:
            return False
        found = self._table(backend).get((backend.name, upstream.key))
        return found is not None and found.is_out(health.eviction, self._clock())

    def record(self, backend: Backend, health: Health, upstream: Upstream, *, success: bool) -> None:
        """Note what came of an attempt."""
        table, key = self._table(backend), (backend.name, upstream.key)
        endpoint = table.get(key)
        if success:
            if endpoint is not None:
                endpoint.succeed()
            return
        if endpoint is None:
            endpoint = table[key] = _Endpoint()
            if len(self._dynamic) > MAX_DYNAMIC_ENDPOINTS:
                self._dynamic.popitem(last=False)
        endpoint.fail(health.eviction, self._clock())

    def reconcile(self, snapshot: Snapshot) -> None:
        """Forget the endpoints that a snapshot no longer names; the others keep what they have, evictions too."""
        judged = [backend for backend in snapshot.backends if backend.health is not None]
        named = {(backend.name, endpoint.upstream.key) for backend in judged for endpoint in backend.endpoints}
        dynamic = {backend.name for backend in judged if backend.dynamic is not None}
        self._endpoints = {key: endpoint for key, endpoint in self._endpoints.items() if key in named}
        self._dynamic = OrderedDict((key, endpoint) for key, endpoint in self._dynamic.items() if key[0] in dynamic)

    def _table(self, backend: Backend) -> dict[_Key, _Endpoint]:
        return self._dynamic if backend.dynamic is not None else self._endpoints
