"""Upstream to transport: the host-keyed backend table's other half."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from app.backends.connection import READ_BUFFER_BYTES
from app.backends.tls import client_context
from app.backends.transport import OriginTransport

if TYPE_CHECKING:
    import ssl

    from app.backends.dial import Dialer
    from config.policy.upstream import Upstream
    from config.snapshot import Snapshot

MAX_DYNAMIC = 1024
"""Transports of dynamic forward proxies that are kept: how many hosts there are is up to callers."""
_ANY_HOST = "dynamic.invalid"
"""Stands for a host that a caller will name (RFC 2606)."""


class BackendTable:
    """The transport of every upstream. Equal upstreams share one, unequal ones never do."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self._tls_context: ssl.SSLContext | None = None
        self._transports: dict[str, OriginTransport] = {}
        self._dynamic: OrderedDict[str, tuple[Upstream, OriginTransport]] = OrderedDict()
        """Transports of upstreams that no snapshot names; the one used last stands last."""
        self._buffer = bytearray(READ_BUFFER_BYTES)

    def transport(self, upstream: Upstream) -> OriginTransport:
        """Return the transport of an upstream that some snapshot in use names."""
        return self._transports[upstream.key]

    async def any_transport(self, upstream: Upstream) -> OriginTransport:
        """Return the transport of any upstream: one made for a request, or of a snapshot that was replaced meanwhile.

        Of those that no snapshot names, the one used least recently makes room for a new one.
        """
        if (named := self._transports.get(upstream.key)) is not None:
            return named
        found = self._dynamic.pop(upstream.key, None)
        transport = self._open(upstream) if found is None else found[1]
        self._dynamic[upstream.key] = upstream, transport
        if len(self._dynamic) > MAX_DYNAMIC:
            _, (_, oldest) = self._dynamic.popitem(last=False)
            await oldest.aclose()
        return transport

    async def reconcile(self, snapshot: Snapshot) -> None:
        """Make the table that of a snapshot. Pools of unchanged upstreams stay; others close as they become idle.

        Raises:
            TrustRootsError: an upstream wants TLS, and no trust roots can be loaded.

        """
        wanted = {upstream.key: upstream for upstream in snapshot.upstreams}
        transports = {key: self._transports.get(key) or self._open(upstream) for key, upstream in wanted.items()}
        removed = [transport for key, transport in self._transports.items() if key not in wanted]
        proxies = [backend.dynamic for backend in snapshot.backends if backend.dynamic is not None]
        for proxy in proxies:
            self._open(proxy.for_host(_ANY_HOST, proxy.default_port))  # fails now, and not with the first request
        stays: OrderedDict[str, tuple[Upstream, OriginTransport]] = OrderedDict()
        for key, (upstream, transport) in self._dynamic.items():
            if any(proxy.for_host(upstream.host, upstream.port) == upstream for proxy in proxies):
                stays[key] = upstream, transport
            else:
                removed.append(transport)
        self._transports, self._dynamic = transports, stays
        for transport in removed:
            await transport.aclose()

    async def aclose(self) -> None:
        """Close every idle connection."""
        for transport in (*self._transports.values(), *(transport for _, transport in self._dynamic.values())):
            await transport.aclose()

    def _open(self, upstream: Upstream) -> OriginTransport:
        if upstream.tls is None:
            return OriginTransport(upstream, self._dialer, None, self._buffer)
        if self._tls_context is None:
            self._tls_context = client_context()
        return OriginTransport(upstream, self._dialer, self._tls_context, self._buffer)
