"""The outcome of a policy, with its evidence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What one rule said about one request."""

    MATCHED = "matched"
    NOT_MATCHED = "not_matched"
    ERROR = "error"
    """It failed, was null, or gave something that is no boolean."""


class Reason(StrEnum):
    """Why a decision fell, after the step of the algorithm that took it. Stable: log field and metric label."""

    NO_RULES = "no_rules"
    """No rule covers the route; the default action decided."""
    DENY_MATCHED = "deny_matched"
    DENY_ERROR = "deny_error"
    """A Deny rule could not be evaluated and therefore holds."""
    REQUIRE_NOT_MET = "require_not_met"
    ALLOW_MATCHED = "allow_matched"
    NO_ALLOW_MATCHED = "no_allow_matched"
    NOTHING_DENIED = "nothing_denied"
    """Only Deny or Require rules cover the route, and none refused."""


@dataclass(frozen=True, slots=True)
class TermResult:
    """The outcome of one top-level term of a rule."""

    text: str
    outcome: Outcome
    error: str = ""


@dataclass(frozen=True, slots=True)
class RuleResult:
    """The outcome of one rule."""

    rule: str
    outcome: Outcome
    error: str = ""
    """Why it failed; holds nothing of the request."""
    terms: tuple[TermResult, ...] = ()
    """Its top-level terms, where it has several."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a request may pass, why, and which rule said so."""

    allowed: bool
    reason: Reason
    rule: str | None = None
    """`namespace/policy#index`; none where no single rule decided."""
    error: str = ""
    """Why the deciding rule failed, if it did."""
    evidence: tuple[RuleResult, ...] = ()
    """What every rule said; collected by `Authorization.explain` only."""

    @property
    def explanation(self) -> str:
        """One line for the log."""
        rule = f" by {self.rule}" if self.rule else ""
        return f"{self.reason}{rule}: {self.error}" if self.error else f"{self.reason}{rule}"
