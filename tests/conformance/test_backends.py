"""Other people's HTTP/2 origins and CONNECT proxies: what they and the gateway's transports make of one another."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.backends.dial import Dialer
from app.backends.errors import OriginConnectError
from app.backends.table import BackendTable
from app.cli.certificates import Leaf
from config.policy.upstream import ClientCertificate, Tunnel, Upstream, UpstreamTls
from config.secret_values import SecretValue
from tests.conformance.harness.certificates import issue
from tests.conformance.harness.programs import hypercorn, nghttpd, nginx, squid, tinyproxy
from tests.support.loops import in_each_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from app.backends.exchange import Transport
    from tests.conformance.harness.certificates import KeyPair, Pki

Program = Callable[[Path, int], AbstractContextManager[int]]
HOST = "api.github.com"
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


@asynccontextmanager
async def transport_to(upstream: Upstream) -> AsyncIterator[Transport]:
    table = BackendTable(Dialer({(HOST, upstream.port): ("127.0.0.1", upstream.port)}, LOOPBACK))
    try:
        yield table.transport(upstream)
    finally:
        await table.aclose()


def origin(pki: Pki, port: int, *, http2: bool = True) -> Upstream:
    roots = pki.origins_ca.read_text()
    tls = UpstreamTls(HOST, roots=roots, alpn=("h2",) if http2 else ("http/1.1",))
    return Upstream(HOST, port, tls, http2=http2)


async def get(transport: Transport, target: str, method: str = "GET") -> tuple[int, bytes]:
    response = await transport.exchange(method, target, [(b"host", HOST.encode())])
    body = b""
    try:
        while part := await response.read():
            body += part
    finally:
        response.close()
    return response.status, body


async def stream(parts: int, part: bytes) -> AsyncIterator[bytes]:
    for _ in range(parts):
        yield part


@pytest.fixture(scope="module")
def python_origin(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with hypercorn(tmp_path_factory.mktemp("hypercorn"), pki.origin) as port:
        yield port


@in_each_loop
async def test_hypercorn_answers_many_at_once(pki: Pki, python_origin: int) -> None:
    async with transport_to(origin(pki, python_origin)) as transport:
        sizes = [0, 1, 16_384, 70_000, 1_000_000] * 6
        answers = await asyncio.gather(*(get(transport, f"/bytes/{size}") for size in sizes))

        assert [(status, len(body)) for status, body in answers] == [(200, size) for size in sizes]
        assert await get(transport, "/bytes/5", "HEAD") == (200, b"")
        assert await get(transport, "/status/204") == (204, b"")
        assert await get(transport, "/status/503") == (503, b"")


@in_each_loop
async def test_hypercorn_takes_a_body(pki: Pki, python_origin: int) -> None:
    async with transport_to(origin(pki, python_origin)) as transport:
        headers = [(b"host", HOST.encode()), (b"transfer-encoding", b"chunked")]
        response = await transport.exchange("POST", "/", headers, stream(30, b"x" * 50_000))
        assert await response.read() == b"2 1500000"
        assert response.fields[b"x-host"] == HOST.encode()
        response.close()


@in_each_loop
async def test_the_same_origin_speaks_http_1_where_that_is_asked_for(pki: Pki, python_origin: int) -> None:
    async with transport_to(origin(pki, python_origin, http2=False)) as transport:
        assert await get(transport, "/") == (200, b"1.1 0")


@in_each_loop
async def test_nghttpd_gets_no_more_streams_than_it_takes(pki: Pki, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"y" * 300_000)
    with nghttpd(tmp_path, pki.origin) as port:
        async with transport_to(origin(pki, port)) as transport:
            answers = await asyncio.gather(*(get(transport, "/file") for _ in range(100)))
            assert {(status, len(body)) for status, body in answers} == {(200, 300_000)}
            assert (await get(transport, "/nothing"))[0] == 404


@in_each_loop
async def test_nginx_that_leaves_after_some_requests_loses_none(pki: Pki, tmp_path: Path) -> None:
    server = (
        f"listen PORT ssl http2; ssl_certificate {pki.origin.certificate}; ssl_certificate_key {pki.origin.key}; "
        "keepalive_requests 7; location / { return 200 ok; }"
    )
    with nginx(tmp_path, server) as port:
        async with transport_to(origin(pki, port)) as transport:
            answers = await asyncio.gather(*(get(transport, "/") for _ in range(20)))
            answers += [await get(transport, "/") for _ in range(30)]
            assert set(answers) == {(200, b"ok")}


def mutual(pki: Pki, partner: KeyPair) -> str:
    return (
        f"listen PORT ssl; ssl_certificate {pki.origin.certificate}; ssl_certificate_key {pki.origin.key}; "
        f"ssl_verify_client on; ssl_client_certificate {partner.certificate}; "
        "location / { return 200 $ssl_client_s_dn; }"
    )


@in_each_loop
async def test_nginx_sees_the_client_certificate(pki: Pki, tmp_path: Path) -> None:
    own = issue(tmp_path, pki.mesh, Leaf("gateway-client", names=("gateway.test",)))
    authority = issue(tmp_path, pki.mesh, Leaf("unused"))
    authority.certificate.write_bytes(pki.mesh.pem()[0])
    certificate = ClientCertificate(own.certificate.read_text(), SecretValue(own.key.read_bytes()))
    with nginx(tmp_path, mutual(pki, authority)) as port:
        roots = pki.origins_ca.read_text()
        known = Upstream(HOST, port, UpstreamTls(HOST, (HOST,), roots, certificate))
        async with transport_to(known) as transport:
            assert await get(transport, "/") == (200, b"CN=gateway-client")
        async with transport_to(origin(pki, port, http2=False)) as transport:
            assert (await get(transport, "/"))[0] == 400


@pytest.mark.parametrize("proxy", [tinyproxy, squid])
@pytest.mark.parametrize("http2", [False, True])
@in_each_loop
async def test_a_proxy_opens_a_tunnel_and_verification_stays_with_the_gateway(
    pki: Pki, tmp_path: Path, python_origin: int, proxy: Program, *, http2: bool
) -> None:
    with proxy(tmp_path, python_origin) as port:
        roots = pki.origins_ca.read_text()
        tls = UpstreamTls(HOST, roots=roots, alpn=("h2",) if http2 else ("http/1.1",))
        tunnel = Tunnel("127.0.0.1", port)
        through = Upstream("127.0.0.1", python_origin, tls, tunnel=tunnel, http2=http2)
        async with transport_to(through) as transport:
            assert await get(transport, "/") == (200, b"2 0" if http2 else b"1.1 0")
            assert (await get(transport, "/bytes/200000"))[0] == 200
        elsewhere = Upstream("127.0.0.1", port, tls, tunnel=tunnel, http2=http2)
        async with transport_to(elsewhere) as transport:
            with pytest.raises(OriginConnectError, match=r"the proxy 127\.0\.0\.1: it answered CONNECT with 403"):
                await get(transport, "/")
