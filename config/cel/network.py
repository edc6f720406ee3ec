"""Addresses and ranges: the network extension, which is Kubernetes' CEL library for them."""

from __future__ import annotations

import functools
import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from config.cel.errors import EvaluationError
from config.cel.overloads import LIBRARY
from config.cel.values import Cidr, IPAddress

function = LIBRARY.function

_PREFIX_LENGTH: Final = re.compile(r"0|[1-9][0-9]{0,2}")
_IPV4_BITS: Final = 32
_IPV6_BITS: Final = 128
_BROADCAST: Final = IPv4Address("255.255.255.255")
MAX_CACHED_ADDRESSES: Final = 1024
MAX_ADDRESS_CHARACTERS: Final = 64
"""More than any range has; the cache keeps none that is longer."""


@function("ip", "string", "ip")
def parse_address(text: str) -> IPAddress:
    """Read an address.

    One that is IPv4-mapped is refused in its dotted form and is the IPv4 address in its hexadecimal one, as in the
    specification's data: a range of IPv4 addresses must hold it.

    Raises:
        EvaluationError: no address, or one with a zone.

    """
    if len(text) > MAX_ADDRESS_CHARACTERS:
        raise EvaluationError("not an address")
    return _address(text)


@functools.lru_cache(maxsize=MAX_CACHED_ADDRESSES)
def _address(text: str) -> IPAddress:
    address = _parse(text)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    if mapped is None:
        return address
    if "." in text:
        raise EvaluationError("an IPv4-mapped address")
    return mapped


def _parse(text: str) -> IPAddress:
    if "%" in text:
        raise EvaluationError("an address with a zone")
    try:
        return ip_address(text)
    except ValueError:
        raise EvaluationError("not an address") from None


@function("cidr", "string", "cidr")
def parse_range(text: str) -> Cidr:
    """Read an address and the length of its prefix. A net mask in its place is refused, and so are mapped addresses.

    Raises:
        EvaluationError: not a range.

    """
    if len(text) > MAX_ADDRESS_CHARACTERS:
        raise EvaluationError("not a range of addresses")
    return _range(text)


@functools.lru_cache(maxsize=MAX_CACHED_ADDRESSES)
def _range(text: str) -> Cidr:
    written, _, digits = text.partition("/")
    address = _parse(written)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        raise EvaluationError("a range of IPv4-mapped addresses")
    if not _PREFIX_LENGTH.fullmatch(digits) or int(digits) > address.max_prefixlen:
        raise EvaluationError("not a range of addresses")
    return Cidr(address, int(digits))


@function("isIP", "string", "bool", total=True)
def is_address(text: str) -> bool:
    try:
        parse_address(text)
    except EvaluationError:
        return False
    return True


@function("isCIDR", "string", "bool", total=True)
def is_range(text: str) -> bool:
    try:
        parse_range(text)
    except EvaluationError:
        return False
    return True


@function("ip.isCanonical", "string", "bool")
def is_canonical(text: str) -> bool:
    """Tell whether the address is written as RFC 5952 writes it."""
    return str(parse_address(text)) == text


@function("string", "ip", "string", total=True)
def string_of_address(address: IPAddress) -> str:
    return str(address)


@function("string", "cidr", "string", total=True)
def string_of_range(cidr: Cidr) -> str:
    return f"{cidr.address}/{cidr.prefix_length}"


@function("family", "ip", "int", method=True, inline="{0}.version", total=True)
def family(address: IPAddress) -> int:
    return address.version


@function("isUnspecified", "ip", "bool", method=True, inline="{0}.is_unspecified", total=True)
def is_unspecified(address: IPAddress) -> bool:
    return address.is_unspecified


@function("isLoopback", "ip", "bool", method=True, inline="{0}.is_loopback", total=True)
def is_loopback(address: IPAddress) -> bool:
    return address.is_loopback


@function("isLinkLocalUnicast", "ip", "bool", method=True, inline="{0}.is_link_local", total=True)
def is_link_local_unicast(address: IPAddress) -> bool:
    return address.is_link_local


@function("isLinkLocalMulticast", "ip", "bool", method=True, total=True)
def is_link_local_multicast(address: IPAddress) -> bool:
    """224.0.0.0/24, and ff02::/16 whatever its flags."""
    first_bytes = address.packed[:3]
    if address.version == 4:  # noqa: PLR2004  IPv4
        return first_bytes == b"\xe0\x00\x00"
    return first_bytes[0] == 0xFF and first_bytes[1] & 0x0F == 0x02  # noqa: PLR2004  RFC 4291, 2.7


@function("isGlobalUnicast", "ip", "bool", method=True, total=True)
def is_global_unicast(address: IPAddress) -> bool:
    """Tell what Go's `IsGlobalUnicast` tells: private addresses are included."""
    return not (
        address.is_unspecified
        or address.is_loopback
        or address.is_multicast
        or address.is_link_local
        or address == _BROADCAST
    )


@function("containsIP", "cidr ip", "bool", method=True, total=True)
def contains_address(cidr: Cidr, address: IPAddress) -> bool:
    return _covers(cidr, address)


def _covers(cidr: Cidr, address: IPAddress) -> bool:
    start = cidr.address
    if type(address) is not type(start):
        return False
    return (int(address) ^ int(start)) >> _free_bits(cidr) == 0


def _free_bits(cidr: Cidr) -> int:
    return (_IPV4_BITS if type(cidr.address) is IPv4Address else _IPV6_BITS) - cidr.prefix_length


@function("containsIP", "cidr string", "bool", method=True)
def contains_address_text(cidr: Cidr, text: str) -> bool:
    return _covers(cidr, parse_address(text))


@function("containsCIDR", "cidr cidr", "bool", method=True, total=True)
def contains_range(cidr: Cidr, other: Cidr) -> bool:
    return _covers_range(cidr, other)


def _covers_range(cidr: Cidr, other: Cidr) -> bool:
    return cidr.prefix_length <= other.prefix_length and _covers(cidr, other.address)


@function("containsCIDR", "cidr string", "bool", method=True)
def contains_range_text(cidr: Cidr, text: str) -> bool:
    return _covers_range(cidr, parse_range(text))


@function("ip", "cidr", "ip", method=True, inline="{0}.address", total=True)
def address_of(cidr: Cidr) -> IPAddress:
    return cidr.address


@function("prefixLength", "cidr", "int", method=True, inline="{0}.prefix_length", total=True)
def prefix_length(cidr: Cidr) -> int:
    return cidr.prefix_length


@function("masked", "cidr", "cidr", method=True, total=True)
def masked(cidr: Cidr) -> Cidr:
    """Return the range with the bits behind its prefix cleared."""
    return _masked(cidr)


def _masked(cidr: Cidr) -> Cidr:
    free_bits = _free_bits(cidr)
    return Cidr(type(cidr.address)(int(cidr.address) >> free_bits << free_bits), cidr.prefix_length)


@function("isMask", "cidr", "bool", method=True, total=True)
def is_mask(cidr: Cidr) -> bool:
    """Tell whether the bits behind the prefix are clear."""
    return _masked(cidr) == cidr
