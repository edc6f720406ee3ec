"""Where and how to connect to an origin."""

from __future__ import annotations

from dataclasses import dataclass


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
    """Resolution, TCP connect and TLS handshake together. Unit: seconds."""
