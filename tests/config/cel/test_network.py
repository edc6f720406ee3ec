import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.cel.errors import EvaluationError
from config.cel.network import parse_address, parse_range
from config.cel.overloads import LIBRARY
from config.cel.values import equal, type_name

V4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)
V6 = st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address).filter(lambda address: address.ipv4_mapped is None)


def call(name: str, *arguments: Any) -> Any:
    return LIBRARY.dispatcher(name, is_method=False)(*arguments)


def method(name: str, *arguments: Any) -> Any:
    return LIBRARY.dispatcher(name, is_method=True)(*arguments)


@pytest.mark.parametrize(
    ("text", "family", "predicates"),
    [
        ("192.168.0.1", 4, {"isGlobalUnicast"}),
        ("0.0.0.0", 4, {"isUnspecified"}),  # noqa: S104  an address to classify
        ("127.8.9.1", 4, {"isLoopback"}),
        ("255.255.255.255", 4, set()),
        ("224.0.0.1", 4, {"isLinkLocalMulticast"}),
        ("224.0.1.1", 4, set()),
        ("169.254.169.254", 4, {"isLinkLocalUnicast"}),
        ("2001:db8::68", 6, {"isGlobalUnicast"}),
        ("fd00::1", 6, {"isGlobalUnicast"}),
        ("::", 6, {"isUnspecified"}),
        ("::1", 6, {"isLoopback"}),
        ("ff02::1", 6, {"isLinkLocalMulticast"}),
        ("ff12::1", 6, {"isLinkLocalMulticast"}),
        ("ff05::1", 6, set()),
        ("fe80::1", 6, {"isLinkLocalUnicast"}),
        ("fec0::1", 6, {"isGlobalUnicast"}),
    ],
)
def test_addresses_are_classified_as_go_does(text: str, family: int, predicates: set[str]) -> None:
    address = call("ip", text)
    names = {
        "isUnspecified",
        "isLoopback",
        "isLinkLocalMulticast",
        "isLinkLocalUnicast",
        "isGlobalUnicast",
    }

    assert method("family", address) == family
    assert {name for name in names if method(name, address)} == predicates


@pytest.mark.parametrize(
    "text",
    [
        "192.168.0.1.0",
        "192.168.0.01",
        "192.168.0",
        "3232235521",
        " 192.168.0.1",
        "\uff12.1.1.1",
        "2001:db8:::68",
        "fe80::1%en0",
        "fe80::1%",
        "::ffff:192.168.0.1",
        "[::1]",
        "192.168.0.1/32",
        "",
    ],
)
def test_what_is_no_address_is_an_error(text: str) -> None:
    assert call("isIP", text) is False
    for name in ("ip", "ip.isCanonical"):
        with pytest.raises(EvaluationError):
            call(name, text)


@pytest.mark.parametrize(
    "text",
    [
        "192.168.0.0/",
        "192.168.0.0",
        "192.168.0.0/33",
        "192.168.0.0/08",
        "192.168.0.0/+8",
        "192.168.0.0/ 8",
        "192.168.0.0/255.255.255.0",
        "192.168.0.0/0.0.0.255",
        "192.168.0.0/8/8",
        "2001:db8::/129",
        "fe80::1%en0/24",
        "::ffff:192.168.0.1/24",
        "::ffff:c0a8:1/120",
        "",
    ],
)
def test_what_is_no_range_is_an_error(text: str) -> None:
    assert call("isCIDR", text) is False
    with pytest.raises(EvaluationError):
        call("cidr", text)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("127.0.0.1", True),
        ("2001:db8::68", True),
        ("2001:DB8::68", False),
        ("2001:db8:0:0::68", False),
        ("::ffff:c0a8:1", False),
    ],
)
def test_rfc_5952_has_one_spelling(text: str, canonical: bool) -> None:  # noqa: FBT001  a row of the table
    assert call("ip.isCanonical", text) is canonical


