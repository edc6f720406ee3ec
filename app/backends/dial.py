"""Resolve a name, refuse forbidden addresses, connect to the very address that was checked."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
from collections import deque
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING

from app.backends.errors import OriginConnectError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_LISTED_ADDRESSES = 4
"""Refused addresses that one line of the log names."""
MAX_ATTEMPTS = 8
"""Addresses of one name that are tried: how many there are is up to somebody's name server."""
ATTEMPT_DELAY_SECONDS = 0.25
"""How long an attempt has to itself before the next one starts beside it. Source: RFC 8305 section 8."""

_NO_WAY_THERE = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.EHOSTUNREACH})
"""What a machine without IPv6 says to half of all addresses: less telling than what another attempt met."""

# IANA special-purpose address registries (RFC 6890 and its updates), less what is globally reachable.
_FORBIDDEN_V4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # this network, unspecified
            "10.0.0.0/8",
            "100.64.0.0/10",  # shared address space (CGNAT)
            "127.0.0.0/8",
            "169.254.0.0/16",  # link-local, cloud metadata
            "172.16.0.0/12",
            "192.0.0.0/24",  # IETF protocol assignments
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relay
            "192.168.0.0/16",
            "198.18.0.0/15",  # benchmarking
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast, and Istio's automatic VIPs 240.240.0.0/16
        ),
    )
)
_FORBIDDEN_V6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "::/96",  # unspecified, loopback, IPv4-compatible
            "::ffff:0:0/96",  # IPv4-mapped
            "::ffff:0:0:0/96",  # IPv4-translated
            "64:ff9b::/96",  # NAT64
            "64:ff9b:1::/48",  # local NAT64
            "100::/64",  # discard
            "100:0:0:1::/64",  # dummy prefix
            "2001::/23",  # IETF protocol assignments, Teredo included
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4
            "3fff::/20",  # documentation
            "5f00::/16",  # segment routing
            "fc00::/7",  # unique local
            "fe80::/10",  # link-local
            "fec0::/10",  # site-local, deprecated
            "ff00::/8",  # multicast
        ),
    )
)


def is_forbidden(address: IPAddress) -> bool:
    """Tell whether an address is none of the public Internet's, or embeds one that may not be."""
    if isinstance(address, ipaddress.IPv4Address):
        return any(address in network for network in _FORBIDDEN_V4)
    return any(address in network for network in _FORBIDDEN_V6)


@dataclass(frozen=True, slots=True)
class Dialer:
    """Opens TCP connections to origins. Every address is checked after resolution, and that address is dialled."""

    overrides: Mapping[tuple[str, int], tuple[str, int]] = field(default_factory=dict)
    """`EGRESS_RESOLVE`: host and port to the address and port to dial in their place. Does not exempt."""
    allowed: tuple[IPNetwork, ...] = ()
    """`EGRESS_DIAL_ALLOW`: networks exempt from the guard."""

    async def dial(self, host: str, port: int, *, guarded: bool = True) -> socket.socket:
        """Return a connected, non-blocking socket.

        Of several addresses the first to connect is taken; the caller sets the deadline.

        Args:
            host: DNS name, or IP address without brackets.
            port: its port.
            guarded: whether the guard is asked; not for what the operator names as infrastructure.

        Raises:
            OriginConnectError: the name does not resolve, every address is refused by the guard or by the origin.

        """
        addresses = await self._resolve(host, port)
        checked = [(address, port) for address, port in addresses if not guarded or self._is_allowed(address)]
        if not checked:
            refused = _listed([str(address) for address, _ in addresses])
            raise OriginConnectError(
                f"{host} resolves to no address that may be dialled: {refused} (EGRESS_DIAL_ALLOW exempts networks)"
            )
        try:
            return await _first_connected(_interleaved(checked)[:MAX_ATTEMPTS])
        except OSError as error:
            # asyncio puts the address in place of the reason.
            reason = os.strerror(error.errno) if error.errno else type(error).__name__
            raise OriginConnectError(f"{host}: {reason}") from error

    def check_literal(self, host: str) -> None:
        """Refuse an address, however it is written, that a proxy shall not be asked to dial either.

        What a name leads to is for the proxy to find out; `localhost` is no name (RFC 6761 section 6.3).

        Raises:
            OriginConnectError: the guard refuses the address.

        """
        address = _address_of(host)
        if address is not None and not self._is_allowed(address):
            raise OriginConnectError(f"{host} may not be dialled through a proxy (EGRESS_DIAL_ALLOW exempts networks)")

    async def _resolve(self, host: str, port: int) -> list[tuple[IPAddress, int]]:
        host, port = self.overrides.get((host, port), (host, port))
        try:
            return [(ipaddress.ip_address(host), port)]
        except ValueError:
            pass
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        except (OSError, UnicodeError) as error:
            raise OriginConnectError(f"{host} cannot be resolved") from error
        # A scope id (fe80::1%eth0) only comes with addresses that the guard refuses.
        unique = dict.fromkeys(str(sockaddr[0]).partition("%")[0] for *_, sockaddr in found)
        return [(ipaddress.ip_address(address), port) for address in unique]

    def _is_allowed(self, address: IPAddress) -> bool:
        return not is_forbidden(address) or any(address in network for network in self.allowed)


