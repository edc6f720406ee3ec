"""`traffic.directResponse`: an answer without a backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from config.attributes import RawHeaders, RequestAttributes
    from config.cel import Expression
    from config.policy.body import BodyValue
    from config.policy.conditional import Conditional
    from config.policy.headers import HeaderValue


@dataclass(frozen=True, slots=True)
class DirectResponse:
    """One answer."""

    status: int
    """200 to 599."""
    body: bytes | BodyValue = b""
    headers: tuple[HeaderValue, ...] = ()
    """One whose expression fails is left out."""

    @property
    def expressions(self) -> Iterator[Expression]:
        """Every expression, for whoever must know what is read."""
        found = [header.expression for header in self.headers]
        if not isinstance(self.body, bytes):
            found.append(self.body.expression)
        return (expression for expression in found if expression is not None)

    def content(self, attributes: RequestAttributes) -> bytes:
        """Return the body.

        Raises:
            EvaluationError: its expression failed.

        """
        return self.body if isinstance(self.body, bytes) else self.body.content(attributes)

    def fields(self, attributes: RequestAttributes) -> RawHeaders:
        """Return the header fields; of several with one name the last."""
        values = {header.name: header.evaluate(attributes) for header in self.headers}
        return [(name, value) for name, value in values.items() if value is not None]


@dataclass(frozen=True, slots=True)
class DirectResponses:
    """`traffic.directResponse`, with its conditions."""

    answers: Conditional[DirectResponse]

    @property
    def expressions(self) -> Iterator[Expression]:
        """Every expression, conditions too, for whoever must know what is read."""
        yield from self.answers.conditions
        for answer in self.answers.policies:
            yield from answer.expressions

    @property
    def reads_body(self) -> bool:
        """Whether some expression is made from the request's body."""
        return any(expression.reads_body for expression in self.expressions)
