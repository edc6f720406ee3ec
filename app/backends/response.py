"""One response as its bytes arrive: head, body, its end, and whatever is wrong with it. No I/O."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import httptools

from app.backends.errors import OriginProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from config.attributes import RawHeaders

MAX_HEAD_BYTES = 65_536
MAX_HEADER_FIELDS = 200
MAX_INTERIM_RESPONSES = 16
"""1xx answers before the real one."""

_FIRST_FINAL_STATUS, _LAST_STATUS = 200, 599
"""Source: RFC 9110 section 15."""


class ResponseReader:
    """Reads the answer to one request. For the next one there is a new one: no state outlives an exchange."""

    __slots__ = (
        "_delimited",
        "_head_bytes",
        "_interim",
        "_is_head",
        "_overhead_bytes",
        "_parser",
        "_parts",
        "body_bytes",
        "error",
        "fields",
        "has_head",
        "headers",
        "is_complete",
        "keep_alive",
        "status",
    )

    def __init__(self, method: str) -> None:
        """Prepare to read.

        Args:
            method: the request's, as an answer to HEAD has no body.

        """
        self.status = 0
        self.headers: RawHeaders = []
        """Names lower-cased."""
        self.fields: Mapping[bytes, bytes] = {}
        """The same by name, the last one of several."""
        self.has_head = False
        """Whether status and headers are those of a final response."""
        self.is_complete = False
        """Whether the whole answer has come."""
        self.keep_alive = False
        """Whether the connection may carry another exchange, as far as the answer says."""
        self.error: Exception | None = None
        """What ended the exchange before its time."""
        self.body_bytes = 0
        """Body that came and was not taken."""
        self._parts: list[bytes] = []
        self._is_head = method == "HEAD"
        self._head_bytes = 0
        self._overhead_bytes = 0
        self._interim = 0
        self._delimited = False
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    def feed(self, data: memoryview) -> None:
        """Take bytes as they come. What is wrong with them becomes the `error`."""
        parser = self._parser
        if parser is None:
            self._fail("bytes after the exchange")
            return
        self._overhead_bytes += len(data)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail("the origin switched protocols")
        except httptools.HttpParserError as error:
            self._fail(f"the origin broke HTTP: {type(error).__name__}")
        # The parser gathers a field, and a trailer, until its end: only what came in can bound it.
        if self._overhead_bytes > MAX_HEAD_BYTES and not self.is_complete:
            self._fail("the response head or a trailer is too large")

    def end(self) -> None:
        """Take the orderly end of the stream: that of a body without a length. Source: RFC 9112 section 6.3, item 8."""
        if self.has_head and not self._delimited and self.error is None:
            self.is_complete = True

    def fail(self, error: Exception) -> None:
        """End the exchange with an error; the first one counts."""
        if self.error is None:
            self.error = error

    def close(self) -> None:
        """Let go of the parser: the two hold each other, and would wait for Python's search for such cycles."""
        self._parser = None

    def take(self) -> bytes:
        """Return the body that has come and was not taken yet."""
        parts = self._parts
        if not parts:
            return b""
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self.body_bytes = 0
        return data

    # httptools callbacks

    def on_message_begin(self) -> None:
        """Start of a message; a second one in the same exchange may only follow a 1xx."""
        if self.has_head:
            self._fail("bytes after a complete answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a field; trailer fields are dropped."""
        if not self.has_head:
            self.headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """Hand out a final head; skip an interim one."""
        parser = self._parser
        if parser is None or self.error is not None or self.has_head:
            return
        status, headers = parser.get_status_code(), self.headers
        if len(headers) > MAX_HEADER_FIELDS or self._overhead_bytes > MAX_HEAD_BYTES:
            self._head_bytes += sum(map(len, chain.from_iterable(headers))) + 4 * len(headers)
            if len(headers) > MAX_HEADER_FIELDS or self._head_bytes > MAX_HEAD_BYTES:
                self._fail("the response head is too large")
                return
        if not _FIRST_FINAL_STATUS <= status <= _LAST_STATUS:
            self._skip_interim(status)
            return
        self.fields = fields = dict(headers)
        coding = fields.get(b"transfer-encoding")
        if coding is not None and (coding.lower() != b"chunked" or _occurs_twice(headers, b"transfer-encoding")):
            self._fail("a transfer coding other than chunked")  # nobody asked for one
            return
        self._delimited = coding is not None or b"content-length" in fields
        self.status = status
        self.has_head = True
        self._overhead_bytes = 0
        if self._is_head:
            # The parser expects the body that the fields describe; none comes (RFC 9112 section 6.3).
            # It would swallow the first line of a chunked one, so that nobody could tell whether bytes are left over.
            self.keep_alive = parser.should_keep_alive() and coding is None
            self.is_complete = True

    def _skip_interim(self, status: int) -> None:
        self._interim += 1
        if not 100 <= status <= 199 or status == 101 or self._interim > MAX_INTERIM_RESPONSES:  # noqa: PLR2004  1xx, 101
            self._fail(f"status {status} or too many interim answers")
        self.headers = []

    def on_body(self, data: bytes) -> None:
        """Queue a part of the body."""
        if self.is_complete:
            self._fail("bytes after a complete answer")
            return
        self._overhead_bytes = 0
        self._parts.append(data)
        self.body_bytes += len(data)

    def on_message_complete(self) -> None:
        """End of the message: of a final one, the answer is whole."""
        if self._parser is not None and self.has_head and not self.is_complete:
            self.keep_alive = self._parser.should_keep_alive()
            self.is_complete = True

    def _fail(self, message: str) -> None:
        self.fail(OriginProtocolError(message))


def _occurs_twice(headers: RawHeaders, wanted: bytes) -> bool:
    return sum(name == wanted for name, _ in headers) > 1
