"""Upstream to transport: the host-keyed backend table's other half."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.backends.connection import READ_BUFFER_BYTES
from app.backends.tls import client_context
from app.backends.transport import OriginTransport

if TYPE_CHECKING:
    import ssl

    from app.backends.dial import Dialer
    from config.policy.upstream import Upstream
    from config.snapshot import Snapshot


class BackendTable:
    """The transport of every upstream. Equal upstreams share one, unequal ones never do."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self._tls_context: ssl.SSLContext | None = None
        self._transports: dict[str, OriginTransport] = {}
        self._buffer = bytearray(READ_BUFFER_BYTES)

    def transport(self, upstream: Upstream) -> OriginTransport:
        """Return the transport of an upstream that some snapshot in use names."""
        return self._transports[upstream.key]

    async def reconcile(self, snapshot: Snapshot) -> None:
        """Make the table that of a snapshot. Pools of unchanged upstreams stay; others close as they become idle.

        Raises:
            TrustRootsError: an upstream wants TLS, and no trust roots can be loaded.

        """
        wanted = {upstream.key: upstream for upstream in snapshot.upstreams}
        transports = {key: self._transports.get(key) or self._open(upstream) for key, upstream in wanted.items()}
        removed = [transport for key, transport in self._transports.items() if key not in wanted]
        self._transports = transports
        for transport in removed:
            await transport.aclose()

    async def aclose(self) -> None:
        """Close every idle connection."""
        for transport in self._transports.values():
            await transport.aclose()

    def _open(self, upstream: Upstream) -> OriginTransport:
        if upstream.tls is None:
            return OriginTransport(upstream, self._dialer, None, self._buffer)
        if self._tls_context is None:
            self._tls_context = client_context()
        return OriginTransport(upstream, self._dialer, self._tls_context, self._buffer)
