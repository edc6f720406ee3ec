"""Which policies apply to what: every target of every policy, resolved.

Levels from weak to strong: Gateway, listener, ServiceEntry, HTTPRoute, rule, backend; what stands in a route or backend
itself is stronger than all of them. A stronger level replaces whole fields of a weaker one. Authorization is the
exception: the rules of every level are added together.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from config.compiler.refusals import names_of, restricts
from config.errors import Finding, nearest
from config.kinds import AGENTGATEWAY, GATEWAY_API, ISTIO

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from config.model.policy import AgentgatewayPolicy, TargetReference, TargetSelector
    from config.resources import Parsed, Resources


class Level(IntEnum):
    """Where a policy is attached; the greater is the stronger."""

    GATEWAY = 0
    LISTENER = 1
    SERVICE_ENTRY = 2
    ROUTE = 3
    RULE = 4
    SERVICE = 5
    BACKEND = 6


@dataclass(frozen=True, slots=True)
class Attachment:
    """One policy on one target."""

    level: Level
    target: str
    """`namespace/name`, and `#section` for a listener, a rule or a port."""
    policy: Parsed[AgentgatewayPolicy]


_LEVELS = {
    (GATEWAY_API, "Gateway"): Level.GATEWAY,
    (ISTIO, "ServiceEntry"): Level.SERVICE_ENTRY,
    (GATEWAY_API, "HTTPRoute"): Level.ROUTE,
    ("", "Service"): Level.SERVICE,
    (AGENTGATEWAY, "AgentgatewayBackend"): Level.BACKEND,
}
_SECTION_LEVELS = {Level.GATEWAY: Level.LISTENER, Level.ROUTE: Level.RULE, Level.SERVICE: Level.SERVICE}
"""Level of an object's section, for the kinds that have sections."""

_TRAFFIC_LEVELS = frozenset({Level.GATEWAY, Level.LISTENER, Level.SERVICE_ENTRY, Level.ROUTE, Level.RULE})


def attach_policies(resources: Resources) -> tuple[list[Attachment], set[str], list[Finding]]:
    """Resolve every target. One that points nowhere is a fault.

    Returns:
        The attachments, those of older policies first; the `namespace/name` of the entries that could not be
        resolved, where the empty string stands for any name; and every finding.

    """
    attachments: list[Attachment] = []
    unresolved: set[str] = set()
    findings: list[Finding] = []
    for policy in sorted(resources.policies.values(), key=lambda parsed: parsed.age):
        spec = policy.model.spec
        restricting = restricts(spec)
        for index, target in enumerate(spec.target_refs):
            found = _resolve(resources, policy, target, index)
            if isinstance(found, Finding):
                name = f"{policy.namespace}/{target.name}"
                if restricting:
                    # There must be one of its kind, if that can be one of a target; else it could have meant anything.
                    is_there = found.code != "dangling-reference" or name in names_of(resources, target.kind)
                    unresolved.add(name if is_there else "")
                if name not in resources.refused_names.get(target.kind, ()):  # else it was reported itself
                    findings.append(found)
            else:
                attachments.append(found)
        for index, selector in enumerate(spec.target_selectors):
            faults = len(findings)
            selected = list(_select(resources, policy, selector, index, findings))
            attachments += selected
            is_invalid = any(finding.code == "invalid-target" for finding in findings[faults:])
            if restricting and (is_invalid or (not selected and resources.refused_names.get(selector.kind))):
                unresolved.add("")  # what it means may be what could not be read
    return attachments, unresolved, findings


def _objects(resources: Resources, level: Level) -> Mapping[str, Parsed[Any]]:
    known: dict[Level, Mapping[str, Parsed[Any]]] = {
        Level.GATEWAY: resources.gateways,
        Level.SERVICE_ENTRY: resources.service_entries,
        Level.ROUTE: resources.routes,
        Level.SERVICE: resources.services,
        Level.BACKEND: resources.backends,
    }
    return known[level]


