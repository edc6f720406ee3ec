"""Where and how to connect to an origin."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """TLS origination. Equal policies share one TLS context."""

    server_name: str
    """SNI, and the name that the origin's certificate must carry as a SAN."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """One origin. Hashable: equal upstreams share a connection pool, unequal ones never do."""

    host: str
    """DNS name, or IP address without brackets."""
    port: int
    tls: UpstreamTls | None = None
    """None: plain text."""
    connect_timeout: float = 5.0
    """Resolution, TCP connect and TLS handshake together; and the wait beyond `max_connections`. Unit: seconds."""
    max_connections: int = 1024
    """Connections of one process; beyond, requests wait. Default: that of Envoy's `circuit_breakers`."""
    key: str = field(init=False, repr=False, compare=False)
    """The whole of it as text: what a table of transports is keyed by, as the text's hash is computed once."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", repr(self))
