"""Brokered credentials from the manifest to the socket: the example, a token endpoint and an origin, all over TLS."""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.backends.credentials import CredentialBroker
from app.backends.dial import Dialer
from app.backends.tls import client_context
from app.backends.transport import OriginTransport
from app.cli.certificates import Leaf
from config.compiler.credentials import compile_auth
from config.compiler.place import Place
from config.manifests import read_documents
from config.policy.upstream import Upstream, UpstreamTls
from config.resources import parse_resources
from middleware.errors import BackendAuthenticationError
from tests.config.examples import request
from tests.conformance.harness.certificates import issue
from tests.conformance.harness.origin import Origin, running_origin
from tests.support.loops import in_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from config.attributes import RawHeaders
    from config.policy.credentials import Credentials
    from tests.conformance.harness.certificates import Pki
    from tests.conformance.harness.origin import Exchange, Received

EXAMPLE = Path(__file__).parents[2] / "deploy" / "examples" / "16-backend-auth.yaml"
LOGIN, API = "login.partner.example", "api.partner.example"
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
CALLER: RawHeaders = [
    (b"host", API.encode()),
    (b"authorization", b"Bearer theirs"),
    (b"x_partner_key", b"theirs"),
    (b"cookie", b"a=1"),
]


def compiled(name: str) -> Credentials:
    """Compile the credentials of a backend, or of a policy, of the example."""
    documents, findings = read_documents(EXAMPLE.name, EXAMPLE.read_text())
    resources, faults = parse_resources(documents)
    findings += faults
    if parsed := resources.backends.get(f"egress-direct/{name}"):
        place = Place(parsed, resources, findings, ("spec", "policies", "auth"))
        spec = parsed.model.spec.policies.auth
    else:
        policy = resources.policies[f"EnterpriseAgentgatewayPolicy egress-direct/{name}"]
        place = Place(policy, resources, findings, ("spec", "backend", "auth"))
        spec = policy.model.spec.backend.auth if policy.model.spec.backend else None
    assert spec is not None
    credentials = compile_auth(place, spec)
    assert findings == []
    assert credentials.unusable == ""
    return credentials


@dataclass
class Wire:
    """Where the example's two hosts are, and what reaches them."""

    login: Origin
    api: Origin
    transports: dict[str, OriginTransport] = field(default_factory=dict)

    @asynccontextmanager
    async def broker(self) -> AsyncIterator[CredentialBroker]:
        broker = CredentialBroker(self.transport)
        try:
            yield broker
        finally:
            await broker.aclose()
            for transport in self.transports.values():
                await transport.aclose()

    def transport(self, upstream: Upstream) -> OriginTransport:
        if upstream.key not in self.transports:
            self.transports[upstream.key] = self._open(upstream)
        return self.transports[upstream.key]

    def _open(self, upstream: Upstream) -> OriginTransport:
        port = (self.login if upstream.host == LOGIN else self.api).port
        dialer = Dialer({(upstream.host, upstream.port): ("127.0.0.1", port)}, LOOPBACK)
        return OriginTransport(upstream, dialer, client_context())

    async def send(
        self, broker: CredentialBroker, credentials: Credentials, target: str = "/v2/orders?a=1"
    ) -> Received:
        """Do what forwarding does for one attempt, and return what the origin got."""
        written = credentials.ready or await broker.resolve(credentials, request())
        headers, target = written.apply(CALLER, target)
        response = await self.transport(Upstream(API, 443, UpstreamTls(API))).exchange("GET", target, headers)
        try:
            while await response.read():
                pass
        finally:
            response.close()
        if response.status == 401:
            broker.reject(credentials, written)
        return self.api.requests[-1]


@pytest.fixture
def wire(pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    monkeypatch.setenv("SSL_CERT_FILE", str(pki.origins_ca))
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    with ExitStack() as stack:
        pairs = [issue(tmp_path, pki.origins, Leaf(host.partition(".")[0], names=(host,))) for host in (LOGIN, API)]
        login, api = (stack.enter_context(running_origin(pair)) for pair in pairs)
        login.handlers["/oauth2/token"] = granting
        yield Wire(login, api)


def granting(exchange: Exchange) -> None:
    """Give the token `token-for-SCOPE`."""
    [scope] = re.findall(r"scope=([^&]*)", exchange.read_body().decode())
    exchange.answer(
        json.dumps({"access_token": f"token-for-{scope}", "token_type": "bearer", "expires_in": 60}).encode()
    )


@in_loop
async def test_a_token_reaches_the_origin_in_place_of_what_the_caller_sent(wire: Wire) -> None:
    async with wire.broker() as broker:
        received = [await wire.send(broker, compiled("partner-oauth")) for _ in range(2)]

        assert [each.values("authorization") for each in received] == [
            ["Bearer token-for-orders.read+orders.write"]
        ] * 2
        assert [each.target for each in received] == ["/v2/orders?a=1"] * 2
        [asked] = wire.login.requests
        assert (asked.method, asked.target, asked.values("host")) == ("POST", "/oauth2/token", [LOGIN])
        assert asked.values("authorization") == [
            f"Basic {base64.b64encode(b'egress-gateway:example-client-secret').decode()}"
        ]
        assert wire.login.handshakes == [LOGIN]


@in_loop
async def test_after_a_401_the_next_request_brings_a_new_token(wire: Wire) -> None:
    async with wire.broker() as broker:
        wire.api.handlers["/v2/orders"] = lambda exchange: exchange.answer(b"", status="401 Unauthorized")

        for _ in range(2):
            await wire.send(broker, compiled("partner-oauth"))

        assert len(wire.api.requests) == 2  # the request itself is not sent again
        assert len(wire.login.requests) == 2


@in_loop
async def test_without_a_token_nothing_is_sent(wire: Wire) -> None:
    async with wire.broker() as broker:
        wire.login.handlers["/oauth2/token"] = lambda exchange: exchange.answer(b"{}", status="503 No")

        with pytest.raises(BackendAuthenticationError, match=r"token endpoint login\.partner\.example: status 503"):
            await wire.send(broker, compiled("partner-oauth"))
        with pytest.raises(BackendAuthenticationError):
            await wire.send(broker, replace(compiled("partner-basic"), unusable="a fault"))

        assert wire.api.connections == 0


@in_loop
async def test_what_is_known_at_load_goes_where_the_manifest_says(wire: Wire) -> None:
    async with wire.broker() as broker:
        github = await wire.send(broker, compiled("github-with-token"))
        basic = await wire.send(broker, compiled("partner-basic"))
        bingo = await wire.send(broker, compiled("httpbingo-key"), "/get?api_key=theirs&a=%20&api%5Fkey=theirs")

        assert github.values("authorization") == ["Bearer ghp_example_not_a_real_token"]
        assert github.values("x-partner-key") == ["example-partner-key"]
        assert github.values("x_partner_key") == []
        pair = base64.b64encode(b"egress-gateway:example-password").decode()
        assert basic.values("authorization") == [f"Basic {pair}"]
        assert bingo.target == "/get?a=%20&api_key=example-partner-key"
        assert bingo.values("cookie") == ["a=1"]
        assert wire.login.connections == 0