def test_a_mapped_address_in_hexadecimal_is_the_ipv4_address() -> None:
    assert equal(call("ip", "::ffff:c0a8:1"), call("ip", "192.168.0.1"))
    assert method("containsIP", call("cidr", "192.168.0.0/16"), "::ffff:c0a8:1")


@pytest.mark.parametrize(
    ("outer", "inner", "contained"),
    [
        ("192.168.0.0/24", "192.168.0.1", True),
        ("192.168.0.77/24", "192.168.0.1", True),
        ("192.168.0.0/24", "192.168.1.1", False),
        ("0.0.0.0/0", "8.8.8.8", True),
        ("2001:db8::/32", "2001:db8::1", True),
        ("2001:db8::/32", "192.168.1.1", False),
        ("0.0.0.0/0", "::1", False),
        ("::/0", "1.2.3.4", False),
    ],
)
def test_a_range_contains_the_addresses_behind_its_prefix(outer: str, inner: str, *, contained: bool) -> None:
    cidr = call("cidr", outer)

    assert method("containsIP", cidr, inner) is contained
    assert method("containsIP", cidr, call("ip", inner)) is contained


@pytest.mark.parametrize(
    ("outer", "inner", "contained"),
    [
        ("192.168.0.0/24", "192.168.0.0/25", True),
        ("192.168.0.0/24", "192.168.0.1/32", True),
        ("192.168.0.0/24", "192.168.0.0/23", False),
        ("10.0.0.0/8", "10.0.0.0/8", True),
        ("2001:db8::/32", "2001:db8::/33", True),
        ("0.0.0.0/0", "::/0", False),
    ],
)
def test_a_range_contains_narrower_ranges(outer: str, inner: str, *, contained: bool) -> None:
    cidr = call("cidr", outer)

    assert method("containsCIDR", cidr, inner) is contained
    assert method("containsCIDR", cidr, call("cidr", inner)) is contained


def test_a_range_keeps_what_was_written_behind_its_prefix() -> None:
    cidr = call("cidr", "127.0.7.1/8")

    assert call("string", cidr) == "127.0.7.1/8"
    assert call("string", method("ip", cidr)) == "127.0.7.1"
    assert call("string", method("masked", cidr)) == "127.0.0.0/8"
    assert method("prefixLength", cidr) == 8
    assert not method("isMask", cidr)
    assert method("isMask", method("masked", cidr))
    assert not equal(cidr, method("masked", cidr))
    assert (type_name(cidr), type_name(method("ip", cidr))) == ("net.CIDR", "net.IP")


@pytest.mark.parametrize(("name", "argument"), [("isIP", 4), ("isIP", "cidr"), ("cidr", b"10.0.0.0/8")])
def test_other_types_have_no_overload(name: str, argument: object) -> None:
    with pytest.raises(EvaluationError):
        call(name, parse_range("10.0.0.0/8") if argument == "cidr" else argument)


@given(V4 | V6)
def test_an_address_reads_back_from_its_text(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert parse_address(call("string", address)) == address


@given(st.one_of(st.tuples(V4, V4, st.integers(0, 32)), st.tuples(V6, V6, st.integers(0, 128))))
def test_containment_is_that_of_the_standard_library(drawn: tuple[Any, Any, int]) -> None:
    inside, address, length = drawn
    text = f"{inside}/{length}"
    network = ipaddress.ip_network(text, strict=False)
    cidr = parse_range(text)

    assert method("containsIP", cidr, address) is (address in network)
    assert method("containsIP", cidr, inside)
    assert call("string", method("masked", cidr)) == str(network)


def test_an_address_has_a_greatest_length() -> None:
    longest = "1111:2222:3333:4444:5555:6666:111.112.113.114"

    assert call("isIP", longest)
    assert call("isCIDR", f"{longest}/128")
    for text in ("1" * 65_536, ":" * 65_536, f"{longest}/{'0' * 64}"):
        assert not call("isIP", text)
        assert not call("isCIDR", text)
