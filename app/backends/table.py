"""Upstream to transport: the host-keyed backend table's other half."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from app.backends.connection import READ_BUFFER_BYTES
from app.backends.errors import OriginConnectError
from app.backends.exchange import NO_TIMEOUTS, Transport
from app.backends.http2 import Http2Transport
from app.backends.tls import TlsSettingsError, TrustRootsError, client_context
from app.backends.transport import OriginTransport

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping

    from app.backends.dial import Dialer
    from app.backends.exchange import Response
    from config.attributes import RawHeaders
    from config.policy.upstream import Upstream, UpstreamTls
    from config.snapshot import Snapshot

MAX_ON_DEMAND = 1024
"""Transports of upstreams that no snapshot names, of which callers make as many as there are hosts to ask for."""


class BackendTable:
    """The transport of every upstream. Equal upstreams share one, unequal ones never do."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self._contexts: dict[str, ssl.SSLContext] = {}
        """By `UpstreamTls.context_key`."""
        self._transports: dict[str, Transport] = {}
        """Those of the snapshot."""
        self._on_demand: OrderedDict[str, tuple[Upstream, Transport]] = OrderedDict()
        """Those of upstreams that it does not name; the one used last stands last."""
        self._buffer = bytearray(READ_BUFFER_BYTES)

    def transport(self, upstream: Upstream) -> Transport:
        """Return the transport of an upstream; one that no snapshot names is given one now.

        Raises:
            OriginConnectError: it wants TLS, and no trust roots can be loaded.

        """
        try:
            return self._transports[upstream.key]
        except KeyError:
            return self._made_on_demand(upstream)

    async def reconcile(self, snapshot: Snapshot) -> None:
        """Make the table that of a snapshot. Pools of unchanged upstreams stay; others close as they become idle.

        Raises:
            TrustRootsError: an upstream wants TLS, and no trust roots can be loaded.

        """
        wanted = {upstream.key: upstream for upstream in snapshot.upstreams}
        transports = {key: self._transports.get(key) or self._opened(upstream) for key, upstream in wanted.items()}
        removed = [transport for key, transport in self._transports.items() if key not in wanted]
        # One that was made on demand goes as well: what is asked for next time is the snapshot's.
        removed += [self._on_demand.pop(key)[1] for key in wanted if key in self._on_demand]
        self._transports = transports
        self._forget_contexts(wanted)
        for transport in removed:
            transport.close()

    async def aclose(self) -> None:
        """Close every idle connection."""
        for transport in self._transports.values():
            transport.close()
        for _, transport in self._on_demand.values():
            transport.close()

    def _made_on_demand(self, upstream: Upstream) -> Transport:
        if (known := self._on_demand.get(upstream.key)) is not None:
            self._on_demand.move_to_end(upstream.key)
            return known[1]
        try:
            transport = self._opened(upstream)
        except TrustRootsError as error:
            raise OriginConnectError(f"{upstream.host}: {error}") from error
        if len(self._on_demand) >= MAX_ON_DEMAND:
            self._make_room()
        self._on_demand[upstream.key] = (upstream, transport)
        return transport

    def _make_room(self) -> None:
        """Close the one that was used longest ago, of the idle ones if there are any: their callers lose nothing."""
        idle = next((key for key, (_, transport) in self._on_demand.items() if transport.is_idle), None)
        _, transport = self._on_demand.pop(next(iter(self._on_demand)) if idle is None else idle)
        transport.close()

    def _forget_contexts(self, wanted: Mapping[str, Upstream]) -> None:
        """Let go of contexts that no upstream uses, and of the keys in them."""
        upstreams = [*wanted.values(), *(upstream for upstream, _ in self._on_demand.values())]
        used = {upstream.tls.context_key for upstream in upstreams if upstream.tls is not None}
        self._contexts = {key: context for key, context in self._contexts.items() if key in used}

    def _opened(self, upstream: Upstream) -> Transport:
        try:
            context = None if upstream.tls is None else self._context(upstream.tls)
        except TlsSettingsError as error:
            # Only OpenSSL could tell. The other upstreams are served.
            return UnusableTransport(upstream, str(error))
        kind = Http2Transport if upstream.http2 else OriginTransport
        return kind(upstream, self._dialer, context, self._buffer)

    def _context(self, tls: UpstreamTls) -> ssl.SSLContext:
        context = self._contexts.get(tls.context_key)
        if context is None:
            context = self._contexts[tls.context_key] = client_context(tls)
        return context


class UnusableTransport(Transport):
    """Stands for an upstream that cannot be connected to, and says why at every exchange."""

    def __init__(self, upstream: Upstream, reason: str) -> None:
        super().__init__(upstream)
        self._reason = reason

    @property
    def is_idle(self) -> bool:
        return True

    async def exchange(
        self,
        method: str,  # noqa: ARG002  nothing is sent
        target: str,  # noqa: ARG002
        headers: RawHeaders,  # noqa: ARG002
        body: AsyncIterator[bytes] | None = None,  # noqa: ARG002
        timeouts: Mapping[str, float | None] = NO_TIMEOUTS,  # noqa: ARG002
    ) -> Response:
        raise OriginConnectError(f"{self._upstream.host}: {self._reason}")

    def close(self) -> None:
        """Nothing is open."""
