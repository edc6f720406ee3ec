"""From an upstream to a connection: TLS settings, keepalive and tunnels, against real loopback origins and a proxy."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from app.backends.dial import Dialer
from app.backends.errors import OriginConnectError, OriginConnectTimeoutError
from app.backends.opening import probe
from app.backends.tls import TlsSettingsError, client_context
from app.backends.transport import OriginTransport
from app.cli.certificates import Leaf
from config.policy.upstream import ClientCertificate, Keepalive, Tunnel, Upstream, UpstreamTls, Verification
from config.secret_values import SecretValue
from tests.support.loops import in_each_loop, in_loop, until
from tests.support.origins import Downstream, echo, serving
from tests.support.tls import MESH, authority, server_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
ROOTS = authority(MESH).pem()[0].decode()
TLS = UpstreamTls("origin.test", roots=ROOTS)
SPIFFE_ID = "spiffe://partner.test/ns/a/sa/b"
PARTNER = Leaf("origin", names=("other.test", "*.wild.test"), uris=(SPIFFE_ID,))


def own_certificate(issuer: str = MESH) -> ClientCertificate:
    certificate, key = authority(issuer).issue(Leaf("gateway", names=("gateway.test",)))
    return ClientCertificate(certificate.decode(), SecretValue(key))


def upstream(port: int, tls: UpstreamTls | None = TLS, host: str = "origin.test") -> Upstream:
    return Upstream(host, port, tls)


async def status(upstream: Upstream, dialer: Dialer | None = None) -> int:
    """Ask for one answer."""
    overrides = {("origin.test", upstream.port): ("127.0.0.1", upstream.port)}
    context = client_context(upstream.tls) if upstream.tls else None
    transport = OriginTransport(upstream, dialer or Dialer(overrides, LOOPBACK), context)
    try:
        response = await transport.exchange("GET", "/", [(b"host", b"origin.test")])
        response.close()
        return response.status
    finally:
        transport.close()


@pytest.mark.parametrize(
    "names",
    [("other.test",), ("a.test", "OTHER.test".lower()), ("a.wild.test",), (SPIFFE_ID,)],
)
@in_each_loop
async def test_names_of_its_own_take_the_place_of_the_host(names: tuple[str, ...]) -> None:
    async with serving(echo, server_context(PARTNER)) as origin:
        assert await status(upstream(origin.port, replace(TLS, verify_names=names))) == 200


@pytest.mark.parametrize(
    "names", [("origin.test",), ("b.a.wild.test",), ("spiffe://partner.test/ns/a/sa/c",), ("wild.test",)]
)
@in_each_loop
async def test_without_a_wanted_name_nothing_is_sent(names: tuple[str, ...]) -> None:
    async def script(origin: Downstream) -> None:
        assert await origin.reader.read(1) == b""

    async with serving(script, server_context(PARTNER)) as origin:
        with pytest.raises(OriginConnectError, match="none of the names in verifySubjectAltNames"):
            await status(upstream(origin.port, replace(TLS, verify_names=names)))


@in_each_loop
async def test_the_server_name_is_asked_for_and_verified() -> None:
    asked: list[str | None] = []
    context = server_context(PARTNER)
    context.sni_callback = lambda _sock, name, _context: asked.append(name)
    async with serving(echo, context) as origin:
        assert await status(upstream(origin.port, replace(TLS, server_name="other.test"))) == 200
        with pytest.raises(OriginConnectError, match="Hostname mismatch"):
            await status(upstream(origin.port))

    assert asked == ["other.test", "origin.test"]


@pytest.mark.parametrize(
    ("verification", "issuer", "works"),
    [
        (Verification.FULL, MESH, False),
        (Verification.CHAIN, MESH, True),
        (Verification.CHAIN, "stranger", False),
        (Verification.NONE, "stranger", True),
    ],
)
@in_loop
async def test_what_is_verified(verification: Verification, issuer: str, *, works: bool) -> None:
    async with serving(echo, server_context(PARTNER, issuer=issuer)) as origin:
        asked = upstream(origin.port, replace(TLS, verification=verification))
        if works:
            assert await status(asked) == 200
        else:
            with pytest.raises(OriginConnectError):
                await status(asked)


@in_each_loop
async def test_the_origin_sees_the_client_certificate() -> None:
    context = server_context(Leaf("origin", names=("origin.test",)))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority("partner").pem()[0].decode())
    seen: list[object] = []

    async def script(origin: Downstream) -> None:
        seen.append(origin.writer.get_extra_info("peercert")["subject"])
        await echo(origin)

    async with serving(script, context) as origin:
        own = replace(TLS, client_certificate=own_certificate("partner"))
        assert await status(upstream(origin.port, own)) == 200
        assert seen == [((("commonName", "gateway"),),)]
        with pytest.raises(Exception, match=r"."):  # with TLS 1.3 the origin refuses after the handshake
            await status(upstream(origin.port, replace(TLS, client_certificate=own_certificate("stranger"))))
        assert len(seen) == 1


def test_neither_file_nor_repr_keeps_a_key(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    own = own_certificate()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    client_context(replace(TLS, client_certificate=own))
    monkeypatch.delattr("os.memfd_create")
    client_context(replace(TLS, client_certificate=own))

    assert list(tmp_path.iterdir()) == []  # type: ignore[attr-defined]
    tls = replace(TLS, client_certificate=own)
    shown = f"{tls!r} {tls} {upstream(1, tls)!r} {own!r} {upstream(1, tls).key}"
    assert "PRIVATE" not in shown
    assert own.key.digest not in shown


def test_a_key_that_openssl_does_not_take() -> None:
    certificate = own_certificate()
    broken = replace(certificate, key=own_certificate().key)
    with pytest.raises(TlsSettingsError, match="the client certificate cannot be used: KEY_VALUES_MISMATCH"):
        client_context(replace(TLS, client_certificate=broken))
    with pytest.raises(TlsSettingsError, match="the CA bundle cannot be used"):
        client_context(replace(TLS, roots="-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))


@in_each_loop
async def test_an_origin_that_chooses_another_protocol() -> None:
    async def script(origin: Downstream) -> None:
        assert await origin.reader.read(1) == b""

    context = server_context(Leaf("origin", names=("origin.test",)))
    context.set_alpn_protocols(["h2"])
    async with serving(script, context) as origin:
        with pytest.raises(OriginConnectError, match=r"the origin chose h2 \(ALPN\) where HTTP/1.1 is spoken"):
            await status(upstream(origin.port, replace(TLS, alpn=("h2",))))


def test_keepalive_is_what_the_kernel_does() -> None:
    with socket.socket() as sock:
        probe(sock, Keepalive(3, 40_000.0, 1.4))

        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        options = (socket.TCP_KEEPCNT, socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL)
        assert [sock.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [3, 32767, 1]


# tunnels


@asynccontextmanager
async def proxy(
    targets: dict[str, int], answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n"
) -> AsyncIterator[tuple[int, list[str]]]:
    """Run a CONNECT proxy that knows some authorities, and yield its port and what it was asked for."""
    asked: list[str] = []

    async def script(side: Downstream) -> None:
        authority = (await side.head()).split(b" ")[1].decode()
        asked.append(authority)
        await side.send(answer)
        if authority not in targets:
            return
        reader, writer = await asyncio.open_connection("127.0.0.1", targets[authority])

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
            sink.close()

        try:
            await asyncio.gather(pump(side.reader, writer), pump(reader, side.writer))
        finally:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    async with serving(script) as running:
        yield running.port, asked


@pytest.mark.parametrize("tls", [TLS, None])
@in_each_loop
async def test_the_origin_is_reached_through_the_tunnel_and_verified_inside_it(tls: UpstreamTls | None) -> None:
    context = server_context(Leaf("origin", names=("origin.test",))) if tls else None
    async with serving(echo, context) as origin, proxy({"origin.test:443": origin.port}) as (port, asked):
        # EGRESS_RESOLVE applies to the proxy, and the guard does not ask about it.
        dialer = Dialer({("proxy.test", 3128): ("127.0.0.1", port)})
        through = replace(upstream(443, tls), tunnel=Tunnel("proxy.test", 3128), keepalive=Keepalive())
        assert await status(through, dialer) == 200
        assert asked == ["origin.test:443"]


@in_each_loop
async def test_the_name_is_verified_inside_the_tunnel_too() -> None:
    async with serving(echo, server_context(PARTNER)) as origin, proxy({"origin.test:443": origin.port}) as (port, _):
        with pytest.raises(OriginConnectError, match="Hostname mismatch"):
            await status(replace(upstream(443), tunnel=Tunnel("127.0.0.1", port)), Dialer())


@in_each_loop
async def test_a_proxy_that_refuses() -> None:
    async with proxy({}, b"HTTP/1.1 403 no\r\nX-Secret: s\r\n\r\n") as (port, _):
        with pytest.raises(
            OriginConnectError, match=r"^origin\.test: the proxy 127\.0\.0\.1: it answered CONNECT with 403$"
        ):
            await status(replace(upstream(443), tunnel=Tunnel("127.0.0.1", port)), Dialer())


@in_each_loop
async def test_a_proxy_that_does_not_answer() -> None:
    async def silent(side: Downstream) -> None:
        await side.until_closed()

    async with serving(silent) as running:
        through = replace(upstream(443), tunnel=Tunnel("127.0.0.1", running.port), connect_timeout=0.1)
        with pytest.raises(OriginConnectTimeoutError):
            await status(through, Dialer())
        await until(lambda: running.ended == 1)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.0.0.1", "::1", "169.254.169.254", "127.1", "0x7f.1", "localhost", "a.LOCALHOST."]
)
@in_loop
async def test_no_private_address_is_asked_for(host: str) -> None:
    async with proxy({}) as (port, asked):
        with pytest.raises(OriginConnectError, match="may not be dialled through a proxy"):
            await status(replace(upstream(443, host=host), tunnel=Tunnel("127.0.0.1", port)), Dialer())
        assert asked == []


@in_loop
async def test_infrastructure_is_dialled_wherever_it_is_and_nothing_else() -> None:
    async with serving(echo) as origin:
        direct = Upstream("127.0.0.1", origin.port, guarded=False)
        assert await status(direct, Dialer()) == 200
        with pytest.raises(OriginConnectError, match="no address that may be dialled"):
            await status(replace(direct, guarded=True), Dialer())


@in_loop
async def test_a_tunnel_with_a_fault_lets_nothing_through_or_past_it() -> None:
    async with serving(echo) as origin:
        with pytest.raises(OriginConnectError, match="its tunnel has a fault"):
            await status(replace(upstream(origin.port, None), tunnel=Tunnel("", 0, unusable=True)))
        assert origin.accepted == 0
