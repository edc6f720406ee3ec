"""Authorization: any Deny, then every Require, then some Allow. What cannot be evaluated never opens access."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.policy.decision import Decision, Outcome, Reason, RuleResult, TermResult
from config.policy.rules import Action, Rule, RuleSet, ask

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from config.attributes import RequestAttributes


@dataclass(frozen=True, slots=True)
class Authorization:
    """The rules of every level of one route, added together."""

    denies: RuleSet
    """Deny rules that do not read the path."""
    path_denies: RuleSet
    """Deny rules that do: the path guard's."""
    requires: RuleSet
    allows: RuleSet
    default_allowed: bool = True
    """`EGRESS_DEFAULT_ACTION`, for a route that no rule covers."""

    @classmethod
    def of(cls, rules: Iterable[Rule] = (), *, default_allowed: bool = True) -> Authorization:
        """Sort rules by what they do. Their order within one action is kept."""
        rules = tuple(rules)
        return cls(
            denies=RuleSet(tuple(r for r in rules if r.action is Action.DENY and not r.reads_path)),
            path_denies=RuleSet(tuple(r for r in rules if r.action is Action.DENY and r.reads_path)),
            requires=RuleSet(tuple(r for r in rules if r.action is Action.REQUIRE)),
            allows=RuleSet(tuple(r for r in rules if r.action is Action.ALLOW)),
            default_allowed=default_allowed,
        )

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Every rule, in the order in which the algorithm asks them."""
        return (*self.denies.rules, *self.path_denies.rules, *self.requires.rules, *self.allows.rules)

    @property
    def guards_path(self) -> bool:
        """Whether there is anything for `guard_path` to ask."""
        return bool(self.path_denies.rules)

    @property
    def reads_body(self) -> bool:
        """Whether some rule reads the request's body."""
        return any(rule.expression.reads_body for rule in self.rules if rule.expression is not None)

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
        if self.denies.rules and (refusal := _refusal(self.denies, attributes)):
            return refusal
        if self.requires.rules and (hit := self.requires.first_hit(attributes)):
            rule, _, error = hit
            refusal = Decision(allowed=False, reason=Reason.REQUIRE_NOT_MET, rule=rule.name, error=error)
            return self.guard_path(attributes) or refusal
        if self.allows.rules:
            if hit := self.allows.first_hit(attributes):
                return _allowed(hit[0].name)
            return self.guard_path(attributes) or Decision(allowed=False, reason=Reason.NO_ALLOW_MATCHED)
        if self.denies.rules or self.path_denies.rules or self.requires.rules:
            return _NOTHING_DENIED
        return Decision(allowed=self.default_allowed, reason=Reason.NO_RULES)

    def guard_path(self, attributes: RequestAttributes) -> Decision | None:
        """Return the refusal of the first Deny that reads the path and holds, if there is one."""
        return _refusal(self.path_denies, attributes) if self.path_denies.rules else None

    def explain(self, attributes: RequestAttributes) -> Decision:
        """Decide like `decide`, asking every rule and every term, and return the evidence with the decision."""
        evidence = tuple(_explain(rule, attributes) for rule in self.rules)
        return judge(self.rules, evidence, default_allowed=self.default_allowed)


@dataclass(frozen=True, slots=True)
class Shadow:
    """Rules in shadow mode: what they would deny is told, and nothing else happens."""

    refusing: tuple[Rule, ...]
    """Deny and Require rules."""
    allows: RuleSet
    """Allow rules in shadow mode."""
    enforced: Authorization
    """The rules that are in force: one of their Allows is as good as one in shadow mode."""

    @classmethod
    def of(cls, rules: Iterable[Rule], enforced: Authorization) -> Shadow:
        """Sort rules by what they do."""
        rules = tuple(rules)
        refusing = tuple(rule for rule in rules if rule.action is not Action.ALLOW)
        return cls(refusing, RuleSet(tuple(rule for rule in rules if rule.action is Action.ALLOW)), enforced)

    def would_deny(self, attributes: RequestAttributes) -> tuple[str, ...]:
        """Return the names of the rules that would have denied a request were they in force."""
        found = [rule.name for rule in self.refusing if rule.hits(rule.evaluate(attributes).outcome)]
        if self.allows.rules and self.allows.first_hit(attributes) is None:
            enforced = self.enforced.allows
            if not enforced.rules or enforced.first_hit(attributes) is None:
                found += [rule.name for rule in self.allows.rules]
        return tuple(found)

    @property
    def reads_body(self) -> bool:
        """Whether some rule reads the request's body."""
        rules = (*self.refusing, *self.allows.rules)
        return any(rule.expression.reads_body for rule in rules if rule.expression is not None)


_NOTHING_DENIED = Decision(allowed=True, reason=Reason.NOTHING_DENIED)


@functools.lru_cache(maxsize=4096)
def _allowed(rule: str) -> Decision:
    """Return the decision that a rule takes again and again."""
    return Decision(allowed=True, reason=Reason.ALLOW_MATCHED, rule=rule)


def _refusal(denies: RuleSet, attributes: RequestAttributes) -> Decision | None:
    hit = denies.first_hit(attributes)
    if hit is None:
        return None
    rule, outcome, error = hit
    reason = Reason.DENY_MATCHED if outcome is Outcome.MATCHED else Reason.DENY_ERROR
    return Decision(allowed=False, reason=reason, rule=rule.name, error=error)


def judge(rules: Sequence[Rule], evidence: Sequence[RuleResult], *, default_allowed: bool) -> Decision:
    """Apply the algorithm to what every rule said. The rules come in the order of `Authorization.rules`."""
    evidence = tuple(evidence)
    decisive = [(rule, result) for rule, result in zip(rules, evidence, strict=True) if rule.hits(result.outcome)]
    for action in (Action.DENY, Action.REQUIRE, Action.ALLOW):
        found = next(((rule, result) for rule, result in decisive if rule.action is action), None)
        if found is not None:
            rule, result = found
            reason = {
                Action.DENY: Reason.DENY_ERROR if result.outcome is Outcome.ERROR else Reason.DENY_MATCHED,
                Action.REQUIRE: Reason.REQUIRE_NOT_MET,
                Action.ALLOW: Reason.ALLOW_MATCHED,
            }[action]
            return Decision(action is Action.ALLOW, reason, rule.name, result.error, evidence)
    if any(rule.action is Action.ALLOW for rule in rules):
        return Decision(allowed=False, reason=Reason.NO_ALLOW_MATCHED, evidence=evidence)
    if rules:
        return Decision(allowed=True, reason=Reason.NOTHING_DENIED, evidence=evidence)
    return Decision(allowed=default_allowed, reason=Reason.NO_RULES)


def _explain(rule: Rule, attributes: RequestAttributes) -> RuleResult:
    """Ask a rule, and each of its top-level terms by itself."""
    result = rule.evaluate(attributes)
    if rule.expression is None:
        return result
    terms = tuple(TermResult(text, *ask(function, attributes)) for text, function in rule.expression.terms)
    return RuleResult(result.rule, result.outcome, result.error, terms)
