"""Certificates of callers and origins, and the ASGI wrapper that gives TestClient's requests a TLS connection."""

from __future__ import annotations

import functools
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.certificates import CertificateAuthority, Leaf

if TYPE_CHECKING:
    from datetime import timedelta

    from starlette.types import ASGIApp, Receive, Scope, Send

MESH = "test mesh"
"""The authority of callers and origins that are trusted."""
TEAM_A = "spiffe://cluster.local/ns/team-a/sa/team-a"
TEAM_B = "spiffe://cluster.local/ns/team-b/sa/team-b"


@functools.cache
def authority(name: str) -> CertificateAuthority:
    """Return the authority of that name: the same one throughout a test run."""
    return CertificateAuthority.create(name)


@functools.cache
def svid(*uris: str, **leaf: Any) -> str:
    """Return a caller's certificate, PEM."""
    return authority(MESH).issue(Leaf("workload", uris=uris, **leaf))[0].decode()


def server_context(leaf: Leaf, lifetime: timedelta | None = None, issuer: str = MESH) -> ssl.SSLContext:
    """Return what an origin with this certificate serves with."""
    issued = authority(issuer).issue(leaf) if lifetime is None else authority(issuer).issue(leaf, lifetime)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as directory:
        certificate, key = Path(directory, "certificate.pem"), Path(directory, "key.pem")
        certificate.write_bytes(issued[0])
        key.write_bytes(issued[1])
        context.load_cert_chain(certificate, key)
    return context


@dataclass
class TlsCaller:
    """Adds the ASGI `tls` extension, as TestClient's own scope is fixed. Tests change its fields between requests."""

    app: ASGIApp
    chain: list[str] = field(default_factory=lambda: [svid(TEAM_A)])
    error: str | None = None
    scope: dict[str, Any] = field(default_factory=dict)
    """What else the scope shall say."""
    state: dict[str, Any] = field(default_factory=dict)
    """What a listener publishes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            tls = {"client_cert_chain": self.chain, "client_cert_error": self.error}
            scope = {**scope, "extensions": {"tls": tls}, "state": {**scope["state"], **self.state}, **self.scope}
        await self.app(scope, receive, send)
