"""`traffic.transformation`: a message rewritten by expressions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from config.cel import EvaluationError
from config.policy.headers import HeaderRewrite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from config.attributes import RequestAttributes
    from config.cel import Expression
    from config.policy.body import BodyValue
    from config.policy.conditional import Conditional
    from config.policy.headers import HeaderValue


@dataclass(frozen=True, slots=True)
class Transform:
    """`transformation.request` or `.response`: metadata, then the first line and the header fields, then the body.

    Every expression sees the message as it came, and `metadata` as the block of that name has left it.
    """

    headers: HeaderRewrite = field(default_factory=HeaderRewrite)
    metadata: tuple[tuple[str, Expression | None], ...] = ()
    """Name and expression; none did not compile, which leaves the name without a value like any failure."""
    pseudo: tuple[HeaderValue, ...] = ()
    """`:method`, `:path`, `:authority`, `:status`: the last value of each."""
    body: BodyValue | None = None

    @property
    def expressions(self) -> Iterator[Expression]:
        """Every expression, for whoever must know what is read."""
        found = [expression for _, expression in self.metadata]
        found += [header.expression for header in self.pseudo]
        if self.body is not None:
            found.append(self.body.expression)
        yield from (expression for expression in found if expression is not None)
        yield from self.headers.expressions

    @property
    def has_headers_alone(self) -> bool:
        """Whether nothing but header fields is rewritten."""
        return not (self.metadata or self.pseudo or self.body)

    @property
    def reads_response_body(self) -> bool:
        """Whether some expression is made from the answer's body, which must be held for it then."""
        return any(expression.reads_response_body for expression in self.expressions)

    def note(self, attributes: RequestAttributes) -> None:
        """Evaluate the metadata, in its order. A name whose expression fails has no value, not an earlier one."""
        if not self.metadata:
            return
        # The dict is the request's own: what other layers hold of the former one stays as it was.
        attributes.metadata = known = dict(attributes.metadata or {})
        for name, expression in self.metadata:
            if expression is None:
                known.pop(name, None)
                continue
            try:
                known[name] = expression.value(attributes)
            except EvaluationError:
                known.pop(name, None)


@dataclass(frozen=True, slots=True)
class Rewrites:
    """Both directions of one exchange."""

    request: Transform | None = None
    response: Transform | None = None


@dataclass(frozen=True, slots=True)
class Transformation:
    """`traffic.transformation`, with its conditions. They are asked once, of the request."""

    rewrites: Conditional[Rewrites]
    plain_request: HeaderRewrite | None = field(init=False, repr=False, default=None)
    """The usual case: header fields of the request alone, on every request."""
    reads_response_body: bool = field(init=False, repr=False)
    """Whether an answer may have to be held."""
    rewrites_responses: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        policies = self.rewrites.policies
        responses = [rewrites.response for rewrites in policies if rewrites.response is not None]
        object.__setattr__(self, "reads_response_body", any(part.reads_response_body for part in responses))
        object.__setattr__(self, "rewrites_responses", bool(responses))
        if len(policies) == 1 and not responses and self.rewrites.is_unconditional:
            request = policies[0].request
            if request is not None and request.has_headers_alone:
                object.__setattr__(self, "plain_request", request.headers)

    @property
    def expressions(self) -> Iterator[Expression]:
        """Every expression, conditions too, for whoever must know what is read."""
        yield from self.rewrites.conditions
        for rewrites in self.rewrites.policies:
            for part in (rewrites.request, rewrites.response):
                if part is not None:
                    yield from part.expressions

    @property
    def reads_body(self) -> bool:
        """Whether some expression is made from the request's body."""
        return any(expression.reads_body for expression in self.expressions)
