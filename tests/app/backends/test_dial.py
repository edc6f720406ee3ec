"""The dial guard: which addresses may be dialled, and that the checked one is."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import ipaddress
import itertools
import socket
import sys
from pathlib import Path
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
    from collections.abc import Iterator

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


# several addresses: RFC 8305


def ip(address: str) -> dial.IPAddress:
    return ipaddress.ip_address(address)


class Attempts:
    """Attempts that end when the test says so, each with a real socket."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, hasty: int = 0) -> None:
        """Let the next attempt start beside each of the first `hasty` ones; the others have time without end."""
        self.started: list[str] = []
        self._hasty = hasty
        self._monkeypatch = monkeypatch
        self.sockets: list[socket.socket] = []
        self.ends: list[asyncio.Future[None]] = []
        monkeypatch.setattr(dial, "_connect", self._connect)
        monkeypatch.setattr(dial, "ATTEMPT_DELAY_SECONDS", 0.001 if hasty else 3600.0)

    async def _connect(self, address: dial.IPAddress, _: int) -> socket.socket:
        sock = socket.socket()
        self.started.append(str(address))
        if len(self.started) == self._hasty:
            self._monkeypatch.setattr(dial, "ATTEMPT_DELAY_SECONDS", 3600.0)
        self.sockets.append(sock)
        self.ends.append(asyncio.get_running_loop().create_future())
        try:
            await self.ends[-1]
        except BaseException:
            sock.close()
            raise
        return sock

    def connect(self, number: int) -> None:
        self.ends[number].set_result(None)

    def fail(self, number: int, code: int = errno.ECONNREFUSED) -> None:
        self.ends[number].set_exception(OSError(code, "of the test"))

    async def have_started(self, count: int) -> None:
        await until(lambda: len(self.ends) == count)

    def race(self, *addresses: str) -> asyncio.Task[socket.socket]:
        return asyncio.create_task(dial._first_connected([(ip(address), 443) for address in addresses]))


@in_loop
async def test_the_families_take_turns_and_the_resolvers_first_one_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(monkeypatch, "2606:4700::1", "2606:4700::2", "2606:4700::3", "8.8.8.8", "127.0.0.1", "1.1.1.1")
    resolver.dead = set(resolver.addresses)

    with pytest.raises(OriginConnectError, match="Connection refused"):
        await Dialer().dial("api.example.com", 443)
    assert [address for address, _ in resolver.dialled] == [
        "2606:4700::1",
        "8.8.8.8",
        "2606:4700::2",
        "1.1.1.1",
        "2606:4700::3",
    ]


