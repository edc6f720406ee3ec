"""Where and how to connect to an origin."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from config.policy.normalisation import DEFAULT_PORT_OF, write_authority

if TYPE_CHECKING:
    from collections.abc import Iterable

    from config.secret_values import SecretValue

HTTP1_ALPN: Final = "http/1.1"
"""Source: the IANA registry of ALPN protocol ids (RFC 7301)."""
HTTP2_ALPN: Final = "h2"


class Verification(StrEnum):
    """What of an origin's certificate must hold."""

    FULL = "full"
    """It leads to a trust root, and carries a wanted name."""
    CHAIN = "chain"
    """It leads to a trust root; the name may be any (`insecureSkipVerify: Hostname`)."""
    NONE = "none"
    """Anything will do (`insecureSkipVerify: All`)."""


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """What the gateway shows of itself to an origin that asks for it."""

    chain: str
    """PEM, the leaf first."""
    key: SecretValue
    """PEM, not encrypted."""


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """TLS origination. Equal policies share one TLS context."""

    server_name: str
    """SNI, and the name that the origin's certificate must carry as a SAN."""
    verify_names: tuple[str, ...] = ()
    """DNS names or URIs, of which the certificate must carry one in place of `server_name`."""
    roots: str | None = field(default=None, repr=False)
    """Trust roots, PEM. None: the operating system's."""
    client_certificate: ClientCertificate | None = field(default=None, repr=False)
    verification: Verification = Verification.FULL
    alpn: tuple[str, ...] = (HTTP1_ALPN,)
    """Offered protocols, the favourite first (RFC 7301)."""
    context_key: str = field(init=False, repr=False, compare=False)
    """Equal where one TLS context does for both, whatever the server name. Shows nothing of a key."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "context_key", _digest(self._context_parts()))

    def _context_parts(self) -> Iterable[str]:
        own = self.client_certificate
        yield from ("system" if self.roots is None else f"roots {self.roots}", self.verification)
        yield from ("no certificate", "") if own is None else (own.chain, own.key.digest)
        yield from (f"alpn {protocol}" for protocol in self.alpn)
        yield from (f"name {name}" for name in self.verify_names)


@dataclass(frozen=True, slots=True)
class Keepalive:
    """TCP keepalive. Source: tcp(7), `TCP_KEEPCNT`, `TCP_KEEPIDLE`, `TCP_KEEPINTVL`."""

    retries: int = 9
    """Probes without an answer that end a connection."""
    time: float = 180.0
    """Idle time before the first probe. Unit: seconds."""
    interval: float = 180.0
    """Between two probes. Unit: seconds."""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A proxy that is asked with CONNECT (RFC 9110 section 9.3.6). Infrastructure: the dial guard does not ask."""

    host: str
    """DNS name, or IP address without brackets."""
    port: int
    unusable: bool = False
    """The manifest that describes it has a fault: nothing is sent, neither through it nor past it."""


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
    keepalive: Keepalive | None = None
    """None: the connection is never probed."""
    tunnel: Tunnel | None = None
    """None: the origin itself is dialled."""
    http2: bool = False
    """Whether HTTP/2 is spoken, which needs `tls`; else HTTP/1.1."""
    guarded: bool = True
    """Whether the dial guard refuses addresses that are not the public Internet's. False for infrastructure that the
    operator names: extAuth, extProc, rate limit, mirror and tracing servers."""
    key: str = field(init=False, repr=False, compare=False)
    """The whole of it as text: what a table of transports is keyed by, as the text's hash is computed once."""

    @property
    def authority(self) -> bytes:
        """`Host` of a request to it."""
        return write_authority(self.host, self.port, DEFAULT_PORT_OF["http" if self.tls is None else "https"]).encode()

    def __post_init__(self) -> None:
        if self.http2 and self.tls is None:
            raise ValueError("HTTP/2 to an origin needs TLS")
        object.__setattr__(self, "key", f"{self!r} {self.tls.context_key if self.tls else ''}")


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """`tls`, before it is known for which host: blocks of several levels replace one another first."""

    server_name: str | None = None
    """None: the host."""
    verify_names: tuple[str, ...] = ()
    roots: str | None = field(default=None, repr=False)
    client_certificate: ClientCertificate | None = field(default=None, repr=False)
    verification: Verification = Verification.FULL
    alpn: tuple[str, ...] | None = None
    """None: the protocol that is spoken."""
    unusable: bool = False
    """A CA, certificate or key is missing or invalid: the routes answer 500, nothing is sent."""

    def for_host(self, host: str, *, http2: bool = False) -> UpstreamTls:
        """Return the TLS of one origin.

        Of the protocols that were asked for only the one that is spoken is offered: an origin that chose another one
        could not be answered. Where that one is not among them they are offered as they are, and a connection on
        which the origin chooses one fails.
        """
        spoken = HTTP2_ALPN if http2 else HTTP1_ALPN
        offered = (spoken,) if self.alpn is None or spoken in self.alpn else self.alpn
        return UpstreamTls(
            self.server_name or host,
            self.verify_names,
            self.roots,
            self.client_certificate,
            self.verification,
            offered,
        )


@dataclass(frozen=True, slots=True)
class TcpSettings:
    """`tcp`."""

    connect_timeout: float = 5.0
    keepalive: Keepalive | None = None


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """`http`."""

    http2: bool = False
    request_timeout: float | None = None
    """One attempt, from asking for a connection to the answer's head. Unit: seconds. None: no limit."""


_TCP = TcpSettings()
_HTTP = HttpSettings()


def upstream_of(  # noqa: PLR0913  one for each block
    host: str,
    port: int,
    *,
    tls: TlsSettings | None = None,
    tcp: TcpSettings = _TCP,
    http: HttpSettings = _HTTP,
    tunnel: Tunnel | None = None,
    guarded: bool = True,
    server_name: str | None = None,
) -> Upstream | None:
    """Return the origin that the strongest block of each kind describes; none where nothing may be sent to it."""
    if (tls is not None and tls.unusable) or (tunnel is not None and tunnel.unusable) or (http.http2 and tls is None):
        return None
    return Upstream(
        host,
        port,
        tls.for_host(server_name or host, http2=http.http2) if tls is not None else None,
        tcp.connect_timeout,
        keepalive=tcp.keepalive,
        tunnel=tunnel,
        http2=http.http2,
        guarded=guarded,
    )


def _digest(parts: Iterable[str]) -> str:
    """Return what tells lists of texts apart; lengths keep two neighbours from passing for one."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(b"%d:%b" % (len(encoded), encoded))
    return digest.hexdigest()
