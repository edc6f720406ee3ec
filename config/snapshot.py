"""One immutable version of everything the request path reads, keyed by host."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from config.policy.authorization import Authorization, Shadow
    from config.policy.client_auth import ApiKeyAuthentication, BasicAuthentication
    from config.policy.credentials import Credentials
    from config.policy.health import Health
    from config.policy.jwt import JwtAuthentication
    from config.policy.matching import RouteTable
    from config.policy.upstream import Upstream

DEFAULT_PORTS = frozenset({80, 443})
"""Ports in `Host` that every virtual host accepts beside its own."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One of the addresses of a backend."""

    upstream: Upstream
    weight: int = 1
    """Share of the backend's requests; 0: none."""


@dataclass(frozen=True, slots=True)
class Backend:
    """Where a route's requests go."""

    name: str
    """`namespace/name` of the `AgentgatewayBackend` or `Service`, or of the `ServiceEntry` where no route names one."""
    endpoints: tuple[Endpoint, ...] = ()
    """Empty: the request names its destination, or there is a fault."""
    authority: bytes | None = None
    """`Host` sent upstream (`hostRewrite: Auto`), default port omitted; none for an address: the request's host."""
    request_timeout: float | None = None
    """One attempt, from asking for a connection to the answer's head. Unit: seconds. None: no limit."""
    credentials: Credentials | None = None
    health: Health | None = None
    template: Upstream | None = None
    """`dynamicForwardProxy`: everything of an upstream but its host, and its port unless `port` says so."""
    port: int | None = None
    """Port of a dynamic destination; none: the one that the request names, else the protocol's default."""
    fault: str = ""
    """Why nothing may be sent: `no_valid_backends` or `backend_authentication_failed`; the route answers 500."""


@dataclass(frozen=True, slots=True)
class WeightedBackend:
    """One of the backends of a rule."""

    backend: Backend | None
    """None: the reference dangles. Its share of the requests is answered 500."""
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Route:
    """What happens to a request: its policies and its backends."""

    name: str
    """`namespace/name` of the `HTTPRoute`, or of the `ServiceEntry` without one."""
    authorization: Authorization
    backends: tuple[WeightedBackend, ...] = ()
    rule: str = ""
    """Name of the rule, else its number."""
    shadow: Shadow | None = None
    """Rules that only tell what they would deny."""
    allows_escapes: bool = False
    """`egress-gateway.dev/path-escapes: allow`: `%2F` may stand in a path; policy must allow both readings."""

    backend: Backend | None = field(init=False)
    """The backend, where there is one only."""
    reads_body: bool = field(init=False)
    """Some expression reads the request's body, so that it is read before policy decides."""
    jwt: JwtAuthentication | None = None
    basic_auth: BasicAuthentication | None = None
    api_key: ApiKeyAuthentication | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "backend", self.backends[0].backend if len(self.backends) == 1 else None)
        readers = (self.authorization, self.shadow)
        object.__setattr__(self, "reads_body", any(reader is not None and reader.reads_body for reader in readers))


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """A destination service: the hosts of one `ServiceEntry`, or those that routes below the Gateway name."""

    name: str
    ports: frozenset[int]
    """Ports of the service; `Host` may name one of them."""
    table: RouteTable[Route]
    """Empty: every request is answered 404."""

    def accepts_port(self, port: int | None) -> bool:
        """Tell whether `Host` may carry this port."""
        return port is None or port in DEFAULT_PORTS or port in self.ports


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A compiled configuration. A request keeps the one it began with."""

    revision: str
    """12 hexadecimal digits of the SHA-256 over the manifests."""
    gateway: str
    """`namespace/name` of the `Gateway` this process is."""
    exact: Mapping[str, VirtualHost] = field(default_factory=dict)
    """Host to virtual host."""
    wildcards: Mapping[str, VirtualHost] = field(default_factory=dict)
    """Suffix to virtual host: `*.example.org` stands under `example.org`."""
    anywhere: VirtualHost | None = None
    """Takes every other host: routes below the Gateway that name none."""
    network: Authorization | None = None
    """Rules on connections (`frontend.networkAuthorization`)."""
    network_shadow: Shadow | None = None
    next_expiry: float | None = None
    """When a policy goes out of force (`egress-gateway.dev/expires-at`), Unix time. None: none does."""
    successor: Callable[[], Snapshot] | None = field(default=None, repr=False, compare=False)
    """Makes the snapshot that takes over at `next_expiry`."""

    def find(self, host: str) -> VirtualHost | None:
        """Return the virtual host of a canonical host: the exact one, else the longest wildcard suffix."""
        if found := self.exact.get(host):
            return found
        if self.wildcards:
            suffix = host
            while "." in suffix:
                suffix = suffix.partition(".")[2]
                if found := self.wildcards.get(suffix):
                    return found
        return self.anywhere

    @property
    def hosts(self) -> Iterator[VirtualHost]:
        """Every virtual host."""
        yield from self.exact.values()
        yield from self.wildcards.values()
        if self.anywhere is not None:
            yield self.anywhere

    @property
    def routes(self) -> tuple[Route, ...]:
        """Every route, once."""
        return tuple({id(route): route for host in self.hosts for route in host.table.routes}.values())

    @property
    def upstreams(self) -> frozenset[Upstream]:
        """Every origin that some route leads to and that is known in advance."""
        backends = (weighted.backend for route in self.routes for weighted in route.backends)
        return frozenset(
            endpoint.upstream for backend in backends if backend is not None for endpoint in backend.endpoints
        )