def _level(policy: Parsed[AgentgatewayPolicy], group: str, kind: str) -> Level | str:
    """Return the level of a kind of target, or why the policy cannot have it."""
    level = _LEVELS.get((group, kind))
    if level is None:
        return f"a policy cannot target {kind!r} of {group!r}"
    if policy.model.spec.traffic is not None and level not in _TRAFFIC_LEVELS:
        return f"a traffic block cannot target {kind!r}"
    return level


def _resolve(  # noqa: PLR0911  one for each way to be wrong
    resources: Resources, policy: Parsed[AgentgatewayPolicy], target: TargetReference, index: int
) -> Attachment | Finding:
    def fault(code: str, message: str, hint: str) -> Finding:
        return Finding(code, message, policy.locate("spec", "targetRefs", index), hint)

    level = _level(policy, target.group, target.kind)
    if isinstance(level, str):
        hint = "traffic: Gateway, ServiceEntry, HTTPRoute; backend: AgentgatewayBackend and Service too"
        return fault("invalid-target", level, hint)
    if target.namespace not in {None, policy.namespace}:
        return fault("invalid-target", "a policy targets objects of its own namespace", "remove 'namespace'")
    name = f"{policy.namespace}/{target.name}"
    known = _objects(resources, level)
    if name not in known:
        hint = nearest(name, known)
        if policy.model.metadata.namespace is None:
            hint = f"the policy has no metadata.namespace, which means 'default'; {hint}"
        return fault("dangling-reference", f"there is no {target.kind} {name}", hint)
    if target.section_name is None:
        return Attachment(level, name, policy)
    if problem := _section_problem(policy, level, target.kind):
        return fault("invalid-target", problem, "remove 'sectionName'")
    sections = _sections(resources, level, name)
    if target.section_name not in sections:
        message = f"{target.kind} {name} has no section {target.section_name!r}"
        hint = "sectionName names a Gateway's listener, an HTTPRoute's rule, a Service's port"
        return fault("dangling-reference", message, nearest(target.section_name, sections) or hint)
    return Attachment(_SECTION_LEVELS[level], f"{name}#{target.section_name}", policy)


def _section_problem(policy: Parsed[AgentgatewayPolicy], level: Level, kind: str) -> str | None:
    """Return why a policy cannot have a part of an object as its target; none if it can."""
    if level not in _SECTION_LEVELS or policy.model.spec.frontend is not None:
        return f"a {kind} has no sections for this block"
    return None


def _sections(resources: Resources, level: Level, name: str) -> Collection[str]:
    match level:
        case Level.GATEWAY:
            return {listener.name for listener in resources.gateways[name].model.spec.listeners}
        case Level.ROUTE:
            return {rule.name for rule in resources.routes[name].model.spec.rules if rule.name is not None}
        case Level.SERVICE:
            return {str(port.port) for port in resources.services[name].model.spec.ports}
        case _:
            return ()


def _select(
    resources: Resources,
    policy: Parsed[AgentgatewayPolicy],
    selector: TargetSelector,
    index: int,
    findings: list[Finding],
) -> Iterator[Attachment]:
    """Yield an attachment for every object that a selector selects."""
    place = policy.locate("spec", "targetSelectors", index)
    level = _level(policy, selector.group, selector.kind)
    if isinstance(level, str):
        findings.append(Finding("invalid-target", level, place))
        return
    if selector.section_name is not None and (problem := _section_problem(policy, level, selector.kind)):
        findings.append(Finding("invalid-target", problem, place, "remove 'sectionName'"))
        return
    wanted = selector.match_labels.items()
    found = False
    for name, parsed in _objects(resources, level).items():
        metadata = parsed.model.metadata
        if parsed.namespace != policy.namespace or not wanted <= metadata.labels.items():
            continue
        if selector.section_name is None:
            found = True
            yield Attachment(level, name, policy)
        elif selector.section_name in _sections(resources, level, name):
            found = True
            yield Attachment(_SECTION_LEVELS[level], f"{name}#{selector.section_name}", policy)
    if not found:
        labels = ", ".join(f"{key}={value}" for key, value in wanted)
        message = f"no {selector.kind} of namespace {policy.namespace} carries {labels}: this policy applies to nothing"
        findings.append(Finding("unmatched-selector", message, place))
