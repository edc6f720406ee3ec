"""What can go wrong on the way to an origin. `app.forward` answers them, the httpx interface renames them."""

from __future__ import annotations


class OriginError(Exception):
    """An exchange with an origin failed. The message is for the log."""


class OriginConnectError(OriginError):
    """No connection: resolution, a refused address, TCP, TLS or the deadline. Nothing of the request was sent."""


class OriginProtocolError(OriginError):
    """The origin broke HTTP, or ended the connection where an answer was due."""


class OriginWriteError(OriginProtocolError):
    """The connection ended while the request was being sent."""
