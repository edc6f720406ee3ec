"""Header rewriting: replace, add, set and remove with CEL values; add, set and remove with fixed ones."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from config.attributes import MAX_CACHED_PEERS, RequestAttributes
from config.cel import EvaluationError
from config.cel.analysis import depends_on_peer_only, is_constant

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from config.attributes import Peer, RawHeaders
    from config.cel import Expression

_INVALID_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""Controls but the tab: CR, LF and NUL would end the field (RFC 9110 section 5.5)."""

DECISION_ID = b"x-egress-decision-id"
"""Tells the gateway's own answers from an origin's."""
FRAMING_AND_HOP_BY_HOP = frozenset(
    {
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"upgrade",
    }
)
"""Names that no policy may write: they say where a message goes or ends, not what it means."""


@dataclass(frozen=True, slots=True)
class HeaderValue:
    """A header and the expression that gives its value."""

    name: bytes
    """Lower-cased."""
    expression: Expression | None
    """None: it did not compile, which removes the header like any failure."""
    _of_peer: Callable[[Peer], bytes | None] | None = field(init=False, repr=False, default=None)
    """The value for a caller, kept, where nothing else of a request is read."""

    def __post_init__(self) -> None:
        tree = self.expression.tree if self.expression is not None else None
        if tree is not None and (is_constant(tree) or depends_on_peer_only(tree)):
            object.__setattr__(self, "_of_peer", functools.lru_cache(MAX_CACHED_PEERS)(self._for_peer))

    def evaluate(self, attributes: RequestAttributes) -> bytes | None:
        """Return the value, or none where the expression fails, is null or gives no valid header value."""
        if self._of_peer is not None:
            return self._of_peer(attributes.peer)
        return self._evaluate(attributes)

    def _for_peer(self, peer: Peer) -> bytes | None:
        return self._evaluate(RequestAttributes(peer, "", "", ""))

    def _evaluate(self, attributes: RequestAttributes) -> bytes | None:
        if self.expression is None:
            return None
        try:
            return field_value(self.expression.evaluate(attributes))
        except EvaluationError:
            return None


@dataclass(frozen=True, slots=True)
class HeaderRewrite:
    """The header fields of a `transformation`: what is replaced, added, set and removed, in this order.

    An expression that fails removes the header, and no copy that was there of a name which policy sets, replaces or
    removes survives, in whichever spelling: a spoofed identity is worse than none.
    """

    add: tuple[HeaderValue, ...] = ()
    set: tuple[HeaderValue, ...] = ()
    remove: tuple[bytes, ...] = ()
    replace: tuple[HeaderValue, ...] = ()
    """Set where the message has the header, in whichever spelling."""
    _owned: frozenset[bytes] = field(init=False, repr=False)
    """Folded names that policy sets, replaces or removes."""
    _adds: tuple[HeaderValue, ...] = field(init=False, repr=False)
    """Additions that no set or remove of the same name undoes."""
    _sets: tuple[HeaderValue, ...] = field(init=False, repr=False)
    """The last set of each name that is not removed."""
    _replaces: tuple[HeaderValue, ...] = field(init=False, repr=False)
    """The last replacement of each name that is neither set nor removed."""

    def __post_init__(self) -> None:
        undone = {*(header.name for header in self.set), *self.remove}
        own = {*undone, *(header.name for header in self.replace)}
        object.__setattr__(self, "_owned", frozenset(map(fold_name, own)))
        object.__setattr__(self, "_adds", tuple(header for header in self.add if header.name not in undone))
        object.__setattr__(self, "_sets", _last_of_each(self.set, frozenset(self.remove)))
        object.__setattr__(self, "_replaces", _last_of_each(self.replace, frozenset(undone)))

    def __bool__(self) -> bool:
        """Tell whether it does anything."""
        return bool(self.add or self._owned)

    @property
    def expressions(self) -> Iterator[Expression]:
        """Every expression, for whoever must know what is read."""
        headers = (*self.replace, *self.add, *self.set)
        return (header.expression for header in headers if header.expression is not None)

    @property
    def reads_body(self) -> bool:
        """Whether some value is made from the request's body."""
        return any(expression.reads_body for expression in self.expressions)

    def apply(self, headers: Sequence[tuple[bytes, bytes]], attributes: RequestAttributes) -> RawHeaders:
        """Return the rewritten headers. Every expression sees the message as it came."""
        # What policy adds is kept apart until the end, so that dropping a caller's copy cannot drop it.
        kept = without_fields(headers, self._owned)
        written: RawHeaders = self._replaced(headers, attributes) if self._replaces else []
        for header in self._adds:
            value = header.evaluate(attributes)
            if value is None:
                kept = without_fields(kept, (fold_name(header.name),))
                written = [pair for pair in written if pair[0] != header.name]
            else:
                written.append((header.name, value))
        for header in self._sets:
            value = header.evaluate(attributes)
            if value is not None:
                written.append((header.name, value))
        return kept + written

    def _replaced(self, headers: Sequence[tuple[bytes, bytes]], attributes: RequestAttributes) -> RawHeaders:
        present = {fold_name(name) for name, _ in headers}
        there = (header for header in self._replaces if fold_name(header.name) in present)
        values = ((header.name, header.evaluate(attributes)) for header in there)
        return [(name, value) for name, value in values if value is not None]


def _last_of_each(headers: tuple[HeaderValue, ...], undone: frozenset[bytes]) -> tuple[HeaderValue, ...]:
    last = {header.name: header for header in headers if header.name not in undone}
    return tuple(header for header in headers if last.get(header.name) is header)


@dataclass(frozen=True, slots=True)
class HeaderModifier:
    """`headerModifiers`, and the header filters of a route: fixed values, added, set and removed in this order.

    No copy that was there of a name which is set or removed survives, in whichever spelling.
    """

    add: tuple[tuple[bytes, bytes], ...] = ()
    """Lower-cased name and value."""
    set: tuple[tuple[bytes, bytes], ...] = ()
    remove: tuple[bytes, ...] = ()
    _owned: frozenset[bytes] = field(init=False, repr=False)
    _written: RawHeaders = field(init=False, repr=False)

    def __post_init__(self) -> None:
        undone = {*(name for name, _ in self.set), *self.remove}
        added = [pair for pair in self.add if pair[0] not in undone]
        last = {name: value for name, value in self.set if name not in self.remove}
        object.__setattr__(self, "_owned", frozenset(map(fold_name, undone)))
        object.__setattr__(self, "_written", [*added, *last.items()])

    def apply(self, headers: Sequence[tuple[bytes, bytes]]) -> RawHeaders:
        """Return the modified headers."""
        return without_fields(headers, self._owned) + self._written


def fold_name(name: bytes) -> bytes:
    """Return a name as CGI-like origins see it, where `X_Caller` and `X-Caller` are one variable."""
    return name.replace(b"_", b"-")


def without_fields(headers: Sequence[tuple[bytes, bytes]], folded: Collection[bytes]) -> RawHeaders:
    """Return header fields without those of these folded names, in whichever spelling."""
    return [
        pair for pair in headers if pair[0] not in folded and (b"_" not in pair[0] or fold_name(pair[0]) not in folded)
    ]


def field_value(value: Any) -> bytes | None:
    """Turn a CEL value into a header value; lists, maps and null are none."""
    match value:
        case str():
            encoded = value.encode("utf-8", "surrogatepass")
        case bool():
            encoded = b"true" if value else b"false"
        case bytes():
            encoded = value
        case int() | float():
            encoded = str(value).encode()
        case _:
            return None
    return None if _INVALID_VALUE.search(encoded) else encoded.strip(b" \t")
