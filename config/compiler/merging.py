"""The policies of every level of a route, merged: once for all routes that have the same ones.

Ten thousand hosts below one Gateway share one `Authorization`: its index, and what it remembers of each caller, is then
made once and not once a host.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from config.compiler.annotations import enforcement
from config.compiler.authorization import compile_network_rules, compile_rules
from config.compiler.blocks import BACKEND, TRAFFIC
from config.compiler.place import Place
from config.compiler.refusals import UNUSABLE
from config.policy.authorization import Authorization, Shadow
from config.policy.rules import Action, Rule, RuleSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from config.compiler.annotations import Enforcement
    from config.compiler.attachment import Attachment, Level
    from config.errors import Finding
    from config.model.policy import AgentgatewayPolicy
    from config.resources import Parsed, Resources

Target = tuple["Level", str]
"""What a policy is attached to: the level, and `namespace/name`, with `#section` for a part of it."""


@dataclass(slots=True)
class CompiledPolicy:
    """One policy, compiled as far as that goes without knowing its targets."""

    parsed: Parsed[AgentgatewayPolicy]
    enforcement: Enforcement
    rules: tuple[Rule, ...] = ()
    network_rules: tuple[Rule, ...] = ()
    traffic: dict[str, Any] = field(default_factory=dict)
    """Field to compiled block."""
    backend: dict[str, Any] = field(default_factory=dict)

    @property
    def overrides(self) -> bool:
        """Whether stronger levels may not replace what this policy sets."""
        strategy = self.parsed.model.spec.strategy
        return strategy is not None and strategy.inheritance == "Override"


@dataclass(frozen=True, slots=True)
class MergedPolicies:
    """What the policies of a route come to."""

    authorization: Authorization
    shadow: Shadow | None
    fields: Mapping[str, Any]
    """Name of a field of `config.snapshot.Route` to the compiled block."""
    locked: frozenset[str]
    """Fields that nothing stronger replaces."""

    def denying(self, name: str) -> MergedPolicies:
        """Return the same behind a Deny that always holds. Every other rule stays, for those who ask why."""
        deny = Rule(f"{name}#{UNUSABLE}", Action.DENY, None)
        denies = RuleSet((deny, *self.authorization.denies.rules))
        return replace(self, authorization=replace(self.authorization, denies=denies))

    def with_inline(self, inline: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields with those that stand in the route itself, which are the strongest."""
        return {**self.fields, **{name: value for name, value in inline.items() if name not in self.locked}}


