"""`conditional`: of several policies, the one whose condition is the first to be true."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from config.cel import EvaluationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from config.attributes import RequestAttributes
    from config.cel import Expression

Policy = TypeVar("Policy")


class UnusableConditionError(Exception):
    """A condition that did not compile was reached: nobody can tell which policy is meant. Answered 500."""


@dataclass(frozen=True, slots=True)
class Choice(Generic[Policy]):
    """A policy and when it is in force."""

    policy: Policy
    condition: Expression | None = None
    """None: always, or, if it `is_unusable`, it did not compile."""
    is_unusable: bool = False

    def holds(self, attributes: RequestAttributes) -> bool:
        """Tell whether the condition is true; an error counts as false.

        Raises:
            UnusableConditionError: it did not compile.

        """
        if self.is_unusable:
            raise UnusableConditionError("a condition does not compile")
        if self.condition is None:
            return True
        try:
            return self.condition.evaluate(attributes) is True
        except EvaluationError:
            return False


@dataclass(frozen=True, slots=True)
class Conditional(Generic[Policy]):
    """Policies in their order, the unconditional one last."""

    choices: tuple[Choice[Policy], ...]
    _only: Policy | None = field(init=False, repr=False, default=None)
    """The first one, where it is unconditional."""

    def __post_init__(self) -> None:
        first = self.choices[0]
        if first.condition is None and not first.is_unusable:
            object.__setattr__(self, "_only", first.policy)

    @classmethod
    def always(cls, policy: Policy) -> Conditional[Policy]:
        """Return a policy that is always in force."""
        return cls((Choice(policy),))

    @property
    def is_unconditional(self) -> bool:
        """Whether one policy is in force for every request."""
        return self._only is not None

    @property
    def policies(self) -> tuple[Policy, ...]:
        """Every policy that can be in force."""
        return tuple(choice.policy for choice in self.choices)

    @property
    def conditions(self) -> Iterator[Expression]:
        """Every condition, for whoever must know what is read of a request."""
        return (choice.condition for choice in self.choices if choice.condition is not None)

    def select(self, attributes: RequestAttributes) -> Policy | None:
        """Return the policy in force for a request, if there is one.

        Raises:
            UnusableConditionError: a condition that did not compile was asked.

        """
        if self._only is not None:
            return self._only
        return next((choice.policy for choice in self.choices if choice.holds(attributes)), None)
