"""The kinds of manifests: which are read, in which versions and annotations, and what becomes of the others.

`docs/manifests.md` says it in full; its rule is that nothing which could be a misspelt policy is skipped.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from config.errors import Finding, Severity, nearest
from config.model.backend import AgentgatewayBackend
from config.model.base import ClusterResource, Resource
from config.model.cluster import ConfigMap, GatewayClass, ReferenceGrant, Secret, Service
from config.model.gateway import Gateway
from config.model.parameters import AgentgatewayParameters
from config.model.policy import AgentgatewayPolicy
from config.model.route import HTTPRoute
from config.model.service_entry import ServiceEntry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from config.manifests import Document

GATEWAY_API = "gateway.networking.k8s.io"
ISTIO = "networking.istio.io"
AGENTGATEWAY = "agentgateway.dev"
ENTERPRISE = "enterpriseagentgateway.solo.io"
_EXTENSION_PREFIX = "egress-gateway.dev/"
_POLICY_EXTENSIONS = frozenset({"expires-at", "mode", "on-error"})
EXTENSIONS: dict[str, frozenset[str]] = {
    "AgentgatewayPolicy": _POLICY_EXTENSIONS,
    "EnterpriseAgentgatewayPolicy": _POLICY_EXTENSIONS,
    "HTTPRoute": frozenset({"path-escapes"}),
}
"""Kind to the annotations of ours that mean something on it."""

KINDS: dict[tuple[str, str], tuple[frozenset[str], type[Resource | ClusterResource]]] = {
    ("", "ConfigMap"): (frozenset({"v1"}), ConfigMap),
    ("", "Namespace"): (frozenset({"v1"}), ClusterResource),
    ("", "Pod"): (frozenset({"v1"}), ClusterResource),
    ("", "Secret"): (frozenset({"v1"}), Secret),
    ("", "Service"): (frozenset({"v1"}), Service),
    ("", "ServiceAccount"): (frozenset({"v1"}), ClusterResource),
    (GATEWAY_API, "Gateway"): (frozenset({"v1", "v1beta1"}), Gateway),
    (GATEWAY_API, "GatewayClass"): (frozenset({"v1", "v1beta1"}), GatewayClass),
    (GATEWAY_API, "HTTPRoute"): (frozenset({"v1", "v1beta1"}), HTTPRoute),
    (GATEWAY_API, "ReferenceGrant"): (frozenset({"v1", "v1beta1"}), ReferenceGrant),
    (ISTIO, "ServiceEntry"): (frozenset({"v1", "v1beta1", "v1alpha3"}), ServiceEntry),
    (AGENTGATEWAY, "AgentgatewayBackend"): (frozenset({"v1alpha1"}), AgentgatewayBackend),
    (AGENTGATEWAY, "AgentgatewayParameters"): (frozenset({"v1alpha1"}), AgentgatewayParameters),
    (AGENTGATEWAY, "AgentgatewayPolicy"): (frozenset({"v1alpha1"}), AgentgatewayPolicy),
    (ENTERPRISE, "EnterpriseAgentgatewayParameters"): (frozenset({"v1alpha1"}), AgentgatewayParameters),
    (ENTERPRISE, "EnterpriseAgentgatewayPolicy"): (frozenset({"v1alpha1"}), AgentgatewayPolicy),
}
"""Kinds that are read: group and kind to the accepted versions and the model."""

LATER_KINDS = frozenset(
    {
        ("ratelimit.solo.io", "RateLimitConfig"),
        ("extauth.solo.io", "AuthConfig"),
    }
)
"""Kinds whose meaning is known and that are not available: refused, as skipping one could drop a policy."""

_UNRESTRICTIVE_KINDS = frozenset(
    name for (_, name), (_, model) in KINDS.items() if not issubclass(model, (AgentgatewayPolicy, HTTPRoute))
) | frozenset(name for _, name in LATER_KINDS)
"""Kinds that no request is let through for lack of."""

_SKIPPABLE_GROUPS = frozenset({"", GATEWAY_API, ISTIO})
_OWN_GROUPS = frozenset({AGENTGATEWAY, ENTERPRISE, "ratelimit.solo.io", "extauth.solo.io"})


_MISSPELT = 0.83
"""How alike, from 0 to 1, a kind is to one it is a slip for: above any two real kinds of these groups."""


def group_of(document: Document) -> str:
    """Return the API group of a document that may be malformed."""
    return str(document.data.get("apiVersion", "")).rpartition("/")[0]


def may_restrict(document: Document) -> bool:
    """Tell whether a refused document could have been a policy, or the route that one targets; when in doubt it was."""
    kind = document.data.get("kind")
    return not isinstance(kind, str) or kind not in _UNRESTRICTIVE_KINDS


def check_kind(document: Document) -> Iterator[Finding]:
    """Find what is wrong with `apiVersion` and `kind`, or why the document is skipped."""
    kind, api_version = document.data.get("kind"), document.data.get("apiVersion")
    for name, value in (("apiVersion", api_version), ("kind", kind)):
        if not isinstance(value, str) or not value:
            yield Finding("missing-field", f"a manifest needs {name!r}", document.locate([name]))
            return
    group, _, version = str(api_version).rpartition("/")
    if known := KINDS.get((group, str(kind))):
        if version not in known[0]:
            hint = f"use {' or '.join(f'{group}/{v}' if group else v for v in sorted(known[0]))}"
            message = f"{kind} is not read in version {api_version!r}"
            yield Finding("unknown-version", message, document.locate(["apiVersion"]), hint)
    elif (group, str(kind)) in LATER_KINDS:
        yield Finding("kind-not-available", f"{kind} is not available", document.locate(["kind"]), "remove it")
    elif group in _OWN_GROUPS:
        kinds = [name for known_group, name in KINDS if known_group == group]
        yield Finding(
            "unknown-kind", f"unknown kind {kind!r} in {group}", document.locate(["kind"]), nearest(str(kind), kinds)
        )
    elif str(kind).startswith(("Agentgateway", "EnterpriseAgentgateway")):
        hint = nearest(group, {known_group for known_group, name in KINDS if name == kind} or _OWN_GROUPS)
        message = f"{kind} does not belong to the group {group!r}"
        yield Finding("unknown-group", message, document.locate(["apiVersion"]), hint)
    elif meant := difflib.get_close_matches(str(kind).lower(), _lowered(group), n=1, cutoff=_MISSPELT):
        # `HttpRoute` must not vanish: without the route its service would be called directly, in plain text.
        hint = nearest(meant[0], [name for known_group, name in KINDS if known_group == group])
        yield Finding("unknown-kind", f"unknown kind {kind!r} in {group or 'v1'}", document.locate(["kind"]), hint)
    else:
        reason = "of this kind nothing is read" if group in _SKIPPABLE_GROUPS else "of this API group nothing is read"
        homes = [known_group for known_group, name in KINDS if name == kind]
        hint = f"{kind} is read in the group {homes[0] or 'v1'}" if homes else ""
        yield Finding(
            "skipped", f"{kind} skipped: {reason}", document.locate(["kind"]), hint, severity=Severity.WARNING
        )


def _lowered(group: str) -> list[str]:
    """Return the kinds that are read of a group, in lower case."""
    return [name.lower() for known_group, name in KINDS if known_group == group]


def is_unknown_extension(kind: str, annotation: str) -> bool:
    """Tell whether an annotation is one of ours and means nothing on a kind."""
    if not annotation.startswith(_EXTENSION_PREFIX):
        return False
    return annotation.removeprefix(_EXTENSION_PREFIX) not in EXTENSIONS.get(kind, ())
