"""Bodies that policy writes, and how much of one may be held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from config.cel import EvaluationError
from config.cel.json_text import to_json
from config.cel.values import Optional

if TYPE_CHECKING:
    from config.attributes import RawHeaders, RequestAttributes
    from config.cel import Expression

DESCRIBES_CONTENT = frozenset(
    {b"content-encoding", b"content-md5", b"content-digest", b"repr-digest", b"digest", b"etag"}
)
"""Fields that are wrong of any other content than they came with: RFC 9110 sections 8.4 and 8.8.3, RFC 9530."""


@dataclass(frozen=True, slots=True)
class BodyValue:
    """An expression that gives a body."""

    expression: Expression | None
    """None: it did not compile, which fails on every message."""

    def content(self, attributes: RequestAttributes) -> bytes:
        """Return the body: a string or bytes as they are, any other value as JSON.

        Raises:
            EvaluationError: the expression failed, or its value cannot be written.

        """
        if self.expression is None:
            raise EvaluationError("the expression does not compile")
        return content_of(self.expression.value(attributes))


def content_of(value: Any) -> bytes:
    """Return a CEL value as a body.

    Raises:
        EvaluationError: there is no JSON for it, or it holds half of a surrogate pair.

    """
    if type(value) is Optional:
        value = value.content
    if type(value) is bytes:
        return value
    text = value if type(value) is str else to_json(value)
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise EvaluationError("a string that is no Unicode text") from None


def without_description(headers: RawHeaders) -> RawHeaders:
    """Return the fields of a message whose body is replaced."""
    return [pair for pair in headers if pair[0] not in DESCRIBES_CONTENT]


@dataclass(frozen=True, slots=True)
class BodyBuffer:
    """`buffer.request` or `buffer.response`: the body is read whole before it is passed on."""

    max_bytes: int
    fails_open: bool = False
    """A larger body is streamed; otherwise it is refused."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """`traffic.buffer`."""

    request: BodyBuffer | None = None
    response: BodyBuffer | None = None
