"""The policies of every level of a route, merged: once for all routes that have the same ones.

Ten thousand hosts below one Gateway share one `Authorization`: its index, and what it remembers of each caller, is then
made once and not once a host.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from config.compiler.policies import compile_request_headers, compile_rules
from config.compiler.refusals import UNUSABLE
from config.policy.authorization import Authorization
from config.policy.rules import Action, Rule, RuleSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from config.compiler.attachment import Attachment, Level
    from config.errors import Finding
    from config.model.policy import AgentgatewayPolicy
    from config.policy.headers import HeaderRewrite
    from config.resources import Parsed

Target = tuple["Level", str]
"""What a policy is attached to: the level, and `namespace/name`, with `#rule` for a rule."""


@dataclass(frozen=True, slots=True)
class MergedPolicies:
    """What the policies of a route come to."""

    authorization: Authorization
    headers: HeaderRewrite | None
    reads_body: bool
    """Some expression reads the request's body."""

    def denying(self, name: str) -> MergedPolicies:
        """Return the same behind a Deny that always holds. Every other rule stays, for those who ask why."""
        deny = Rule(f"{name}#{UNUSABLE}", Action.DENY, None)
        denies = RuleSet((deny, *self.authorization.denies.rules))
        return replace(self, authorization=replace(self.authorization, denies=denies))


@dataclass(slots=True)
class PolicyMerger:
    """Merges policies by target."""

    default_allowed: bool
    attached: dict[Target, list[Parsed[AgentgatewayPolicy]]] = field(default_factory=dict)
    """The policies of every target that has one, the older first."""
    rules: dict[str, tuple[Rule, ...]] = field(default_factory=dict)
    headers: dict[str, HeaderRewrite | None] = field(default_factory=dict)
    _merged: dict[tuple[Target, ...], MergedPolicies] = field(default_factory=dict)
    _authorizations: dict[tuple[str, ...], Authorization] = field(default_factory=dict)

    def attach(self, attachments: Iterable[Attachment]) -> None:
        """File policies under what they are attached to."""
        for attachment in attachments:
            self.attached.setdefault((attachment.level, attachment.target), []).append(attachment.policy)

    def compile(self, policies: Iterable[Parsed[AgentgatewayPolicy]], findings: list[Finding]) -> None:
        """Compile policies, attached or not, so that every fault is found."""
        for policy in policies:
            self.rules[policy.key] = compile_rules(policy, findings)
            self.headers[policy.key] = compile_request_headers(policy, findings)

    def merge(self, targets: Sequence[Target]) -> MergedPolicies:
        """Return what the policies of targets come to, which are given weak to strong."""
        levels = tuple(target for target in targets if target in self.attached)
        merged = self._merged.get(levels)
        if merged is None:
            merged = self._merged[levels] = self._merge([self.attached[level] for level in levels])
        return merged

    def _merge(self, levels: list[list[Parsed[AgentgatewayPolicy]]]) -> MergedPolicies:
        headers: HeaderRewrite | None = None
        for level in levels:
            # The oldest policy of the strongest level that has one.
            headers = next((found for policy in level if (found := self.headers[policy.key])), headers)
        authorization = self._authorization([policy.key for level in levels for policy in level])
        reads_body = authorization.reads_body or (headers is not None and headers.reads_body)
        return MergedPolicies(authorization, headers, reads_body)

    def _authorization(self, policies: list[str]) -> Authorization:
        """Return one object for the same rules, as compiling them together is the costly part."""
        key = tuple(policy for policy in policies if self.rules[policy])
        if key not in self._authorizations:
            rules = [rule for policy in key for rule in self.rules[policy]]
            self._authorizations[key] = Authorization.of(rules, default_allowed=self.default_allowed)
        return self._authorizations[key]
