"""Which upstreams share a pool, and what settings come to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from config.policy.upstream import (
    ClientCertificate,
    HttpSettings,
    Keepalive,
    TcpSettings,
    TlsSettings,
    Tunnel,
    Upstream,
    UpstreamTls,
    Verification,
    upstream_of,
)
from config.secret_values import SecretValue

TLS = UpstreamTls("a.test")
OWN = ClientCertificate("chain", SecretValue(b"key one"))
DIFFERENT = [
    UpstreamTls("b.test"),
    replace(TLS, verify_names=("b.test",)),
    replace(TLS, verify_names=("b.test", "c.test")),
    replace(TLS, roots="b"),
    replace(TLS, roots="c"),
    replace(TLS, client_certificate=OWN),
    replace(TLS, client_certificate=replace(OWN, key=SecretValue(b"key two"))),
    replace(TLS, client_certificate=replace(OWN, chain="chain two")),
    replace(TLS, verification=Verification.CHAIN),
    replace(TLS, verification=Verification.NONE),
    replace(TLS, alpn=("h2",)),
    replace(TLS, alpn=("h2", "http/1.1")),
]
ORIGIN = Upstream("a.test", 443, TLS)
OTHERS = [
    *(replace(ORIGIN, tls=tls) for tls in (None, *DIFFERENT)),
    replace(ORIGIN, host="b.test"),
    replace(ORIGIN, port=444),
    replace(ORIGIN, connect_timeout=1.0),
    replace(ORIGIN, keepalive=Keepalive()),
    replace(ORIGIN, keepalive=Keepalive(retries=1)),
    replace(ORIGIN, tunnel=Tunnel("p.test", 1)),
    replace(ORIGIN, tunnel=Tunnel("p.test", 2)),
    replace(ORIGIN, http2=True),
    replace(ORIGIN, guarded=False),
]


def test_unequal_upstreams_never_share_a_pool() -> None:
    assert len({upstream.key for upstream in (ORIGIN, *OTHERS)}) == 1 + len(OTHERS)


def test_equal_ones_do() -> None:
    own = ClientCertificate("chain", SecretValue(b"key one"))

    assert Upstream("a.test", 443, UpstreamTls("a.test")).key == ORIGIN.key
    assert replace(ORIGIN, tls=replace(TLS, client_certificate=own)).key in {upstream.key for upstream in OTHERS}


def test_one_context_does_for_every_server_name() -> None:
    assert UpstreamTls("b.test").context_key == TLS.context_key
    assert len({tls.context_key for tls in DIFFERENT}) == len(DIFFERENT)


def test_nothing_secret_is_shown() -> None:
    upstream = replace(ORIGIN, tls=replace(TLS, client_certificate=OWN))

    shown = f"{upstream!r} {upstream} {upstream.key} {TlsSettings(client_certificate=OWN)!r} {OWN!r}"
    assert "key one" not in shown
    assert OWN.key.digest not in shown


def test_http_2_needs_tls() -> None:
    with pytest.raises(ValueError, match="needs TLS"):
        Upstream("a.test", 80, http2=True)


@pytest.mark.parametrize(
    ("written", "http2", "offered"),
    [
        (None, False, ("http/1.1",)),
        (None, True, ("h2",)),
        (("h2", "http/1.1"), False, ("http/1.1",)),
        (("h2", "http/1.1"), True, ("h2",)),
        (("h2",), False, ("h2",)),
        (("http/1.1",), True, ("http/1.1",)),
    ],
)
def test_only_the_protocol_that_is_spoken_is_offered(
    written: tuple[str, ...] | None, *, http2: bool, offered: tuple[str, ...]
) -> None:
    assert TlsSettings(alpn=written).for_host("a.test", http2=http2).alpn == offered


def test_the_server_name_is_the_host_unless_it_is_given() -> None:
    assert TlsSettings().for_host("a.test") == TLS
    assert TlsSettings("b.test").for_host("a.test") == UpstreamTls("b.test")


def test_the_blocks_come_together() -> None:
    keepalive, tunnel = Keepalive(1), Tunnel("p.test", 1)
    made = upstream_of(
        "a.test",
        443,
        tls=TlsSettings(),
        tcp=TcpSettings(1.0, keepalive),
        http=HttpSettings(http2=True),
        tunnel=tunnel,
        guarded=False,
    )

    assert made == Upstream(
        "a.test",
        443,
        UpstreamTls("a.test", alpn=("h2",)),
        1.0,
        keepalive=keepalive,
        tunnel=tunnel,
        http2=True,
        guarded=False,
    )
    assert upstream_of("a.test", 80) == Upstream("a.test", 80)


def test_nothing_is_sent_where_a_block_has_a_fault() -> None:
    assert upstream_of("a.test", 443, tls=TlsSettings(unusable=True)) is None
    assert upstream_of("a.test", 443, tunnel=Tunnel("", 0, unusable=True)) is None
    assert upstream_of("a.test", 443, http=HttpSettings(http2=True)) is None
