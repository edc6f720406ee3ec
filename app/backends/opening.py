"""From an upstream to a connection that may be written to: dialled, through a proxy if need be, TLS verified."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from app.backends.errors import OriginConnectError
from app.backends.tls import PeerError, check_peer, tls_failure
from app.backends.tunnel import open_tunnel

if TYPE_CHECKING:
    import ssl

    from app.backends.connection import OriginConnection
    from app.backends.dial import Dialer
    from app.backends.http2_connection import Http2Connection
    from config.policy.upstream import Keepalive, Tunnel, Upstream


async def reach(dialer: Dialer, upstream: Upstream) -> socket.socket:
    """Return a socket that leads to the origin; the caller sets the deadline, and closes it.

    Raises:
        OriginConnectError: there is no way there, or the guard refuses it.

    """
    if upstream.tunnel is not None:
        return await _reach_through(dialer, upstream, upstream.tunnel)
    sock = await dialer.dial(upstream.host, upstream.port, guarded=upstream.guarded)
    if upstream.keepalive is not None:
        probe(sock, upstream.keepalive)
    return sock


async def secure(
    sock: socket.socket,
    protocol: OriginConnection | Http2Connection,
    upstream: Upstream,
    tls_context: ssl.SSLContext | None,
) -> None:
    """Hand a socket over to a protocol. With TLS, nothing was sent inside it before the origin is known to be the one.

    Raises:
        OriginConnectError: TLS failed, or the origin shows another name or speaks another protocol.

    """
    tls = upstream.tls
    try:
        transport, _ = await asyncio.get_running_loop().create_connection(
            lambda: protocol,
            sock=sock,
            ssl=tls_context,
            server_hostname=tls.server_name if tls else None,
        )
        if tls is not None:
            check_peer(transport.get_extra_info("ssl_object"), tls, http2=upstream.http2)
    except BaseException as error:
        if not protocol.is_made:
            sock.close()  # else its transport owns the socket: closing that here would free a number in use
        protocol.abort()
        if isinstance(error, PeerError):
            raise OriginConnectError(f"{upstream.host}: {error}") from error
        if isinstance(error, OSError) and not isinstance(error, TimeoutError):
            raise OriginConnectError(f"{upstream.host}: {tls_failure(error)}") from error
        raise


def probe(sock: socket.socket, keepalive: Keepalive) -> None:
    """Let the kernel find out whether the other end of an idle connection is still there."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # The kernel counts in whole seconds, from 1 to 32767.
    for option, value in (
        ("TCP_KEEPCNT", keepalive.retries),
        ("TCP_KEEPIDLE", keepalive.time),
        ("TCP_KEEPINTVL", keepalive.interval),
    ):
        if hasattr(socket, option):  # an operating system without it keeps its own
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), max(1, min(round(value), 32767)))


async def _reach_through(dialer: Dialer, upstream: Upstream, tunnel: Tunnel) -> socket.socket:
    """Return a socket whose other end is the origin's, which the proxy resolved."""
    if tunnel.unusable:
        raise OriginConnectError(f"{upstream.host}: its tunnel has a fault")
    if upstream.guarded:
        dialer.check_literal(upstream.host)
    sock = await dialer.dial(tunnel.host, tunnel.port, guarded=False)
    try:
        if upstream.keepalive is not None:
            probe(sock, upstream.keepalive)
        await open_tunnel(sock, upstream.host, upstream.port)
    except OriginConnectError as error:
        sock.close()
        raise OriginConnectError(f"{upstream.host}: the proxy {tunnel.host}: {error}") from error
    except BaseException:
        sock.close()
        raise
    return sock
