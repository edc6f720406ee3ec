"""What is denied because a manifest could not be used: a start that is not strict goes on without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic.alias_generators import to_camel

from config.policy.authorization import Authorization
from config.policy.matching import RouteTable
from config.policy.rules import Action, Rule
from config.snapshot import Route, VirtualHost

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from config.manifests import Document
    from config.model.policy import PolicySpec
    from config.resources import Resources

UNUSABLE: Final = "unusable-manifest"
"""Stands for the rule's index where a manifest, not a rule, denies."""
_REFUSED: Final = Authorization.of([Rule(f"refused#{UNUSABLE}", Action.DENY, None)])
REFUSED_HOST: Final = VirtualHost("refused", frozenset(), RouteTable.of(Route("refused", _REFUSED)))
"""Takes the hosts of a service that could not be read."""

TARGETS: Final = frozenset({"AgentgatewayBackend", "Gateway", "HTTPRoute", "Service", "ServiceEntry"})
"""Kinds that a policy can target."""
PARENTS: Final = frozenset({"Gateway", "ServiceEntry"})
"""Kinds that a route can attach to."""

_HARMLESS_BLOCKS = frozenset(
    {
        "backend.health",
        "backend.tcp",
        "traffic.delay",
        "traffic.directResponse",
        "traffic.retry",
        "traffic.timeouts",
        "frontend.accessLog",
        "frontend.metrics",
        "frontend.tracing",
    }
)
"""Policy blocks whose absence opens nothing and lets no spoofed header through.

`directResponse` is among them although one may keep requests from an origin: a maintenance page that cannot be read is
left out, as `90-negative.yaml` (4) has it. What must not reach an origin is denied by an authorization rule.
"""


def restricts(spec: PolicySpec) -> bool:
    """Tell whether the absence of a policy may open something."""
    sections = (("traffic", spec.traffic), ("frontend", spec.frontend), ("backend", spec.backend))
    return any(
        f"{name}.{to_camel(block)}" not in _HARMLESS_BLOCKS
        for name, section in sections
        if section is not None
        for block in section.model_fields_set
    )


def names_of(resources: Resources, *kinds: str) -> set[str]:
    """Return the `namespace/name` of every object of these kinds, refused ones too; without kinds, of all of them.

    Kinds matter: a service, its route and its backend often have one name, and what is meant for the one says nothing
    about the others.
    """
    known: dict[str, Collection[str]] = {
        "AgentgatewayBackend": resources.backends,
        "Gateway": resources.gateways,
        "HTTPRoute": resources.routes,
        "Service": resources.services,
        "ServiceEntry": resources.service_entries,
    }
    return {name for kind in kinds or known for name in (*known[kind], *resources.refused_names.get(kind, ()))}


def targets_of_refused(document: Document, resources: Resources) -> set[str]:
    """Return what is denied because a document could not be read: its targets, or everything where they are unclear.

    A policy that holds harmless blocks only is simply left out.
    """
    everything = {""}
    spec, metadata = document.data.get("spec"), document.data.get("metadata")
    if not isinstance(spec, dict) or not isinstance(metadata, dict):
        return everything
    if document.data.get("kind") == "HTTPRoute":
        return _names(spec.get("parentRefs"), metadata, lambda _: names_of(resources, *PARENTS)) or everything
    sections = {
        name: block for name, block in spec.items() if name not in {"targetRefs", "targetSelectors", "strategy"}
    }
    blocks = {
        f"{name}.{inner}" for name, block in sections.items() for inner in (block if isinstance(block, dict) else [""])
    }
    if blocks and blocks <= _HARMLESS_BLOCKS:
        return set()

    def known(kind: Any) -> set[str]:
        return names_of(resources, kind) if kind in TARGETS else names_of(resources)

    return _names(spec.get("targetRefs"), metadata, known) or everything


def _names(references: Any, metadata: dict[str, Any], known: Callable[[Any], set[str]]) -> set[str]:
    """Return the `namespace/name` of every reference, or nothing where one of them cannot be told.

    A reference to something that is not `known` of its kind could have meant anything: it is the empty string.
    """
    if not isinstance(references, list):
        return set()
    names = [reference.get("name") if isinstance(reference, dict) else None for reference in references]
    if not all(isinstance(name, str) for name in names):
        return set()
    own = metadata.get("namespace") or "default"
    named = [
        (reference.get("kind"), f"{reference.get('namespace') or own}/{reference['name']}") for reference in references
    ]
    return {name if name in known(kind) else "" for kind, name in named}


def hosts_of_refused(document: Document) -> set[str]:
    """Return the hosts of a service entry that could not be read; the empty string where they are unclear."""
    spec = document.data.get("spec")
    found = spec.get("hosts") if isinstance(spec, dict) else None
    if not isinstance(found, list) or not found or not all(isinstance(host, str) and host for host in found):
        return {""}
    return {host.lower().removesuffix(".") for host in found}
