"""uvicorn's h11 protocol, with the connection and the request target published."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.listeners.uvicorn_connection import MAX_PIPELINED_BYTES, describe, end_soon, lost, refuse
from middleware.context import CONNECTION, TARGET, Departure
from middleware.errors import InvalidRequestError

if TYPE_CHECKING:
    import asyncio


class _TargetRecorder(h11.Connection):
    """Notes each request's target, which `uvicorn` splits before anybody can see it."""

    app_state: dict[str, Any]

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self.app_state[TARGET] = event.target
        return event


class _Flow(FlowControl):
    """Reads nothing more while much waits behind a request: uvicorn reads on whenever its body is asked for."""

    def __init__(self, protocol: H11GatewayProtocol) -> None:
        super().__init__(protocol.transport)
        self._protocol = protocol

    def resume_reading(self) -> None:
        conn = self._protocol.conn
        if conn.their_state is not h11.DONE or len(conn.trailing_data[0]) < MAX_PIPELINED_BYTES:
            super().resume_reading()


class H11GatewayProtocol(H11Protocol):
    """uvicorn's h11 protocol, with the connection and the request target published."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, CONNECTION: describe(self, transport, Departure())}
        limit = self.config.h11_max_incomplete_event_size
        self.conn = _TargetRecorder(h11.SERVER, *(() if limit is None else (limit,)))
        self.conn.app_state = self.app_state
        self.flow = _Flow(self)
        # uvicorn begins with the first answer: a caller may never send a request.
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def handle_events(self) -> None:
        super().handle_events()
        if self.conn.their_state in {h11.IDLE, h11.DONE}:
            self.flow.resume_reading()  # behind a request that is being served; else nobody would notice a departure

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        lost(self)
        # They hold this protocol, and all that TLS takes: see `HttpToolsGatewayProtocol`.
        self.cycle = self.flow = None  # type: ignore[assignment]

    def shutdown(self) -> None:
        if not self.transport.is_closing():  # closing twice makes asyncio forget the TLS connection, and never end it
            super().shutdown()
        end_soon(self)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's signature
        # After its colon, h11's message quotes the offending line, which may hold a credential.
        refuse(self, InvalidRequestError(str(sys.exc_info()[1]).partition(":")[0]))

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: the request is answered 501 and logged there."""
