"""One immutable version of everything the request path reads, keyed by host."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from config.policy.authorization import Authorization
    from config.policy.client_auth import ApiKeyAuthentication, BasicAuthentication
    from config.policy.headers import HeaderRewrite
    from config.policy.jwt import JwtAuthentication
    from config.policy.upstream import Upstream

DEFAULT_PORTS = frozenset({80, 443})
"""Ports in `Host` that every virtual host accepts beside its own."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A named upstream."""

    name: str
    """`namespace/name` of the `AgentgatewayBackend`, or of the `ServiceEntry` where no route names one."""
    upstream: Upstream
    authority: bytes | None = None
    """`Host` sent upstream (`hostRewrite: Auto`), default port omitted; none for an address: the request's host."""


@dataclass(frozen=True, slots=True)
class Route:
    """What happens to a request: its policies and its backend."""

    name: str
    """`namespace/name` of the `HTTPRoute`, or of the `ServiceEntry` without one."""
    authorization: Authorization
    request_headers: HeaderRewrite | None = None
    backend: Backend | None = None
    """None: the reference dangles, and the route answers 500."""
    reads_body: bool = False
    """Some expression reads the request's body, so that it is read before policy decides."""
    jwt: JwtAuthentication | None = None
    basic_auth: BasicAuthentication | None = None
    api_key: ApiKeyAuthentication | None = None


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """A destination service: the hosts of one `ServiceEntry`."""

    name: str
    ports: frozenset[int]
    """Ports of the service; `Host` may name one of them."""
    route: Route

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
        return None

    @property
    def routes(self) -> Iterator[Route]:
        """Every route, one for each virtual host."""
        return (host.route for hosts in (self.exact, self.wildcards) for host in hosts.values())

    @property
    def upstreams(self) -> frozenset[Upstream]:
        """Every origin that some route leads to."""
        return frozenset(route.backend.upstream for route in self.routes if route.backend)
