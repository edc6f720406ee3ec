"""A token endpoint on loopback, and what asks it."""

from __future__ import annotations

import ipaddress
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from app.backends.dial import Dialer
from app.backends.tls import client_context
from app.backends.transport import OriginTransport
from app.cli.certificates import Leaf
from config.policy.credentials import ClientCredentials
from config.policy.upstream import Upstream, UpstreamTls
from config.secret_values import SecretValue
from tests.support.origins import serving
from tests.support.tls import MESH, authority, server_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.origins import Downstream, Origin

HOST = "login.test"
SECRET = "s3cr&t: ä"  # noqa: S105  of nobody
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


def answer(document: Any, status: str = "200 OK", *fields: str) -> bytes:
    """Write an answer of a token endpoint; bytes are sent as they are, everything else as JSON."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def token(value: str, **fields: Any) -> dict[str, Any]:
    return {"access_token": value, "token_type": "Bearer", **fields}


@dataclass
class TokenEndpoint:
    """What a token endpoint was asked."""

    origin: Origin
    transport: OriginTransport
    client: ClientCredentials
    forms: list[list[tuple[str, str]]] = field(default_factory=list)

    @property
    def asked(self) -> int:
        return len(self.forms)


@asynccontextmanager
async def token_endpoint(
    reply: Callable[[Downstream, int], Awaitable[None]], **client: Any
) -> AsyncIterator[TokenEndpoint]:
    """Serve over TLS; `reply` is called for every request, with its number, which begins with 1."""
    asked: list[list[tuple[str, str]]] = []

    async def script(downstream: Downstream) -> None:
        while True:
            head = await downstream.head()
            length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length: "))
            body = await downstream.reader.readexactly(int(length.partition(b": ")[2]))
            asked.append(parse_qsl(body.decode(), strict_parsing=True))
            await reply(downstream, len(asked))

    context = client_context()
    context.load_verify_locations(cadata=authority(MESH).pem()[0].decode())
    async with serving(script, server_context(Leaf("login", names=(HOST,)))) as origin:
        upstream = Upstream(HOST, origin.port, UpstreamTls(HOST))
        transport = OriginTransport(
            upstream, Dialer({(HOST, origin.port): ("127.0.0.1", origin.port)}, LOOPBACK), context
        )
        given = {
            "endpoint": upstream,
            "authority": f"{HOST}:{origin.port}".encode(),
            "path": "/oauth/token",
            "client_id": "my app",
            "client_secret": SecretValue(SECRET.encode()),
            **client,
        }
        try:
            yield TokenEndpoint(origin, transport, ClientCredentials(**given), asked)
        finally:
            await transport.aclose()
