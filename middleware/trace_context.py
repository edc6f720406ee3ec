"""W3C Trace Context: what a caller's `traceparent` and `tracestate` say.

Source: https://www.w3.org/TR/trace-context-2/. What is malformed is ignored, so that the request begins a new trace.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SAMPLED = 0x01
RANDOM = 0x02
"""The trace id was made at random (section 3.2.2.5)."""
_KNOWN_FLAGS = SAMPLED | RANDOM

MAX_TRACESTATE = 512
"""Characters. Section 3.3 asks for at least as many; a longer list is dropped as a whole."""
MAX_MEMBERS = 32
"""Section 3.3.1."""
_MAX_TRACEPARENT = 512
"""Bytes of a `traceparent` of a later version, which may be longer than ours."""

# Section 3.2.2: version, trace-id, parent-id, trace-flags; only a later version than 00 may go on, after a dash.
_TRACEPARENT = re.compile(
    rb"[ \t]*(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:(-.*)|[ \t]*)",
    re.DOTALL,
)
# Section 3.3.1: a simple key of up to 256 characters, or tenant@system; the value is printable ASCII.
_MEMBER = re.compile(
    rb"([a-z][_0-9a-z\-*/]{0,255}|[a-z0-9][_0-9a-z\-*/]{0,240}@[a-z][_0-9a-z\-*/]{0,13})"
    rb"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)


class Parent(NamedTuple):
    """The caller's span."""

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16 hexadecimal digits."""
    flags: int
    tracestate: str
    """Members in their order, the newest first; empty if there is none, or none that can be used."""


class Trace:
    """A request's place in a trace."""

    __slots__ = ("flags", "parent_id", "sampled", "span_id", "trace_id", "tracestate")

    def __init__(self, trace_id: str, span_id: str, parent_id: str, flags: int, tracestate: str) -> None:
        self.trace_id = trace_id
        """32 hexadecimal digits."""
        self.span_id = span_id
        """16 hexadecimal digits: the SERVER span's."""
        self.parent_id = parent_id
        """The caller's span; empty if this request begins the trace."""
        self.flags = flags
        """As in `traceparent`."""
        self.tracestate = tracestate
        self.sampled = bool(flags & SAMPLED)
        """Whether the request's spans are wanted."""


def extract(headers: Iterable[tuple[bytes, bytes]]) -> Parent | None:
    """Return the caller's span, if its headers name exactly one."""
    traceparent: bytes | None = None
    tracestate: list[bytes] | None = None
    for name, value in headers:
        # Compared by length first: a request has a dozen fields, and most have neither.
        if len(name) == 11 and name == b"traceparent":  # noqa: PLR2004  the length of the name
            if traceparent is not None:
                return None  # two callers cannot both be the parent
            traceparent = value
        elif len(name) == 10 and name == b"tracestate":  # noqa: PLR2004
            tracestate = [value] if tracestate is None else [*tracestate, value]
    if traceparent is None or len(traceparent) > _MAX_TRACEPARENT:
        return None
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if more is not None and version == b"00":
        return None
    state = parse_tracestate(tracestate) if tracestate else ""
    return Parent(trace_id.decode(), span_id.decode(), int(flags, 16) & _KNOWN_FLAGS, state)


def parse_tracestate(fields: Sequence[bytes]) -> str:
    """Return the members of all `tracestate` fields as one list; empty if they break a rule of section 3.3."""
    if sum(map(len, fields)) + len(fields) - 1 > MAX_TRACESTATE:
        return ""
    members: dict[bytes, bytes] = {}
    for field in fields:
        for part in field.split(b","):
            member = part.strip(b" \t")
            if not member:
                continue  # section 3.3.1 allows empty members
            match = _MEMBER.fullmatch(member)
            if match is None or match[1] in members:
                return ""
            members[match[1]] = member
    return b",".join(members.values()).decode() if len(members) <= MAX_MEMBERS else ""
