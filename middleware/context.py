"""The record of one request, shared by the layers through the ASGI scope."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from config.attributes import Downstream
from config.policy.normalisation import write_authority
from middleware.moments import new_uuid

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from starlette.types import Scope

    from config.attributes import Peer, RawHeaders, RequestAttributes
    from config.policy.decision import Decision
    from config.policy.upstream import Upstream
    from config.snapshot import Backend, Route, Snapshot
    from middleware.trace_context import Trace

CONNECTION = "egress.connection"
"""Key in `scope["state"]`: the `Connection` that a listener publishes."""
TARGET = "egress.target"
"""Key in `scope["state"]`: the request target as received, bytes."""
CONTEXT = "egress.context"
"""Key in the scope: the request's `RequestContext`. A guard that finds none fails closed, with a `KeyError`."""


class Departure:
    """Tells the request that is being served when its caller's connection is lost."""

    __slots__ = ("callback", "has_happened", "task")

    def __init__(self) -> None:
        self.has_happened = False
        self.callback: Callable[[], None] | None = None
        """Set by the request that wants to know; one request of a connection is served at a time."""
        self.task: asyncio.Task[None] | None = None
        """What serves that request, where the listener says so."""

    def happened(self) -> None:
        """Call back, if anybody waits."""
        self.has_happened = True
        if self.callback is not None:
            self.callback()


def _no_abort() -> None:
    raise ConnectionAbortedError("the server offers no way to abort this connection")


@dataclass(slots=True)
class Connection(Downstream):
    """What a listener knows about one downstream connection. Nothing of it can be set by a header."""

    tls: dict[str, Any] | None = field(default=None, repr=False)
    """The ASGI `tls` extension; none without TLS."""
    abort: Callable[[], None] = field(default=_no_abort, repr=False)
    """Ends the connection at once, so that the caller cannot take a broken answer for a whole one."""
    departure: Departure | None = field(default=None, repr=False)
    """None under a server that only tells through `receive`."""
    peer: Peer | None = field(init=False, default=None)
    """Who the certificate names, once the identity layer has judged it."""
    peername: str = field(init=False, repr=False)
    """The caller's address and port as text, an IPv6 address in brackets."""

    def __post_init__(self) -> None:
        self.peername = write_authority(self.address, self.port)


class RequestContext:
    """What is known about a request so far. Layers fill it; the access line and the spans are made from it."""

    __slots__ = (
        "aborted",
        "attempts",
        "attributes",
        "authority",
        "bytes_in",
        "bytes_out",
        "choice",
        "chunked",
        "connection",
        "content_length",
        "decision",
        "decision_id",
        "decoded",
        "endpoint",
        "error",
        "fields",
        "headers",
        "matched_prefix",
        "method",
        "peer",
        "queued_headers",
        "reason",
        "request_id",
        "route",
        "shadow",
        "snapshot",
        "start_time",
        "started",
        "status",
        "target",
        "trace",
        "upstream_offset",
        "upstream_seconds",
    )

    def __init__(  # noqa: PLR0915  one for each field
        self, snapshot: Snapshot, connection: Connection, fields: Mapping[bytes, bytes]
    ) -> None:
        """Begin the record of a request.

        Args:
            snapshot: the one this request begins with and keeps.
            connection: what it came on.
            fields: its header fields by name, the last one of several.

        """
        self.snapshot = snapshot
        self.connection = connection
        self.fields = fields
        self.started = time.perf_counter()
        self.start_time = time.time()
        """Unix time in seconds."""
        self.request_id = ""
        self.decision_id = new_uuid()
        self.trace: Trace | None = None
        """None: traces are off."""
        self.peer: Peer | None = None
        self.attributes: RequestAttributes | None = None
        self.decoded: str | None = None
        """The path's other reading, where it holds `%2F` and the route allows that: policy must allow both."""
        self.shadow: tuple[str, ...] = ()
        """Rules in shadow mode that would have denied the request."""
        self.route: Route | None = None
        self.matched_prefix: str | None = "/"
        """The `PathPrefix` that chose the route, which a rewrite can replace; none if something else did."""
        self.method = ""
        """Method for the origin."""
        self.target = ""
        """Path and query for the origin: the canonical ones of the request, until policy rewrites them."""
        self.authority: bytes | None = None
        """`Host` for the origin, where policy says so; none: as the backend's `hostRewrite` has it."""
        self.headers: RawHeaders = []
        """Headers for the origin: end-to-end ones only, rewritten by policy; `Host` and framing are not among them."""
        self.content_length: int | None = None
        """Length of the request's body as its head says."""
        self.chunked = False
        """Whether the request's body comes in chunks."""
        self.queued_headers: RawHeaders | None = None
        """Header fields for whichever answer is given, its own of these names replaced; of `Vary`, added to it."""
        self.decision: Decision | None = None
        self.status: int | None = None
        """Status sent to the caller; none if the answer never began."""
        self.aborted = False
        """Whether the answer began and did not come to its end."""
        self.reason = ""
        """Slug of the error that answered the request."""
        self.error = ""
        """For the log, never for the caller."""
        self.bytes_in = 0
        self.bytes_out = 0
        self.attempts = 0
        """Tries after the first one."""
        self.choice: tuple[Backend, Upstream | None] | None = None
        """Backend and origin of the last attempt, where the route leaves a choice; no origin: it has none."""
        self.endpoint: str | None = None
        """Address and port that was dialled."""
        self.upstream_offset: float | None = None
        """From the beginning of the request to asking for a connection to the origin. Unit: seconds."""
        self.upstream_seconds: float | None = None
        """From asking for a connection to the origin's response head."""

    @property
    def is_allowed(self) -> bool:
        """Whether policy let the request through; if it was not asked, whether anything else stopped it."""
        return self.decision.allowed if self.decision is not None else not self.reason

    @property
    def verdict(self) -> str:
        """Why policy decided so; a request that policy let through can still fail for another reason."""
        decision, problem = self.decision, self.reason
        return decision.reason if decision is not None and not (problem and decision.allowed) else problem

    def routed(self) -> tuple[Route, RequestAttributes]:
        """Return the route and the attributes that policies see.

        Raises:
            RuntimeError: the routing layer has not run. A guard that meets this answers 500, it lets nothing pass.

        """
        if self.route is None or self.attributes is None:
            raise RuntimeError("a layer was reached before routing")
        return self.route, self.attributes

    def other_reading(self) -> RequestAttributes | None:
        """Return the attributes with the other reading of the path, and with all that is known by now; none if none."""
        if self.decoded is None or self.attributes is None:
            return None
        return replace(self.attributes, path=self.decoded)


def connection_of(scope: Scope) -> Connection:
    """Return what the listener published; else, under another server, what the plain scope says."""
    published: Connection | None = scope.get("state", {}).get(CONNECTION)
    if published is not None:
        return published
    address, port = scope.get("client") or ("", 0)
    local_address, local_port = scope.get("server") or ("", 0)
    return Connection(
        address, port, local_address, local_port or 0, scope["scheme"], scope.get("extensions", {}).get("tls")
    )


def target_of(scope: Scope) -> bytes:
    """Return the request target as received; without our listener, as far as the scope still shows it."""
    target: bytes | None = scope.get("state", {}).get(TARGET)
    if target is not None:
        return target
    query: bytes = scope["query_string"]
    raw_path: bytes = scope["raw_path"]
    return raw_path + b"?" + query if query else raw_path
