"""One immutable version of everything the request path reads, keyed by host."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from config.policy.balancing import Endpoint
from config.policy.normalisation import DEFAULT_PORT_OF

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from config.policy.authorization import Authorization, Shadow
    from config.policy.balancing import DynamicForwardProxy
    from config.policy.body import Buffer
    from config.policy.client_auth import ApiKeyAuthentication, BasicAuthentication
    from config.policy.cors import Cors
    from config.policy.credentials import Credentials
    from config.policy.csrf import Csrf
    from config.policy.delay import Delay
    from config.policy.direct_response import DirectResponses
    from config.policy.headers import HeaderModifier
    from config.policy.health import Health
    from config.policy.jwt import JwtAuthentication
    from config.policy.matching import RouteTable
    from config.policy.mirror import Mirror
    from config.policy.resilience import Retry
    from config.policy.rewrite import Redirect, UrlRewrite
    from config.policy.transformation import Transformation
    from config.policy.upstream import Upstream

DEFAULT_PORTS = frozenset(DEFAULT_PORT_OF.values())
"""Ports in `Host` that every virtual host accepts beside its own."""


BackendFault = Literal["", "no_valid_backends", "backend_authentication_failed"]
"""Why nothing may be sent to a backend: the reason of the answer in its place."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A named upstream: one origin, several that do for each other, or the request's own host."""

    name: str
    """`namespace/name` of the `AgentgatewayBackend`, or of the `ServiceEntry` where no route names one."""
    upstream: Upstream | None = None
    """Its only endpoint; none where there are several, or they are made for each request."""
    authority: bytes | None = None
    """`Host` sent upstream (`hostRewrite: Auto`), default port omitted; none for an address: the request's host."""
    endpoints: tuple[Endpoint, ...] = ()
    """Its origins. Default: `upstream`."""
    request_timeout: float | None = None
    """One attempt, from asking for a connection to the answer's head. Unit: seconds. None: no limit."""
    credentials: Credentials | None = field(default=None, repr=False)
    """What the origin asks for, and every attempt carries."""
    health: Health | None = None
    """None: no endpoint is ever left out."""
    dynamic: DynamicForwardProxy | None = None
    """Makes the origin for each request, in place of `endpoints`."""
    fault: BackendFault = ""
    """Not empty: it cannot be used, and its requests are answered 500."""

    def __post_init__(self) -> None:
        if self.upstream is not None and not self.endpoints:
            object.__setattr__(self, "endpoints", (Endpoint(self.upstream),))
        elif self.upstream is None and len(self.endpoints) == 1:
            object.__setattr__(self, "upstream", self.endpoints[0].upstream)
        if self.upstream is not None and [endpoint.upstream for endpoint in self.endpoints] != [self.upstream]:
            raise ValueError("a backend has either one upstream or several endpoints")

    @property
    def only_sends(self) -> bool:
        """Whether a request is sent to its one origin, and nothing else is to be done."""
        return (
            len(self.endpoints) == 1
            and self.endpoints[0].weight > 0
            and self.request_timeout is None
            and self.credentials is None
            and self.health is None
            and self.dynamic is None
            and not self.fault
        )


@dataclass(frozen=True, slots=True)
class WeightedBackend:
    """One of a route's `backendRefs`."""

    backend: Backend
    weight: int = 1
    """Share of the route's requests; 0: none."""


@dataclass(frozen=True, slots=True)
class Route:
    """What happens to a request: its policies and its backends."""

    name: str
    """`namespace/name` of the `HTTPRoute`, or of the `ServiceEntry` without one."""
    authorization: Authorization
    backends: tuple[WeightedBackend, ...] = ()
    """By weight; a sum of 0 answers 500."""
    rule: str = ""
    """Name of the rule, else its number."""
    shadow: Shadow | None = None
    """Rules that only tell what they would deny."""
    allows_escapes: bool = False
    """`egress-gateway.dev/path-escapes: allow`: `%2F` may stand in a path; policy must allow both readings."""
    timeout: float | None = None
    """From the end of the request's head to the answer's, over all attempts. Unit: seconds. None: no limit."""
    retry: Retry | None = None

    transformation: Transformation | None = None
    request_headers: HeaderModifier | None = None
    """`headerModifiers.request`, or the rule's `RequestHeaderModifier` filter."""
    response_headers: HeaderModifier | None = None
    direct_response: DirectResponses | None = None
    buffer: Buffer | None = None
    delay: Delay | None = None

    jwt: JwtAuthentication | None = None
    basic_auth: BasicAuthentication | None = None
    api_key: ApiKeyAuthentication | None = None
    rewrite: UrlRewrite | None = None
    redirect: Redirect | None = None
    """The route answers by itself, and needs no backend."""
    cors: Cors | None = None
    csrf: Csrf | None = None
    mirrors: tuple[Mirror, ...] = ()
    host_rewrite: bool = True
    """False (`hostRewrite` `None`): the origin gets the caller's `Host`."""

    backend: Backend | None = field(init=False, repr=False)
    """Its only backend; none where there are several, or none: every request is answered 500."""
    backend_name: str = field(init=False, repr=False)
    """Of the only backend; empty without one."""
    upstream: Upstream | None = field(init=False, repr=False)
    """The only origin of a route that just sends: its requests take the short way. None: see `app.attempts`."""
    reads_body: bool = field(init=False, repr=False)
    """Some expression reads the request's body, so that it is read before policy decides."""

    def __post_init__(self) -> None:
        only = self.backends[0] if len(self.backends) == 1 else None
        sends = only is not None and only.weight > 0 and only.backend.only_sends
        short = sends and self.timeout is None and self.retry is None
        policies = (self.jwt, self.basic_auth, self.api_key, self.transformation, self.direct_response, self.delay)
        health = (choice.backend.health for choice in self.backends)
        readers = (self.authorization, self.shadow, *policies, self.retry, *health)
        object.__setattr__(self, "backend", only.backend if only is not None else None)
        object.__setattr__(self, "backend_name", only.backend.name if only is not None else "")
        object.__setattr__(self, "upstream", only.backend.upstream if only is not None and short else None)
        object.__setattr__(self, "reads_body", any(getattr(reader, "reads_body", False) for reader in readers))

    @property
    def authenticates(self) -> bool:
        """Whether callers show more than their certificate."""
        return self.jwt is not None or self.basic_auth is not None or self.api_key is not None

    @property
    def rewrites_targets(self) -> bool:
        """Whether the layer that rewrites paths and `Host` has anything to do."""
        return self.rewrite is not None or not self.host_rewrite

    @property
    def rewrites_requests(self) -> bool:
        """Whether the layer that rewrites requests has anything to do."""
        return self.transformation is not None or self.request_headers is not None

    @property
    def rewrites_responses(self) -> bool:
        """Whether the layer that rewrites answers has anything to do."""
        transformed = self.transformation is not None and self.transformation.rewrites_responses
        held = self.buffer is not None and self.buffer.response is not None
        return transformed or held or self.response_headers is not None or self.cors is not None


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
    def backends(self) -> Iterator[Backend]:
        """Every backend that some route leads to; one may come several times."""
        return (choice.backend for route in self.routes for choice in route.backends)

    @property
    def upstreams(self) -> frozenset[Upstream]:
        """Every origin that some route leads to, and every mirror, but those that are made for a request."""
        origins = {endpoint.upstream for backend in self.backends for endpoint in backend.endpoints}
        return frozenset(origins.union(mirror.upstream for route in self.routes for mirror in route.mirrors))
