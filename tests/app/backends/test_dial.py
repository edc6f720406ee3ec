"""The dial guard: which addresses may be dialled, and that the checked one is."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.backends import dial
from app.backends.dial import Dialer, is_forbidden
from app.backends.errors import OriginConnectError
from tests.support.loops import in_each_loop, in_loop, until
from tests.support.origins import serving

if TYPE_CHECKING:
    from tests.support.origins import Downstream

FORBIDDEN = [
    "0.0.0.0",  # noqa: S104  nothing is bound to it
    "0.1.2.3",
    "10.0.0.0",
    "10.255.255.255",
    "100.64.0.0",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.0.1",
    "169.254.169.254",
    "172.16.0.0",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.0",
    "192.168.255.255",
    "198.18.0.0",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "240.240.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fdff:ffff::1",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "feff::1",
    "ff02::1",
]
PUBLIC = [
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "140.82.121.6",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2a00:1450:4001:80e::200e",
]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_addresses_that_are_not_the_public_internet_are_refused(address: str) -> None:
    assert is_forbidden(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_dialled(address: str) -> None:
    assert not is_forbidden(ipaddress.ip_address(address))


@given(st.ip_addresses())
def test_whatever_python_calls_private_is_refused(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert is_forbidden(address) or address.is_global


@given(st.ip_addresses(v=4), st.sampled_from(["::", "::ffff:0:0", "64:ff9b::", "2002::", "2001::"]))
def test_an_ipv6_address_that_embeds_an_ipv4_one_is_refused_whatever_it_embeds(
    address: ipaddress.IPv4Address, prefix: str
) -> None:
    shift = 80 if prefix == "2002::" else 0
    embedding = ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | int(address) << shift)

    assert is_forbidden(embedding)


class Resolver:
    """Stands in for the operating system's: names, and the addresses that were dialled."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
        self.addresses = addresses
        self.asked: list[tuple[str, int]] = []
        self.dialled: list[tuple[str, int]] = []
        self.dead: set[str] = set()
        monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", self._getaddrinfo())
        monkeypatch.setattr(dial, "_connect", self._connect)

    def _getaddrinfo(self) -> Any:
        async def getaddrinfo(_: object, host: str, port: int, **__: object) -> list[Any]:
            self.asked.append((host, port))
            if not self.addresses:
                raise socket.gaierror(socket.EAI_NONAME, "unknown")
            return [(0, 0, 0, "", (address, port)) for address in self.addresses]

        return getaddrinfo

    async def _connect(self, address: dial.IPAddress, port: int) -> object:
        self.dialled.append((str(address), port))
        if str(address) in self.dead:
            raise ConnectionRefusedError(111, "Connection refused")
        return "a socket"


@in_loop
async def test_of_mixed_answers_only_allowed_addresses_are_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(monkeypatch, "127.0.0.1", "8.8.8.8", "10.0.0.1", "8.8.8.8", "2606:4700::1", "::ffff:10.0.0.1")
    resolver.dead = {"8.8.8.8"}

    await Dialer().dial("api.example.com", 443)

    assert resolver.asked == [("api.example.com", 443)]
    assert resolver.dialled == [("8.8.8.8", 443), ("2606:4700::1", 443)]


@in_loop
async def test_a_name_is_resolved_once_so_that_the_checked_address_is_the_dialled_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolver = Resolver(monkeypatch, "8.8.8.8")

    await Dialer().dial("api.example.com", 443)

    assert len(resolver.asked) == 1
    assert resolver.dialled == [("8.8.8.8", 443)]


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1%eth0", "::ffff:169.254.169.254", "2002:a9fe:a9fe::1"])
@in_loop
async def test_a_name_for_a_forbidden_address_is_never_dialled(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(monkeypatch, address)

    with pytest.raises(OriginConnectError, match="no address that may be dialled") as caught:
        await Dialer().dial("rebound.example.com", 443)
    assert resolver.dialled == []
    assert f": {ipaddress.ip_address(address.partition('%')[0])} (EGRESS_DIAL_ALLOW" in str(caught.value)


@in_loop
async def test_of_many_refused_addresses_the_first_few_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Resolver(monkeypatch, *(f"10.0.0.{number}" for number in range(9)))

    with pytest.raises(OriginConnectError, match=r": 10\.0\.0\.0, 10\.0\.0\.1, 10\.0\.0\.2, 10\.0\.0\.3 and 5 more \("):
        await Dialer().dial("many.example.com", 443)


@pytest.mark.parametrize("host", ["127.0.0.1", "169.254.169.254", "::1", "240.240.0.7"])
@in_loop
async def test_an_address_in_place_of_a_name_meets_the_same_guard(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(monkeypatch)

    with pytest.raises(OriginConnectError):
        await Dialer().dial(host, 80)
    assert resolver.dialled == []


@in_loop
async def test_a_dial_override_does_not_exempt_from_the_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(monkeypatch, "8.8.8.8")
    overrides = {("api.example.com", 443): ("127.0.0.1", 9443)}

    with pytest.raises(OriginConnectError):
        await Dialer(overrides).dial("api.example.com", 443)
    assert resolver.dialled == []

    await Dialer(overrides, (ipaddress.ip_network("127.0.0.0/8"),)).dial("api.example.com", 443)
    assert resolver.dialled == [("127.0.0.1", 9443)]
    assert resolver.asked == []


@in_loop
async def test_a_dial_override_is_for_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(monkeypatch, "8.8.8.8")

    await Dialer({("api.example.com", 443): ("127.0.0.1", 9443)}).dial("api.example.com", 80)

    assert resolver.dialled == [("8.8.8.8", 80)]


@pytest.mark.parametrize(
    ("allowed", "address", "may"),
    [
        ("10.1.0.0/16", "10.1.2.3", True),
        ("10.1.0.0/16", "10.2.0.1", False),
        ("127.0.0.0/8", "::ffff:127.0.0.1", False),
        ("fd00::/8", "fd00::1", True),
        ("::/0", "10.0.0.1", False),
    ],
)
@in_loop
async def test_only_the_networks_that_the_operator_names_are_exempt(
    allowed: str, address: str, *, may: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver = Resolver(monkeypatch, address)
    dialer = Dialer(allowed=(ipaddress.ip_network(allowed),))

    if may:
        await dialer.dial("inside.example.com", 80)
    else:
        with pytest.raises(OriginConnectError):
            await dialer.dial("inside.example.com", 80)
    assert resolver.dialled == ([(address, 80)] if may else [])


@in_loop
async def test_a_name_that_does_not_resolve_is_a_connect_error(monkeypatch: pytest.MonkeyPatch) -> None:
    Resolver(monkeypatch)

    with pytest.raises(OriginConnectError, match="cannot be resolved"):
        await Dialer().dial("nowhere.example.com", 443)


@in_loop
async def test_an_origin_that_refuses_on_every_address_is_a_connect_error(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(monkeypatch, "8.8.8.8", "1.1.1.1")
    resolver.dead = {"8.8.8.8", "1.1.1.1"}

    with pytest.raises(OriginConnectError, match="Connection refused"):
        await Dialer().dial("dead.example.com", 443)
    assert len(resolver.dialled) == 2


@in_each_loop
async def test_the_socket_is_connected_to_the_address() -> None:
    async def script(origin: Downstream) -> None:
        await origin.until_closed()

    async with serving(script) as origin:
        with await Dialer(allowed=(ipaddress.ip_network("127.0.0.1/32"),)).dial("127.0.0.1", origin.port) as sock:
            assert sock.getpeername() == ("127.0.0.1", origin.port)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            await until(lambda: origin.accepted)
