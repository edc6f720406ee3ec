"""One exchange on a connection that carries several: the request's fields, and the answer as its frames arrive."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final, Protocol

from hpack import NeverIndexedHeaderTuple

from app.backends.errors import OriginProtocolError, OriginRequestError
from app.backends.response import MAX_HEADER_FIELDS, MAX_INTERIM_RESPONSES
from middleware.framing import CONTROLS, NO_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from config.attributes import RawHeaders

_NOT_SENT: Final = frozenset(
    {b"connection", b"host", b"http2-settings", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding"}
    | {b"upgrade"}
)
"""Of HTTP/1.1's connections only (RFC 9113 section 8.2.2); `Host` becomes `:authority`."""
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_STATUS = re.compile(rb"[1-5][0-9]{2}")
_NOT_IN_PSEUDO = CONTROLS + b" \t"
_FIRST_FINAL_STATUS = 200
_SWITCHING_PROTOCOLS = 101
_MAX_LENGTH_DIGITS = 18
"""Longer ones overflow some reader's 64 bits."""


def request_fields(method: str, target: str, headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """Return the fields of a request, pseudo-fields first.

    Callers with different identities share a connection, and its compression. No field is put into the table that
    they share, so that none can be guessed by what another one's request comes to (RFC 7541 section 7.1).

    Raises:
        OriginRequestError: they would break HTTP.

    """
    authority = next((value for name, value in headers if name == b"host"), b"")
    fields = [
        (b":method", method.encode("ascii")),
        (b":scheme", b"https"),
        (b":authority", authority),
        (b":path", target.encode("ascii")),
    ]
    values = [value for _, value in fields]
    if not all(values) or any(value.translate(None, _NOT_IN_PSEUDO) != value for value in values):
        raise OriginRequestError("the method, host or target is empty, or holds a control character or a space")
    for name, value in headers:
        if name in _NOT_SENT:
            continue
        if not _NAME.fullmatch(name) or value.translate(None, CONTROLS) != value:
            raise OriginRequestError("a header field's name is no token, or its value holds a control character")
        fields.append(NeverIndexedHeaderTuple(name, value.strip(b" \t")))
    return fields


class StreamOwner(Protocol):
    """What a stream asks of its connection."""

    endpoint: str

    def acknowledge(self, stream: Http2Stream, amount: int) -> None:
        """Let the origin send as much again."""

    async def send(self, stream: Http2Stream, data: bytes) -> None:
        """Send a part of the request's body."""

    def finish(self, stream: Http2Stream) -> None:
        """End the request."""

    def release(self, stream: Http2Stream) -> None:
        """End the exchange, whatever its state."""


class Http2Stream:
    """One exchange. It holds at most a window of the answer's body: no more is asked for until that is taken."""

    def __init__(self, connection: StreamOwner, number: int, method: str, *, sent: bool) -> None:
        """Prepare for the answer.

        Args:
            connection: what it belongs to.
            number: the stream's.
            method: the request's, as an answer to HEAD has no body.
            sent: whether the request has no body.

        """
        self.connection = connection
        self.number = number
        self.sent = sent
        """Whether the whole request was sent."""
        self.status = 0
        self.headers: RawHeaders = []
        self.fields: Mapping[bytes, bytes] = {}
        self.has_head = False
        self.is_complete = False
        self.error: Exception | None = None
        self.body = bytearray()
        """What came and was not taken."""
        self.reader: asyncio.Future[None] | None = None
        self.writer: asyncio.Future[None] | None = None
        """Waits for the origin to take more of the request's body."""
        self._is_head = method == "HEAD"
        self._interim = 0
        self._received_bytes = 0

    # what arrives

    def on_interim(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Skip a 1xx answer."""
        self._interim += 1
        status = next((value for name, value in fields if name == b":status"), b"")
        if self._interim > MAX_INTERIM_RESPONSES or status == b"%d" % _SWITCHING_PROTOCOLS:
            self.fail(OriginProtocolError(f"status {status.decode('latin-1')} or too many interim answers"))

    def on_head(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Take the head of the final answer."""
        status = b""
        headers: RawHeaders = []
        for name, value in fields:
            if name == b":status":
                status = value
            elif not _NAME.fullmatch(name) or value.translate(None, CONTROLS) != value:
                self.fail(OriginProtocolError("the response head holds a field that is none"))
                return
            else:
                headers.append((bytes(name), value.strip(b" \t")))
        if not _STATUS.fullmatch(status) or int(status) < _FIRST_FINAL_STATUS:
            self.fail(OriginProtocolError("the response head has no status"))
        elif len(headers) > MAX_HEADER_FIELDS:
            self.fail(OriginProtocolError("the response head is too large"))
        elif not _is_framed_once(headers):
            self.fail(OriginProtocolError("the response head has several lengths, or one that is no number"))
        else:
            self.status, self.headers, self.fields = int(status), headers, dict(headers)
            self.has_head = True
            self._wake()

    def on_data(self, data: bytes) -> None:
        """Keep a part of the body until it is taken. Of an answer that has none, it is dropped."""
        if self.status in NO_LENGTH:
            self.connection.acknowledge(self, len(data))
            return
        self._received_bytes += len(data)
        self.body += data
        self._wake()

    def on_end(self) -> None:
        """End the answer, if all of it has come."""
        length = self.fields.get(b"content-length")
        # What has no body may say how long it would be (RFC 9110 section 8.6).
        has_body = not self._is_head and self.status not in NO_LENGTH
        if not self.has_head or (has_body and length is not None and length != b"%d" % self._received_bytes):
            self.fail(OriginProtocolError("the answer ended before its end"))
            return
        self.is_complete = True
        self._wake()
        self.wake_writer()

    def fail(self, error: Exception) -> None:
        """End the exchange with an error; the first one counts, and none after a complete answer."""
        if self.error is None and not self.is_complete:
            self.error = error
        self._wake()
        self.wake_writer()

    def wake_writer(self) -> None:
        """Let the upload look again whether it may go on."""
        if self.writer is not None and not self.writer.done():
            self.writer.set_result(None)

    # the answer, as `app.backends.exchange.Response` describes it

    @property
    def has_ended(self) -> bool:
        """Whether the answer is complete and all of its body was taken."""
        return self.is_complete and not self.body

    async def read_head(self) -> None:
        """Wait for the head.

        Raises:
            OriginProtocolError: it is malformed, too large, or does not come.

        """
        while not self.has_head:
            if self.error is not None:
                raise self.error
            await self._wait()

    def take(self) -> bytes:
        """Return the part of the body that has come, empty if none has; the origin may send as much again."""
        if not self.body:
            return b""
        data = bytes(self.body)
        self.body.clear()
        self.connection.acknowledge(self, len(data))
        return data

    async def wait(self) -> None:
        """Wait for something to take, or the end.

        Raises:
            OriginProtocolError: the body is cut short.

        """
        while not self.body and not self.is_complete:
            if self.error is not None:
                raise self.error
            await self._wait()

    async def _wait(self) -> None:
        self.reader = asyncio.get_running_loop().create_future()
        await self.reader

    def _wake(self) -> None:
        if self.reader is not None and not self.reader.done():
            self.reader.set_result(None)


def _is_framed_once(headers: RawHeaders) -> bool:
    """Tell whether at most one length is stated, in digits: `h2` looks at the first one only, and not after HEAD."""
    lengths = [value for name, value in headers if name == b"content-length"]
    return not lengths or (len(lengths) == 1 and lengths[0].isdigit() and len(lengths[0]) <= _MAX_LENGTH_DIGITS)
