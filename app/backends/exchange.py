"""What every transport offers: a lean exchange with one upstream, and httpx's interface on it."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import httpx

from app.backends.errors import (
    OriginConnectError,
    OriginConnectTimeoutError,
    OriginError,
    OriginPoolTimeoutError,
    OriginProtocolError,
    OriginReadTimeoutError,
    OriginRequestError,
    OriginWriteError,
    OriginWriteTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Mapping

    from config.attributes import RawHeaders
    from config.policy.upstream import Upstream

REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Safe methods (RFC 9110 section 9.2.1): sent again if a connection that was idle turns out to be dead."""
NO_TIMEOUTS: Mapping[str, float | None] = MappingProxyType({})


class Response(Protocol):
    """The answer to one exchange: its head, then its body in parts. Must be closed."""

    status: int
    headers: RawHeaders
    """Names lower-cased, as the origin sent them."""
    fields: Mapping[bytes, bytes]
    """The same by name, the last one of several."""

    @property
    def endpoint(self) -> str:
        """Address and port that was dialled."""

    @property
    def has_ended(self) -> bool:
        """Whether the answer is complete and all of its body was taken."""

    def take(self) -> bytes:
        """Return the part of the body that has come, empty if none has."""

    async def wait(self) -> None:
        """Wait for something to take, or the end.

        Raises:
            OriginProtocolError: the body is cut short.

        """

    async def read(self) -> bytes:
        """Return the next part of the body; empty at its end.

        Raises:
            OriginProtocolError: it is cut short.

        """

    def close(self) -> None:
        """End the exchange."""


class Transport(httpx.AsyncBaseTransport):
    """Exchanges with one upstream.

    `exchange` is what the gateway uses: raw header lists in and out, no copies. `handle_async_request` is the same
    behind httpx's interface, for everything that is not the hot path.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    @property
    @abstractmethod
    def is_idle(self) -> bool:
        """Whether no exchange runs, begins or waits."""

    @abstractmethod
    async def exchange(
        self,
        method: str,
        target: str,
        headers: RawHeaders,
        body: AsyncIterator[bytes] | None = None,
        timeouts: Mapping[str, float | None] = NO_TIMEOUTS,
    ) -> Response:
        """Send a request and return its answer once the head is there; the body goes on being sent meanwhile.

        Args:
            method: request method.
            target: origin-form target, sent as it is.
            headers: every field to send, `Host` and framing included.
            body: parts of the body, sent in chunks if the headers say `transfer-encoding`; none if there is no body.
            timeouts: seconds by httpx's names: `pool` and `connect` in place of the upstream's, `write` for each part
                of the body, `read` from the end of the request to the answer's head.

        Raises:
            OriginConnectError: no connection could be had; nothing was sent.
            OriginRequestError: a field or the target would break HTTP; nothing was sent.
            OriginProtocolError: the origin broke HTTP.
            OriginReadTimeoutError, OriginWriteTimeoutError: it did not answer, or take a part of the body, in time.
            Exception: whatever `body` raised.

        """

    @abstractmethod
    def close(self) -> None:
        """Close the idle connections. Running exchanges go on, and close theirs at their end."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send an httpx request. Its four timeouts are kept, and errors come as httpx's own."""
        origin = (request.url.host, request.url.port or (443 if request.url.scheme == "https" else 80))
        if origin != (self._upstream.host, self._upstream.port):
            raise httpx.UnsupportedProtocol("this transport has one origin only", request=request)
        headers = [(name.lower(), value) for name, value in request.headers.raw]
        framed = any(name in {b"content-length", b"transfer-encoding"} for name, _ in headers)
        body = aiter(request.stream) if framed and isinstance(request.stream, httpx.AsyncByteStream) else None
        target = request.url.raw_path.decode("ascii")
        timeouts: Mapping[str, float | None] = request.extensions.get("timeout", {})
        try:
            response = await self.exchange(request.method, target, headers, body, timeouts)
        except OriginError as error:
            raise _as_httpx_error(error, request) from error
        stream = _ResponseStream(response, request, timeouts.get("read"))
        return httpx.Response(response.status, headers=response.headers, stream=stream, request=request)

    async def aclose(self) -> None:
        """Do what `close` does."""
        self.close()


async def head_in_time(head: Awaitable[object], upload: asyncio.Task[None] | None, read_timeout: float) -> None:
    """Wait for an answer's head, with a limit that begins once the request is sent."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(read_timeout if upload is None else None) as deadline:
            if upload is not None:
                upload.add_done_callback(lambda _: deadline.reschedule(loop.time() + read_timeout))
            await head
    except TimeoutError:
        raise OriginReadTimeoutError("no answer within the read timeout") from None


async def read_within(response: Response, max_bytes: int) -> bytes:
    """Return the whole body of an answer.

    Raises:
        OriginProtocolError: it is cut short, or longer.

    """
    body = bytearray()
    while part := await response.read():
        body += part
        if len(body) > max_bytes:
            raise OriginProtocolError(f"the answer is longer than {max_bytes} bytes")
    return bytes(body)


async def in_one_part(body: bytes) -> AsyncIterator[bytes]:
    """Yield a body that is there already, as `Transport.exchange` takes it."""
    yield body


class _ResponseStream(httpx.AsyncByteStream):
    def __init__(self, response: Response, request: httpx.Request, read_timeout: float | None) -> None:
        self._response = response
        self._request = request
        self._read_timeout = read_timeout

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            try:
                async with asyncio.timeout(self._read_timeout):
                    part = await self._response.read()
            except TimeoutError as error:
                raise httpx.ReadTimeout("no answer within the read timeout", request=self._request) from error
            except OriginError as error:
                raise _as_httpx_error(error, self._request) from error
            if not part:
                return
            yield part

    async def aclose(self) -> None:
        self._response.close()


_HTTPX_ERRORS: tuple[tuple[type[OriginError], type[httpx.TransportError]], ...] = (
    (OriginConnectTimeoutError, httpx.ConnectTimeout),
    (OriginPoolTimeoutError, httpx.PoolTimeout),
    (OriginConnectError, httpx.ConnectError),
    (OriginReadTimeoutError, httpx.ReadTimeout),
    (OriginWriteTimeoutError, httpx.WriteTimeout),
    (OriginWriteError, httpx.WriteError),
    (OriginRequestError, httpx.LocalProtocolError),
    (OriginError, httpx.RemoteProtocolError),
)


def _as_httpx_error(error: OriginError, request: httpx.Request) -> httpx.TransportError:
    kind = next(theirs for ours, theirs in _HTTPX_ERRORS if isinstance(error, ours))
    return kind(str(error), request=request)
