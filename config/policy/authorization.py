"""Authorization: any Deny, then every Require, then some Allow. What cannot be evaluated never opens access."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from config.cel import EvaluationError
from config.policy.decision import Decision, Outcome, Reason, RuleResult

if TYPE_CHECKING:
    from collections.abc import Iterable

    from config.attributes import RequestAttributes
    from config.cel import Expression

PATH_ATTRIBUTES = frozenset({"request", "request.path", "request.uri", "request.pathAndQuery"})
"""Every name by which an expression can read the path; the bare `request` holds them all."""


class Action(StrEnum):
    """What a rule that holds does."""

    ALLOW = "Allow"
    DENY = "Deny"
    REQUIRE = "Require"


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of `matchExpressions`."""

    name: str
    """`namespace/policy#index`, the index counted from 0 over `matchExpressions`."""
    action: Action
    expression: Expression | None
    """None: it did not compile, which counts as an evaluation error on every request."""
    ignore_error: bool = False
    """`egress-gateway.dev/on-error: ignore`: a Deny that fails does not hold. One that did not compile still does."""

    @property
    def reads_path(self) -> bool:
        """Whether the rule depends on the path. One that did not compile is judged with the callers."""
        return self.expression is not None and not PATH_ATTRIBUTES.isdisjoint(self.expression.reads)

    def evaluate(self, attributes: RequestAttributes) -> RuleResult:
        """Ask the rule. Only the boolean `true` matches; anything but a boolean is an error."""
        if self.expression is None:
            return RuleResult(self.name, Outcome.ERROR, "the expression does not compile")
        try:
            value = self.expression.evaluate(attributes)
        except EvaluationError as error:
            return RuleResult(self.name, Outcome.ERROR, str(error))
        if value is True:
            return RuleResult(self.name, Outcome.MATCHED)
        if value is False:
            return RuleResult(self.name, Outcome.NOT_MATCHED)
        return RuleResult(self.name, Outcome.ERROR, f"a boolean was expected, not {type(value).__name__}")

    def denies(self, result: RuleResult) -> bool:
        """Tell whether a Deny with this result refuses the request."""
        ignored = self.ignore_error and self.expression is not None
        return result.outcome is Outcome.MATCHED or (result.outcome is Outcome.ERROR and not ignored)


@dataclass(frozen=True, slots=True)
class Authorization:
    """The rules of every level of one route, added together."""

    denies: tuple[Rule, ...] = ()
    """Deny rules that do not read the path."""
    path_denies: tuple[Rule, ...] = ()
    """Deny rules that do: the path guard's."""
    requires: tuple[Rule, ...] = ()
    allows: tuple[Rule, ...] = ()
    default_allowed: bool = True
    """`EGRESS_DEFAULT_ACTION`, for a route that no rule covers."""

    @classmethod
    def of(cls, rules: Iterable[Rule], *, default_allowed: bool) -> Authorization:
        """Sort rules by what they do. Their order within one action is kept."""
        rules = tuple(rules)
        return cls(
            denies=tuple(r for r in rules if r.action is Action.DENY and not r.reads_path),
            path_denies=tuple(r for r in rules if r.action is Action.DENY and r.reads_path),
            requires=tuple(r for r in rules if r.action is Action.REQUIRE),
            allows=tuple(r for r in rules if r.action is Action.ALLOW),
            default_allowed=default_allowed,
        )

    def decide(self, attributes: RequestAttributes) -> Decision:
        """Decide by all rules: `authorize`, then `guard_path`."""
        decision = self.authorize(attributes)
        if not decision.allowed:
            return decision
        return self.guard_path(attributes) or decision

    def authorize(self, attributes: RequestAttributes) -> Decision:
        """Decide by every rule but the Deny rules that read the path.

        A refusal names the rule that the whole algorithm would name: a Deny that reads the path and holds comes
        before a Require or a missing Allow.
        """
        evidence: list[RuleResult] = []
        if refusal := _first_deny(self.denies, attributes, evidence):
            return refusal
        for rule in self.requires:
            result = rule.evaluate(attributes)
            evidence.append(result)
            if result.outcome is not Outcome.MATCHED:
                refusal = Decision(
                    allowed=False, reason=Reason.REQUIRE_NOT_MET, rule=rule.name, evidence=tuple(evidence)
                )
                return self.guard_path(attributes) or refusal
        for rule in self.allows:
            result = rule.evaluate(attributes)
            evidence.append(result)
            if result.outcome is Outcome.MATCHED:
                return Decision(allowed=True, reason=Reason.ALLOW_MATCHED, rule=rule.name, evidence=tuple(evidence))
        if self.allows:
            refusal = Decision(allowed=False, reason=Reason.NO_ALLOW_MATCHED, evidence=tuple(evidence))
            return self.guard_path(attributes) or refusal
        if self.denies or self.path_denies or self.requires:
            return Decision(allowed=True, reason=Reason.NOTHING_DENIED, evidence=tuple(evidence))
        return Decision(allowed=self.default_allowed, reason=Reason.NO_RULES)

    def guard_path(self, attributes: RequestAttributes) -> Decision | None:
        """Return the refusal of the first Deny that reads the path and holds, if there is one."""
        return _first_deny(self.path_denies, attributes, [])


def _first_deny(rules: tuple[Rule, ...], attributes: RequestAttributes, evidence: list[RuleResult]) -> Decision | None:
    for rule in rules:
        result = rule.evaluate(attributes)
        evidence.append(result)
        if rule.denies(result):
            reason = Reason.DENY_MATCHED if result.outcome is Outcome.MATCHED else Reason.DENY_ERROR
            return Decision(allowed=False, reason=reason, rule=rule.name, evidence=tuple(evidence))
    return None
