from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.backends.dial import Dialer
from app.backends.table import BackendTable
from app.backends.tls import TrustRootsError
from app.backends.transport import OriginTransport
from config.policy.authorization import Authorization
from config.policy.matching import RouteTable
from config.policy.upstream import Upstream, UpstreamTls
from config.snapshot import Backend, Endpoint, Route, Snapshot, VirtualHost, WeightedBackend
from tests.support.loops import in_loop

if TYPE_CHECKING:
    from app.backends.exchange import Transport


def snapshot(*upstreams: Upstream) -> Snapshot:
    hosts = {
        f"{index}.test": VirtualHost(
            "ns/host",
            frozenset(),
            RouteTable.of(Route("ns/route", Authorization.of(), (WeightedBackend(Backend("b", (Endpoint(up),))),))),
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


def closed(transport: Transport) -> bool:
    assert isinstance(transport, OriginTransport)
    return transport._pool._closed
