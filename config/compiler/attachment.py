"""Which policies apply to which route, merged by level.

Levels from weak to strong: Gateway, ServiceEntry, HTTPRoute, rule. A stronger level replaces whole fields of a weaker
one. Authorization is the exception: the rules of every level are added together.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from config.errors import Finding, Severity, nearest
from config.resources import GATEWAY_API, ISTIO

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from config.model.policy import AgentgatewayPolicy, TargetReference
    from config.resources import Parsed, Resources


class Level(IntEnum):
    """Where a policy is attached; the greater is the stronger."""

    GATEWAY = 0
    SERVICE_ENTRY = 1
    ROUTE = 2
    RULE = 3


@dataclass(frozen=True, slots=True)
class Attachment:
    """One policy on one target."""

    level: Level
    target: str
    """`namespace/name`, and `#rule` for a rule."""
    policy: Parsed[AgentgatewayPolicy]


_LEVELS = {
    (GATEWAY_API, "Gateway"): Level.GATEWAY,
    (ISTIO, "ServiceEntry"): Level.SERVICE_ENTRY,
    (GATEWAY_API, "HTTPRoute"): Level.ROUTE,
}


def attach_policies(resources: Resources) -> tuple[list[Attachment], set[str], list[Finding]]:
    """Resolve every `targetRefs` entry. One that points nowhere is a fault.

    Returns:
        The attachments; the `namespace/name` of the entries that could not be resolved; and every finding.

    """
    attachments: list[Attachment] = []
    unresolved: set[str] = set()
    findings: list[Finding] = []
    for policy in sorted(resources.policies.values(), key=lambda parsed: parsed.age):
        targets = policy.model.spec.target_refs
        if len({(target.group, target.kind) for target in targets}) > 1:
            place = policy.locate("spec", "targetRefs")
            findings.append(Finding("mixed-targets", "a policy has one kind of target", place, "split it in two"))
        for index, target in enumerate(targets):
            found = _resolve(resources, policy, target, index)
            if isinstance(found, Finding):
                name = f"{policy.namespace}/{target.name}"
                unresolved.add(name)
                if name not in resources.refused_names.get(target.kind, ()):  # else it was reported itself
                    findings.append(found)
            else:
                attachments.append(found)
    return attachments, unresolved, [*findings, *_conflicts(attachments)]


def _resolve(
    resources: Resources, policy: Parsed[AgentgatewayPolicy], target: TargetReference, index: int
) -> Attachment | Finding:
    def fault(code: str, message: str, hint: str) -> Finding:
        return Finding(code, message, policy.locate("spec", "targetRefs", index), hint)

    level = _LEVELS.get((target.group, target.kind))
    if level is None:
        message = f"a traffic policy cannot target {target.kind!r} of {target.group!r}"
        return fault("invalid-target", message, "Gateway, HTTPRoute or ServiceEntry can be targets")
    if target.namespace not in {None, policy.namespace}:
        return fault("invalid-target", "a policy targets objects of its own namespace", "remove 'namespace'")
    name = f"{policy.namespace}/{target.name}"
    known: dict[Level, Collection[str]] = {
        Level.GATEWAY: resources.gateways,
        Level.SERVICE_ENTRY: resources.service_entries,
        Level.ROUTE: resources.routes,
    }
    if name not in known[level]:
        hint = nearest(name, known[level])
        if policy.model.metadata.namespace is None:
            hint = f"the policy has no metadata.namespace, which means 'default'; {hint}"
        return fault("dangling-reference", f"there is no {target.kind} {name}", hint)
    if target.section_name is None:
        return Attachment(level, name, policy)
    rules = resources.routes[name].model.spec.rules if level is Level.ROUTE else ()
    if target.section_name not in {rule.name for rule in rules}:
        message = f"{target.kind} {name} has no rule {target.section_name!r}"
        return fault("dangling-reference", message, "sectionName names a rule of an HTTPRoute here")
    return Attachment(Level.RULE, f"{name}#{target.section_name}", policy)


def _conflicts(attachments: list[Attachment]) -> Iterator[Finding]:
    """Report policies that set the same field on the same target: the first in age wins."""
    winners: dict[str, Parsed[AgentgatewayPolicy]] = {}
    for attachment in attachments:
        if attachment.policy.model.spec.traffic is None or attachment.policy.model.spec.traffic.transformation is None:
            continue
        winner = winners.setdefault(attachment.target, attachment.policy)
        if winner is not attachment.policy:
            yield Finding(
                "policy-conflict",
                f"{attachment.policy.name} and {winner.name} both set traffic.transformation on {attachment.target}; "
                f"{winner.name} is in force",
                attachment.policy.locate("spec", "traffic", "transformation", key=True),
                "merge them",
                severity=Severity.WARNING,
            )
