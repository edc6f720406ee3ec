from __future__ import annotations

import dataclasses

import pytest

from config.policy.authorization import Authorization
from config.policy.matching import RouteTable
from config.policy.upstream import Upstream, UpstreamTls
from config.snapshot import Backend, Route, Snapshot, VirtualHost, WeightedBackend

ORIGIN = Upstream("origin.example", 443, UpstreamTls("origin.example"))


def virtual_host(name: str, upstream: Upstream | None = ORIGIN) -> VirtualHost:
    backend = Backend(f"ns/{name}", upstream, fault="" if upstream else "no_valid_backends")
    route = Route(f"ns/{name}", Authorization.of(), (WeightedBackend(backend),))
    return VirtualHost(f"ns/{name}", frozenset({8080}), RouteTable.of(route))


SNAPSHOT = Snapshot(
    "0123456789ab",
    "ns/egress",
    exact={"api.example.org": virtual_host("exact"), "example.org": virtual_host("apex")},
    wildcards={
        "example.org": virtual_host("short"),
        "eu.example.org": virtual_host("long"),
        "test": virtual_host("top"),
    },
)


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("api.example.org", "ns/exact"),
        ("example.org", "ns/apex"),
        ("other.example.org", "ns/short"),
        ("a.b.example.org", "ns/short"),
        ("x.api.example.org", "ns/short"),
        # `*.x` never matches `x`, but what is above it may.
        ("eu.example.org", "ns/short"),
        ("a.eu.example.org", "ns/long"),
        ("a.b.eu.example.org", "ns/long"),
        ("xeu.example.org", "ns/short"),
        ("a.test", "ns/top"),
        ("test", None),
        ("notexample.org", None),
        ("example.org.evil", None),
        ("org", None),
        ("", None),
        ("2001:db8::1", None),
    ],
)
def test_the_exact_host_wins_then_the_longest_suffix(host: str, found: str | None) -> None:
    virtual_host = SNAPSHOT.find(host)

    assert (virtual_host.name if virtual_host else None) == found


def test_without_hosts_nothing_is_found() -> None:
    assert Snapshot("0" * 12, "ns/egress").find("api.example.org") is None


@pytest.mark.parametrize(
    ("port", "accepted"), [(None, True), (80, True), (443, True), (8080, True), (8081, False), (15008, False)]
)
def test_host_may_name_a_default_port_or_one_of_the_service(port: int | None, *, accepted: bool) -> None:
    assert virtual_host("a").accepts_port(port) is accepted


def test_upstreams_are_every_origin_that_a_route_leads_to() -> None:
    other = Upstream("origin.example", 443)
    snapshot = Snapshot(
        "0" * 12,
        "ns/egress",
        exact={"a": virtual_host("a"), "b": virtual_host("b"), "c": virtual_host("c", None)},
        wildcards={"d": virtual_host("d", other)},
    )

    assert snapshot.upstreams == {ORIGIN, other}


@pytest.mark.parametrize(
    "changed",
    [
        {"host": "other.example"},
        {"port": 444},
        {"tls": None},
        {"tls": UpstreamTls("other.example")},
        {"connect_timeout": 1.0},
    ],
)
def test_upstreams_that_differ_in_anything_never_share_a_pool(changed: dict[str, object]) -> None:
    assert dataclasses.replace(ORIGIN, **changed) != ORIGIN  # type: ignore[arg-type]
    assert len({ORIGIN, dataclasses.replace(ORIGIN, **changed), dataclasses.replace(ORIGIN)}) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [SNAPSHOT, virtual_host("a"), virtual_host("a").table.routes[0], ORIGIN])
def test_a_snapshot_is_frozen_through_and_through(value: object) -> None:
    name = dataclasses.fields(value)[0].name  # type: ignore[arg-type]

    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, None)