def _address_of(host: str) -> IPAddress | None:
    """Return the address that a resolver makes of a host without asking anybody."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    labels = host.lower().rstrip(".").split(".")
    if labels[-1] == "localhost":
        return ipaddress.IPv4Address("127.0.0.1")
    try:
        # 127.1, 0x7f000001 and 017700000001 are addresses to the C library: inet_aton(3).
        return ipaddress.IPv4Address(socket.inet_aton(".".join(labels)))
    except OSError:
        return None


def _listed(addresses: list[str]) -> str:
    """Return the first few: how many there are is up to somebody's name server."""
    more = len(addresses) - MAX_LISTED_ADDRESSES
    return ", ".join(addresses[:MAX_LISTED_ADDRESSES]) + (f" and {more} more" if more > 0 else "")


def _interleaved(addresses: Iterable[tuple[IPAddress, int]]) -> list[tuple[IPAddress, int]]:
    """Let the families take turns, beginning with the resolver's first one. Source: RFC 8305 section 4."""
    families: dict[int, list[tuple[IPAddress, int]]] = {}
    for entry in addresses:
        families.setdefault(entry[0].version, []).append(entry)
    return [entry for turn in zip_longest(*families.values()) for entry in turn if entry is not None]


async def _first_connected(addresses: Iterable[tuple[IPAddress, int]]) -> socket.socket:
    """Return the first socket that connects; the other attempts end, and what they opened is closed.

    An attempt starts when the one before has failed or had its time (RFC 8305 section 5).

    Raises:
        OSError: every attempt failed; the most telling failure.

    """
    loop = asyncio.get_running_loop()
    waiting = deque(addresses)
    attempts: list[asyncio.Task[socket.socket]] = []  # in the order of their start
    pending: set[asyncio.Task[socket.socket]] = set()
    failure = OSError("no address to connect to")
    due = 0.0
    try:
        while waiting or pending:
            if waiting and (not attempts or attempts[-1].done() or loop.time() >= due):
                attempts.append(loop.create_task(_connect(*waiting.popleft())))
                pending.add(attempts[-1])
                due = loop.time() + ATTEMPT_DELAY_SECONDS
            patience = max(due - loop.time(), 0.0) if waiting else None
            done, pending = await asyncio.wait(pending, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            for attempt in sorted(done, key=attempts.index):
                try:
                    sock = attempt.result()
                except OSError as error:
                    if not failure.errno or error.errno not in _NO_WAY_THERE:
                        failure = error
                else:
                    attempts.remove(attempt)
                    return sock
        raise failure
    finally:
        for attempt in attempts:
            attempt.cancel()
            attempt.add_done_callback(_discard)


def _discard(attempt: asyncio.Task[socket.socket]) -> None:
    """Close the socket of an attempt that connected when it was not wanted any more."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


async def _connect(address: IPAddress, port: int) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004  IP version
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)  # noqa: FBT003  its signature
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, (str(address), port))
    except BaseException:
        sock.close()
        raise
    return sock
