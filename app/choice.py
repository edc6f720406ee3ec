"""Which endpoint the next attempt at a request goes to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.policy.balancing import weighted
from config.policy.normalisation import parse_authority, write_authority
from config.snapshot import DEFAULT_PORTS
from middleware.errors import BackendAuthenticationError, NoHealthyBackendError, NoValidBackendError

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.backends.health import HealthTable
    from config.policy.upstream import Upstream
    from config.snapshot import Backend
    from middleware.context import RequestContext


class Chooser:
    """Chooses by weight: a backend, then one of its endpoints that is not left out, rather one not tried yet."""

    __slots__ = ("_context", "_health", "_random", "_tried")

    def __init__(self, context: RequestContext, health: HealthTable, random: Callable[[], float]) -> None:
        """Prepare.

        Args:
            context: the request.
            health: which endpoints are left out.
            random: from 0 to below 1.

        """
        self._context = context
        self._health = health
        self._random = random
        self._tried: set[tuple[str, str]] = set()
        """Backend and endpoint of every attempt so far."""

    @property
    def has_any(self) -> bool:
        """Whether there is anything to choose now."""
        return bool(self._choices())

    def choose(self) -> tuple[Backend, Upstream]:
        """Return where the next attempt goes, and note it in the request's record.

        Raises:
            NoHealthyBackendError: every endpoint is left out for its failures. AgentGateway would use one all the same.
            NoValidBackendError: there is no backend, or the one whose turn it is cannot be used.
            BackendAuthenticationError: the one whose turn it is has no usable credential.

        """
        context, choices = self._context, self._choices()
        attributes = context.routed()[1]
        if self._tried:
            untried = [
                (weight, (backend, fresh))
                for weight, (backend, endpoints) in choices
                if (fresh := [entry for entry in endpoints if (backend.name, entry[1].key) not in self._tried])
            ]
            choices = untried or choices
        chosen = weighted(choices, self._random)
        if chosen is None:
            raise self._nothing()
        backend, endpoints = chosen
        context.choice, attributes.backend = (backend, None), backend.name
        if backend.fault == BackendAuthenticationError.reason:
            raise BackendAuthenticationError(f"{backend.name} has no usable credential")
        upstream = weighted(endpoints, self._random)
        if upstream is None:
            raise NoValidBackendError(f"{backend.name} cannot be used")
        context.choice = backend, upstream
        self._tried.add((backend.name, upstream.key))
        return backend, upstream

    def authority(self, backend: Backend, upstream: Upstream) -> bytes | None:
        """Return the `Host` that a backend is sent; none for an address."""
        if backend.dynamic is None:
            return backend.authority
        return write_authority(upstream.host, upstream.port, backend.dynamic.scheme_port).encode()

    def _nothing(self) -> NoHealthyBackendError | NoValidBackendError:
        backends = [choice.backend for choice in self._context.routed()[0].backends if choice.weight > 0]
        if any(map(_is_usable, backends)):
            return NoHealthyBackendError("every endpoint is left out for its failures")
        return NoValidBackendError("the route has no backend that a request could go to")

    def _choices(self) -> list[tuple[int, tuple[Backend, list[tuple[int, Upstream]]]]]:
        """Return the backends that a request may go to now, and of each the endpoints, with their weights."""
        result = []
        for choice in self._context.routed()[0].backends:
            backend = choice.backend
            endpoints = self._endpoints(backend)
            # One that cannot be used answers its share of the requests with 500, as Gateway API says.
            if choice.weight > 0 and (endpoints or not _is_usable(backend)):
                result.append((choice.weight, (backend, endpoints)))
        return result

    def _endpoints(self, backend: Backend) -> list[tuple[int, Upstream]]:
        if backend.fault:
            return []
        if backend.dynamic is not None:
            attributes = self._context.routed()[1]
            port = parse_authority(attributes.raw_host.encode("ascii"))[1]
            if port is None or port in DEFAULT_PORTS:
                # `http://host:80` is `http://host`, and tells nothing about where the origin has its TLS.
                port = backend.dynamic.default_port
            found = [(1, backend.dynamic.for_host(attributes.host, port))]
        else:
            found = [(endpoint.weight, endpoint.upstream) for endpoint in backend.endpoints if endpoint.weight > 0]
        return [entry for entry in found if not self._health.is_evicted(backend, entry[1])]


def _is_usable(backend: Backend) -> bool:
    """Tell whether a backend has an endpoint at all, left out or not."""
    return not backend.fault and (backend.dynamic is not None or any(entry.weight > 0 for entry in backend.endpoints))
