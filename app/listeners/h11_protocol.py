"""uvicorn's h11 protocol, with the connection and the request target published."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import h11
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


class H11GatewayProtocol(H11Protocol):
    """uvicorn's h11 protocol, with the connection and the request target published."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, CONNECTION: describe(self, transport, Departure())}
        limit = self.config.h11_max_incomplete_event_size
        self.conn = _TargetRecorder(h11.SERVER, *(() if limit is None else (limit,)))
        self.conn.app_state = self.app_state

    def handle_events(self) -> None:
        super().handle_events()
        if self.conn.their_state is h11.DONE and len(self.conn.trailing_data[0]) < MAX_PIPELINED_BYTES:
            self.flow.resume_reading()  # behind a request that is being served; else nobody would notice a departure

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        lost(self)

    def shutdown(self) -> None:
        if not self.transport.is_closing():  # closing twice makes asyncio forget the TLS connection, and never end it
            super().shutdown()
        end_soon(self)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's signature
        # After its colon, h11's message quotes the offending line, which may hold a credential.
        refuse(self, InvalidRequestError(str(sys.exc_info()[1]).partition(":")[0]))

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: the request is answered 501 and logged there."""
