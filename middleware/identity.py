"""Who is calling: the peer of the TLS connection, or nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from middleware.certificate import InvalidSvidError, peer_from_certificate
from middleware.context import CONTEXT
from middleware.errors import CertificateExpiredError, IdentityRequiredError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from config.attributes import Peer
    from middleware.context import Connection, RequestContext


@dataclass(frozen=True, slots=True)
class IdentityMiddleware:
    """Let nobody pass whose certificate is no X.509-SVID of an accepted trust domain, whatever policy says."""

    app: ASGIApp
    trust_domains: frozenset[str]

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        context: RequestContext = scope[CONTEXT]
        connection = context.connection
        peer = connection.peer or identify(connection, self.trust_domains)
        if context.start_time > peer.not_after:
            raise CertificateExpiredError("the certificate has expired since the connection was made")
        context.peer = peer
        return self.app(scope, receive, send)


def identify(connection: Connection, trust_domains: frozenset[str]) -> Peer:
    """Judge the certificate of a connection, once: it stays the same for all of its requests.

    Raises:
        IdentityRequiredError: it is none of a workload of these trust domains.

    """
    tls = connection.tls
    chain = tls.get("client_cert_chain") if tls else None
    if not tls or not chain:
        raise IdentityRequiredError("no client certificate")
    if tls.get("client_cert_error"):
        raise IdentityRequiredError("the server could not verify the client certificate")
    try:
        peer = peer_from_certificate(chain[0])
    except InvalidSvidError as error:
        raise IdentityRequiredError(str(error)) from None
    if peer.spiffe_id.trust_domain not in trust_domains:
        raise IdentityRequiredError(f"the trust domain of {peer.uri} is not among EGRESS_TRUST_DOMAINS")
    connection.peer = peer
    return peer
