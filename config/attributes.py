"""Facts about one caller and one request: the only input of a decision."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from config.secret_values import SecretValue

MAX_BODY_BYTES = 2 * 1024 * 1024
"""Bytes of a request's body that policies may read."""

RawHeaders = list[tuple[bytes, bytes]]
"""Header fields as they came: lower-cased names, values without surrounding white space."""


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """A SPIFFE ID that passed every rule of `parse_spiffe_id`. Source: SPIFFE-ID, section 2."""

    trust_domain: str
    path: str
    """With its leading slash."""
    namespace: str | None = None
    """Kubernetes namespace, of the form `/ns/NS/sa/SA` only."""
    service_account: str | None = None

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}{self.path}"


MAX_CACHED_PEERS = 4096
"""Callers of whom a policy keeps what it made of them; the one that came first, or was last asked for, goes first."""


@dataclass(frozen=True, slots=True, eq=False)
class Peer:
    """The authenticated caller: what its certificate says. Compared by identity, as policies keep a view of each."""

    spiffe_id: SpiffeId
    subject_alt_names: tuple[str, ...] = ()
    issuer: str = ""
    """RFC 4514 string of the issuer's distinguished name."""
    subject: str = ""
    certificate: str = field(default="", repr=False)
    """The leaf, PEM."""
    not_after: float = math.inf
    """End of the certificate's validity, Unix time in seconds: an open connection may outlive it."""
    uri: str = field(init=False)
    """The SPIFFE ID as text."""
    identity: SpiffeId | None = field(init=False)
    """The SPIFFE ID if it names a namespace and a service account."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "uri", str(self.spiffe_id))
        object.__setattr__(self, "identity", self.spiffe_id if self.spiffe_id.namespace is not None else None)


@dataclass(slots=True)
class Downstream:
    """What policies may read about the connection that a request came on."""

    address: str = ""
    """The caller's address, as the socket says."""
    port: int = 0
    local_address: str = ""
    """Local address of the connection to the gateway."""
    local_port: int = 0
    scheme: str = "https"
    """Scheme the caller used on its connection to the gateway."""


@dataclass(slots=True)
class ResponseAttributes:
    """What policies may read about an answer."""

    status: int
    headers: Sequence[tuple[bytes, bytes]] = ()
    body: bytes | None = None
    """The body as far as it was read: only where an expression names it, and at most `MAX_BODY_BYTES`."""
    body_is_whole: bool = False
    header_values: dict[str, Any] | None = field(default=None, repr=False)
    """Kept by `config.cel`, as that of a request."""


@dataclass(slots=True)
class RequestAttributes:
    """What policies may read about a request. `host` and `path` are the ones that will be used, never the caller's."""

    peer: Peer
    method: str
    host: str
    """Canonical destination host: the one that was looked up."""
    path: str
    """Canonical path: exactly what is forwarded."""
    query: str | None = None
    """Without its `?`, as sent; none if there is no `?`."""
    headers: Sequence[tuple[bytes, bytes]] = ()
    """End-to-end request headers, before any rewriting."""
    downstream: Downstream = field(default_factory=Downstream)
    version: str = "1.1"
    raw_host: str = ""
    """`Host` as the caller sent it."""
    start_time: float = 0.0
    """Unix time in seconds."""
    gateway: str = ""
    route: str = ""
    backend: str = ""
    body: bytes | None = None
    """The body as far as it was read: only where an expression of the route names it, and at most `MAX_BODY_BYTES`."""
    body_is_whole: bool = False
    header_values: dict[str, Any] | None = field(default=None, repr=False)
    """Kept by `config.cel`: headers by name, made when an expression reads one."""
    jwt: dict[str, Any] | None = field(default=None, repr=False)
    """Claims of the caller's verified token."""
    api_key: dict[str, Any] | None = field(default=None, repr=False)
    """Metadata of the caller's verified API key."""
    basic_auth: dict[str, Any] | None = None
    """`username` of the caller's verified password."""
    credential: SecretValue | None = field(default=None, repr=False)
    """The caller's own credential that a policy has verified and taken off the request."""
    metadata: dict[str, Any] | None = field(default=None, repr=False)
    """What transformations have set."""
    response: ResponseAttributes | None = None
    """The answer, once its head is there."""

    @property
    def path_and_query(self) -> str:
        """The request target in origin form."""
        return self.path if self.query is None else f"{self.path}?{self.query}"
