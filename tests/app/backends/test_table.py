from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.backends import table as table_module
from app.backends.dial import Dialer
from app.backends.errors import OriginConnectError
from app.backends.http2 import Http2Transport
from app.backends.table import BackendTable
from app.backends.tls import TrustRootsError
from app.backends.transport import OriginTransport
from config.policy.authorization import Authorization
from config.policy.matching import RouteTable
from config.policy.upstream import Upstream, UpstreamTls
from config.snapshot import Backend, Route, Snapshot, VirtualHost, WeightedBackend
from tests.support.loops import in_loop
from tests.support.tls import MESH, authority

if TYPE_CHECKING:
    from app.backends.exchange import Transport


def snapshot(*upstreams: Upstream) -> Snapshot:
    hosts = {
        f"{index}.test": VirtualHost(
            "ns/host",
            frozenset(),
            RouteTable.of(Route("ns/route", Authorization.of(), (WeightedBackend(Backend("b", up)),))),
        )
        for index, up in enumerate(upstreams)
    }
    return Snapshot("0" * 12, "ns/gateway", exact=hosts)


PLAIN = Upstream("a.test", 80)
OTHER_PORT = Upstream("a.test", 81)
TLS = Upstream("a.test", 443, UpstreamTls("a.test"))
OTHER_NAME = Upstream("a.test", 443, UpstreamTls("b.test"))


@in_loop
async def test_equal_upstreams_share_a_transport_and_unequal_ones_never_do() -> None:
    table = BackendTable(Dialer())
    await table.reconcile(snapshot(PLAIN, Upstream("a.test", 80), OTHER_PORT, TLS, OTHER_NAME))

    transports = [table.transport(upstream) for upstream in (PLAIN, OTHER_PORT, TLS, OTHER_NAME)]
    assert table.transport(Upstream("a.test", 80)) is transports[0]
    assert len(set(map(id, transports))) == 4


@in_loop
async def test_a_new_snapshot_keeps_the_transports_of_unchanged_upstreams_and_closes_the_others() -> None:
    table = BackendTable(Dialer())
    await table.reconcile(snapshot(PLAIN, OTHER_PORT))
    kept, dropped = table.transport(PLAIN), table.transport(OTHER_PORT)

    await table.reconcile(snapshot(PLAIN, TLS))

    assert table.transport(PLAIN) is kept
    assert closed(dropped)
    assert not closed(kept)
    assert table.transport(OTHER_PORT) is not dropped


@in_loop
async def test_closing_the_table_closes_every_transport() -> None:
    table = BackendTable(Dialer())
    await table.reconcile(snapshot(PLAIN, TLS))

    await table.aclose()

    assert all(closed(table.transport(upstream)) for upstream in (PLAIN, TLS))


@in_loop
async def test_roots_are_only_needed_where_some_upstream_wants_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    table = BackendTable(Dialer())

    await table.reconcile(snapshot(PLAIN))
    with pytest.raises(TrustRootsError):
        await table.reconcile(snapshot(PLAIN, TLS))
    assert not closed(table.transport(PLAIN))  # what was in force stays


@in_loop
async def test_upstreams_that_no_snapshot_names_get_a_transport_when_they_are_asked_for() -> None:
    table = BackendTable(Dialer())
    made = table.transport(PLAIN)

    assert table.transport(PLAIN) is made
    await table.reconcile(snapshot(PLAIN))
    assert table.transport(PLAIN) is not made  # it is the snapshot's now
    assert closed(made)
    await table.aclose()


@in_loop
async def test_on_demand_there_are_so_many_and_the_idle_one_used_longest_ago_goes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(table_module, "MAX_ON_DEMAND", 2)
    table = BackendTable(Dialer())
    busy, idle = table.transport(PLAIN), table.transport(OTHER_PORT)
    monkeypatch.setattr(busy._pool, "_open", 1)  # type: ignore[attr-defined]

    third = table.transport(Upstream("c.test", 80))
    assert (closed(busy), closed(idle), closed(third)) == (False, True, False)

    monkeypatch.setattr(third._pool, "_open", 1)  # type: ignore[attr-defined]
    fourth = table.transport(Upstream("d.test", 80))  # none is idle: the oldest one goes
    assert (closed(busy), closed(third), closed(fourth)) == (True, False, False)
    await table.aclose()
    assert closed(fourth)


@in_loop
async def test_tls_contexts_are_shared_and_let_go() -> None:
    table = BackendTable(Dialer())
    roots = authority(MESH).pem()[0].decode()
    first = UpstreamTls("a.test", roots=roots)
    upstreams = [Upstream("a.test", 443, first), Upstream("b.test", 443, UpstreamTls("b.test", roots=roots)), TLS]

    await table.reconcile(snapshot(*upstreams))
    assert len(table._contexts) == 2
    await table.reconcile(snapshot(upstreams[0]))
    assert list(table._contexts) == [first.context_key]


@in_loop
async def test_what_openssl_does_not_take_is_one_upstream_that_cannot_be_reached() -> None:
    table = BackendTable(Dialer())
    broken = UpstreamTls("a.test", roots="no certificate")

    await table.reconcile(snapshot(PLAIN, Upstream("a.test", 443, broken)))
    transport = table.transport(Upstream("a.test", 443, broken))
    assert transport.is_idle
    with pytest.raises(OriginConnectError, match=r"^a\.test: the CA bundle cannot be used"):
        await transport.exchange("GET", "/", [])
    await table.aclose()


@in_loop
async def test_without_trust_roots_nothing_is_made_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    with pytest.raises(OriginConnectError, match="no trust roots"):
        BackendTable(Dialer()).transport(TLS)


@in_loop
async def test_the_protocol_picks_the_transport() -> None:
    table = BackendTable(Dialer())
    tls = UpstreamTls("a.test", roots=authority(MESH).pem()[0].decode(), alpn=("h2",))

    assert isinstance(table.transport(Upstream("a.test", 443, tls, http2=True)), Http2Transport)
    assert isinstance(table.transport(Upstream("a.test", 443, tls)), OriginTransport)


def closed(transport: Transport) -> bool:
    assert isinstance(transport, OriginTransport)
    return transport._pool._closed