@dataclass(slots=True)
class PolicyMerger:
    """Compiles policies, and merges them by target."""

    resources: Resources
    findings: list[Finding]
    now: float
    """Unix time at which policies are in force or not."""
    default_allowed: bool
    policies: dict[str, CompiledPolicy] = field(default_factory=dict)
    attached: dict[Target, list[CompiledPolicy]] = field(default_factory=dict)
    """The policies of every target that has one, the older first."""
    _merged: dict[tuple[Target, ...], MergedPolicies] = field(default_factory=dict)
    _authorizations: dict[tuple[str, ...], Authorization] = field(default_factory=dict)

    @property
    def next_expiry(self) -> float | None:
        """When the next policy goes out of force, Unix time; none if none does."""
        coming = [p.enforcement.expires for p in self.policies.values() if self.now < p.enforcement.expires]
        soonest = min(coming, default=float("inf"))
        return None if soonest == float("inf") else soonest

    def compile(self, attachments: Iterable[Attachment]) -> None:
        """Compile every policy, attached or not, so that every fault is found; and file them by target."""
        for parsed in sorted(self.resources.policies.values(), key=lambda policy: policy.age):
            self.policies[parsed.key] = self._compile(parsed)
        for attachment in attachments:
            policy = self.policies[attachment.policy.key]
            here = self.attached.setdefault((attachment.level, attachment.target), [])
            if policy not in here:
                self._report_conflicts(attachment.target, here, policy)
                here.append(policy)

    def _compile(self, parsed: Parsed[AgentgatewayPolicy]) -> CompiledPolicy:
        place = Place(parsed, self.resources, self.findings)
        how = enforcement(place)
        policy = CompiledPolicy(parsed, how)
        spec = parsed.model.spec
        if not (how.restricts(self.now) and how.allows(self.now)):
            place.at("metadata", "annotations").warn("expired-policy", "this policy is not in force any more")
        if spec.traffic is not None and (written := spec.traffic.authorization):
            here = place.at("spec", "traffic", "authorization")
            policy.rules = self._in_force(how, compile_rules(here, written, ignores_errors=how.ignores_errors))
        if spec.frontend is not None and (written := spec.frontend.network_authorization):
            here = place.at("spec", "frontend", "networkAuthorization")
            rules = compile_network_rules(here, written, ignores_errors=how.ignores_errors)
            policy.network_rules = self._in_force(how, rules)
        for blocks, section, found in ((TRAFFIC, "traffic", policy.traffic), (BACKEND, "backend", policy.backend)):
            for block in blocks:
                if (written := block.written(getattr(spec, section))) is None:
                    continue
                here = place.at("spec", section, *block.path)
                compiled = block.compile(here, written)
                if how.shadow:
                    here.warn(
                        "shadow-block", "in shadow mode only authorization is evaluated: this is not in force", key=True
                    )
                elif how.restricts(self.now):
                    found[block.field] = compiled
        return policy

    def _in_force(self, how: Enforcement, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        """Return the rules that are left of a policy that may be over.

        An Allow that is over stays as one that never holds: without it the last Allow's end would let everybody in.
        """
        return tuple(
            replace(rule, expression=None) if rule.action is Action.ALLOW and not how.allows(self.now) else rule
            for rule in rules
            if rule.action is Action.ALLOW or how.restricts(self.now)
        )

    def _report_conflicts(self, target: str, earlier: list[CompiledPolicy], policy: CompiledPolicy) -> None:
        """Report fields that an older policy sets on the same target: that one is in force."""
        for blocks, name in ((TRAFFIC, "traffic"), (BACKEND, "backend")):
            for block in blocks:
                winner = next((other for other in earlier if block.field in getattr(other, name)), None)
                if winner is not None and block.field in getattr(policy, name):
                    path = (name, *block.path)
                    place = Place(policy.parsed, self.resources, self.findings, ("spec", *path))
                    place.warn(
                        "policy-conflict",
                        f"{policy.parsed.name} and {winner.parsed.name} both set {'.'.join(path)} on {target}; "
                        f"{winner.parsed.name} is in force",
                        "merge them",
                        key=True,
                    )

    def merge(self, targets: Sequence[Target]) -> MergedPolicies:
        """Return what the traffic policies of targets come to, which are given weak to strong."""
        levels = tuple(target for target in targets if target in self.attached)
        merged = self._merged.get(levels)
        if merged is None:
            merged = self._merged[levels] = self._merge([self.attached[level] for level in levels])
        return merged

    def _merge(self, levels: list[list[CompiledPolicy]]) -> MergedPolicies:
        fields: dict[str, Any] = {}
        locked: set[str] = set()
        rules: list[CompiledPolicy] = []
        for level in levels:
            set_here: set[str] = set()
            for policy in level:  # the older first, and it wins
                for name in policy.traffic.keys() - locked - set_here:
                    fields[name] = policy.traffic[name]
                    set_here.add(name)
            if "authorization" not in locked:
                rules += [policy for policy in level if policy.rules]
            for policy in level:
                if policy.overrides and not policy.enforcement.shadow:
                    locked |= {*policy.traffic, *(["authorization"] if policy.rules else [])}
        shadowing = [rule for policy in rules if policy.enforcement.shadow for rule in policy.rules]
        enforced = [policy for policy in rules if not policy.enforcement.shadow]
        authorization = self._authorization(enforced)
        shadow = Shadow.of(shadowing, authorization) if shadowing else None
        return MergedPolicies(authorization, shadow, fields, frozenset(locked))

    def _authorization(self, policies: list[CompiledPolicy]) -> Authorization:
        """Return one object for the same rules, as compiling them together is the costly part."""
        unique = {policy.parsed.key: policy for policy in policies}
        key = tuple(unique)
        if key not in self._authorizations:
            rules = [rule for policy in unique.values() for rule in policy.rules]
            self._authorizations[key] = Authorization.of(rules, default_allowed=self.default_allowed)
        return self._authorizations[key]

    def merge_backend(self, targets: Sequence[Target], inline: Mapping[str, Any]) -> dict[str, Any]:
        """Return the backend settings of targets, given weak to strong, with those that stand in the backend itself."""
        settings: dict[str, Any] = {}
        for target in targets:
            here: dict[str, Any] = {}
            for policy in self.attached.get(target, ()):
                here = {**policy.backend, **here}  # the older first, and it wins
            settings |= here
        return {**settings, **inline}

    def network_authorization(self, target: Target) -> tuple[Authorization | None, Shadow | None]:
        """Return what a Gateway's policies say about connections; none if nothing."""
        policies = [policy for policy in self.attached.get(target, ()) if policy.network_rules]
        enforced = [rule for p in policies if not p.enforcement.shadow for rule in p.network_rules]
        shadowing = [rule for p in policies if p.enforcement.shadow for rule in p.network_rules]
        authorization = Authorization.of(enforced) if enforced else None
        return authorization, Shadow.of(shadowing, authorization or Authorization.of()) if shadowing else None