@in_loop
async def test_of_very_many_addresses_a_few_of_each_family_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = range(1, 31)
    resolver = Resolver(monkeypatch, *(f"8.8.8.{n}" for n in numbers), *(f"2606:4700::{n}" for n in numbers))
    resolver.dead = set(resolver.addresses)

    with pytest.raises(OriginConnectError):
        await Dialer().dial("many.example.com", 443)
    families = [ip(address).version for address, _ in resolver.dialled]
    assert families == [4, 6] * (dial.MAX_ATTEMPTS // 2)


@in_each_loop
async def test_an_attempt_starts_when_the_one_before_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = Attempts(monkeypatch)
    race = attempts.race("8.8.8.8", "8.8.4.4", "1.1.1.1")

    await attempts.have_started(1)
    await asyncio.sleep(0.01)
    assert attempts.started == ["8.8.8.8"]
    attempts.fail(0)
    await attempts.have_started(2)
    attempts.connect(1)
    with await race as sock:
        assert sock is attempts.sockets[1]
    assert attempts.started == ["8.8.8.8", "8.8.4.4"]


@in_each_loop
async def test_an_attempt_starts_beside_one_that_has_had_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = Attempts(monkeypatch, hasty=2)
    race = attempts.race("8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1")

    await attempts.have_started(3)
    assert attempts.started == ["8.8.8.8", "8.8.4.4", "1.1.1.1"]
    attempts.fail(0)  # an older one: the newest keeps its time to itself
    await asyncio.sleep(0.01)
    assert len(attempts.started) == 3
    attempts.fail(2)
    await attempts.have_started(4)
    attempts.connect(1)
    with await race as sock:
        assert sock is attempts.sockets[1]
        await until(lambda: attempts.sockets[3].fileno() == -1)
    assert attempts.ends[3].cancelled()


@in_each_loop
async def test_of_two_that_connect_at_the_same_time_the_earlier_is_taken_and_the_other_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attempts = Attempts(monkeypatch, hasty=1)
    race = attempts.race("8.8.8.8", "2606:4700::1")

    await attempts.have_started(2)
    attempts.connect(1)
    attempts.connect(0)
    with await race as sock:
        assert sock is attempts.sockets[0]
        await until(lambda: attempts.sockets[1].fileno() == -1)


@in_each_loop
async def test_one_that_connects_when_the_dial_is_given_up_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = Attempts(monkeypatch, hasty=1)
    race = attempts.race("8.8.8.8", "2606:4700::1")

    await attempts.have_started(2)
    attempts.connect(1)
    race.cancel()
    with pytest.raises(asyncio.CancelledError):
        await race
    await until(lambda: [sock.fileno() for sock in attempts.sockets] == [-1, -1])


@pytest.mark.parametrize(
    ("codes", "reason"),
    [
        ((errno.ECONNREFUSED, errno.ENETUNREACH), "Connection refused"),
        ((errno.ENETUNREACH, errno.ECONNREFUSED), "Connection refused"),
        ((errno.ECONNREFUSED, errno.ECONNRESET), "Connection reset by peer"),
        ((errno.ENETUNREACH, errno.EADDRNOTAVAIL), "Network is unreachable"),
    ],
)
@in_loop
async def test_of_several_failures_the_last_that_tells_of_the_origin_is_named(
    codes: tuple[int, int], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Resolver(monkeypatch, "8.8.8.8", "2606:4700::1")
    attempts = Attempts(monkeypatch)
    dialling = asyncio.create_task(Dialer().dial("dead.example.com", 443))

    for number, code in enumerate(codes):
        await attempts.have_started(number + 1)
        attempts.fail(number, code)
    with pytest.raises(OriginConnectError, match=rf"^dead\.example\.com: {reason}$"):
        await dialling


class Loopback:
    """Ports that answer, that refuse and that never answer."""

    def __init__(self, stack: contextlib.ExitStack, host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.address = ip(host)
        live, dead, full = (stack.enter_context(socket.socket(family)) for _ in range(3))
        for sock in (live, dead, full):
            sock.bind((host, 0))
        live.listen(128)
        full.listen(0)
        for _ in range(4):  # its backlog is full: what comes next is dropped
            filler = stack.enter_context(socket.socket(family))
            filler.setblocking(False)  # noqa: FBT003  its signature
            filler.connect_ex(full.getsockname())
        self.live, self.dead, self.full = (sock.getsockname()[1] for sock in (live, dead, full))


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    with contextlib.ExitStack() as stack:
        yield Loopback(stack)


@pytest.fixture
def loopback6() -> Iterator[Loopback]:
    with contextlib.ExitStack() as stack:
        try:
            ports = Loopback(stack, "::1")
        except OSError as error:
            pytest.skip(f"no IPv6 on loopback: {error}")
        yield ports


@in_each_loop
async def test_a_family_that_never_answers_is_not_waited_for(
    loopback: Loopback, loopback6: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dial, "ATTEMPT_DELAY_SECONDS", 0.001)

    for silent, answering in ((loopback, loopback6), (loopback6, loopback)):
        addresses = [(silent.address, silent.full), (answering.address, answering.live)]
        with await dial._first_connected(addresses) as sock:
            assert sock.getpeername()[:2] == (str(answering.address), answering.live)


@in_each_loop
async def test_a_refused_family_costs_no_delay(
    loopback: Loopback, loopback6: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dial, "ATTEMPT_DELAY_SECONDS", 3600.0)

    addresses = [(loopback6.address, loopback6.dead), (loopback.address, loopback.live)]
    with await dial._first_connected(addresses) as sock:
        assert sock.getpeername() == ("127.0.0.1", loopback.live)


@pytest.mark.skipif(sys.platform != "linux", reason="open sockets are counted in /proc")
@in_each_loop
async def test_a_dial_that_ends_at_any_moment_leaves_no_socket_open(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dial, "ATTEMPT_DELAY_SECONDS", 0.0)
    ports = (loopback.full, loopback.dead, loopback.live)
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):  # whatever a loop opens for its first connection is open now
        await dial._first_connected([(loopback.address, loopback.dead)])
    before = _open_files()

    for chosen, steps in itertools.product(itertools.product(ports, repeat=2), range(10)):
        task = loop.create_task(dial._first_connected([(loopback.address, port) for port in chosen]))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            (await task).close()
    gc.collect()
    await until(lambda: _open_files() == before)


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    ("host", "refused"),
    [
        ("127.0.0.1", True),
        ("10.1", True),
        ("0x0a000001", True),
        ("017700000001", True),
        ("192.168.1.1.", True),
        ("::1", True),
        ("fe80::1%eth0", True),
        ("::ffff:10.0.0.1", True),
        ("localhost", True),
        ("api.localhost.", True),
        ("93.184.216.34", False),
        ("2606:2800:220:1::1", False),
        ("api.example.org", False),
        ("1.example.org", False),
    ],
)
def test_an_address_is_refused_however_it_is_written_where_a_proxy_would_dial_it(host: str, *, refused: bool) -> None:
    if refused:
        with pytest.raises(OriginConnectError, match="may not be dialled through a proxy"):
            Dialer().check_literal(host)
    else:
        Dialer().check_literal(host)


def test_the_exemptions_hold_for_a_proxy_too() -> None:
    Dialer(allowed=(ipaddress.ip_network("127.0.0.0/8"),)).check_literal("localhost")


@in_each_loop
async def test_infrastructure_is_dialled_wherever_it_is() -> None:
    async with serving(_waiting) as origin:
        with await Dialer().dial("127.0.0.1", origin.port, guarded=False) as sock:
            assert sock.getpeername() == ("127.0.0.1", origin.port)


async def _waiting(origin: Downstream) -> None:
    await origin.until_closed()
