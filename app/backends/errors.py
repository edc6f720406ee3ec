"""What can go wrong on the way to an origin. `app.forward` answers them, the httpx interface renames them."""

from __future__ import annotations


class OriginError(Exception):
    """An exchange with an origin failed. The message is for the log."""


class OriginConnectError(OriginError):
    """No connection: resolution, a refused address, TCP, TLS or the deadline. Nothing of the request was sent."""


class OriginConnectTimeoutError(OriginConnectError):
    """Resolution, TCP and TLS took longer than they may."""


class OriginPoolTimeoutError(OriginConnectError):
    """As many connections as there may be were in use, and none became free in time."""


class OriginProtocolError(OriginError):
    """The origin broke HTTP, or ended the connection where an answer was due."""


class OriginRefusedError(OriginProtocolError):
    """The origin says that it has not looked at the request: it may be sent again (RFC 9113 section 8.7)."""


class OriginWriteError(OriginProtocolError):
    """The connection ended while the request was being sent."""


class OriginWriteTimeoutError(OriginError):
    """The origin did not take a part of the body in time."""


class OriginReadTimeoutError(OriginError):
    """The answer did not come in time."""


class OriginRequestError(OriginError):
    """The request cannot be written as HTTP. Nothing of it was sent."""
