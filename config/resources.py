"""Documents to typed models, indexed by kind, namespace and name."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import ValidationError

from config.errors import Finding, Location, Severity, nearest
from config.kinds import KINDS, check_kind, group_of, is_unknown_extension, may_restrict
from config.model.backend import AgentgatewayBackend
from config.model.base import ClusterResource, Resource, field_names
from config.model.cluster import ConfigMap, GatewayClass, ReferenceGrant, Secret, Service
from config.model.gateway import Gateway
from config.model.parameters import AgentgatewayParameters
from config.model.policy import AgentgatewayPolicy
from config.model.route import HTTPRoute
from config.model.service_entry import ServiceEntry
from config.wording import explain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

    from config.manifests import Document, Origin

_CLUSTER_SCOPED = frozenset({"Namespace", "GatewayClass"})

R = TypeVar("R", bound="Resource | ClusterResource")


@dataclass(frozen=True, slots=True)
class Parsed(Generic[R]):
    """A model, and where it came from."""

    model: R
    origin: Origin
    namespace: str

    @property
    def name(self) -> str:
        """`namespace/name`, as logs and findings show it."""
        return f"{self.namespace}/{self.model.metadata.name}"

    @property
    def key(self) -> str:
        """Kind and name: unique among the policies."""
        return f"{self.model.kind} {self.name}"

    @property
    def age(self) -> tuple[bool, float, str]:
        """Sort key: the older `creationTimestamp` first, then namespace/name."""
        created = self.model.metadata.creation_timestamp
        return created is None, created.timestamp() if created else 0.0, self.name

    def locate(self, *path: str | int, key: bool = False) -> Location:
        """Return where a field of this manifest stands."""
        return self.origin.locate(path, key=key)


@dataclass(slots=True)
class Resources:
    """Every manifest that could be read, by kind and `namespace/name`."""

    namespaces: dict[str, Parsed[ClusterResource]] = field(default_factory=dict)
    gateways: dict[str, Parsed[Gateway]] = field(default_factory=dict)
    routes: dict[str, Parsed[HTTPRoute]] = field(default_factory=dict)
    service_entries: dict[str, Parsed[ServiceEntry]] = field(default_factory=dict)
    backends: dict[str, Parsed[AgentgatewayBackend]] = field(default_factory=dict)
    policies: dict[str, Parsed[AgentgatewayPolicy]] = field(default_factory=dict)
    services: dict[str, Parsed[Service]] = field(default_factory=dict)
    secrets: dict[str, Parsed[Secret]] = field(default_factory=dict)
    config_maps: dict[str, Parsed[ConfigMap]] = field(default_factory=dict)
    gateway_classes: dict[str, Parsed[GatewayClass]] = field(default_factory=dict)
    parameters: dict[str, Parsed[AgentgatewayParameters]] = field(default_factory=dict)
    grants: list[Parsed[ReferenceGrant]] = field(default_factory=list)
    refused_services: list[Document] = field(default_factory=list)
    """Service entries that could not be read; their hosts are not given to a wildcard, but denied."""
    refused_names: dict[str, set[str]] = field(default_factory=dict)
    """Kind to the `namespace/name` of every document that could not be used, as far as it tells."""
    refused: list[Document] = field(default_factory=list)
    """Policies and routes that could not be read; without a strict start they deny what they target."""

    def add(self, parsed: Parsed[Any]) -> None:
        """File a manifest under its kind. `AgentgatewayPolicy` and its enterprise twin are told apart by name only."""
        kind = type(parsed.model)
        if kind in {AgentgatewayPolicy, AgentgatewayParameters}:
            (self.policies if kind is AgentgatewayPolicy else self.parameters)[parsed.key] = parsed
        elif kind is ReferenceGrant:
            self.grants.append(parsed)
        elif kind is not ClusterResource:
            self._tables()[kind][parsed.name] = parsed
        elif parsed.model.kind == "Namespace":
            self.namespaces[parsed.model.metadata.name] = parsed

    def _tables(self) -> dict[type, dict[str, Any]]:
        return {
            AgentgatewayBackend: self.backends,
            ConfigMap: self.config_maps,
            Gateway: self.gateways,
            GatewayClass: self.gateway_classes,
            HTTPRoute: self.routes,
            Secret: self.secrets,
            Service: self.services,
            ServiceEntry: self.service_entries,
        }


def parse_resources(documents: Iterable[Document]) -> tuple[Resources, list[Finding]]:
    """Check every document against its model. What cannot be used is left out and becomes a finding."""
    resources = Resources()
    findings: list[Finding] = []
    seen: dict[tuple[str, str, str, str], Origin] = {}
    for document in _unfolded(documents, resources, findings):
        found = list(check_kind(document))
        if not found:
            parsed, found = _parse(document)
            if parsed is not None:
                identity = (group_of(document), parsed.model.kind, parsed.namespace, parsed.model.metadata.name)
                if first := seen.get(identity):
                    found = [
                        Finding(
                            "duplicate-resource",
                            f"{parsed.model.kind} {parsed.name} stands twice; first at {first.location}",
                            document.location,
                            "remove one of them",
                        )
                    ]
                else:
                    seen[identity] = document.origin
                    resources.add(parsed)
        findings += found
        if any(finding.severity is Severity.ERROR for finding in found):
            resources.refused_names.setdefault(str(document.data.get("kind")), set()).add(_name(document))
            if document.data.get("kind") == "ServiceEntry":
                resources.refused_services.append(document)
            elif may_restrict(document):
                resources.refused.append(document)
    return resources, findings


def _unfolded(documents: Iterable[Document], resources: Resources, findings: list[Finding]) -> Iterator[Document]:
    for document in documents:
        if document.data.get("apiVersion") == "v1" and document.data.get("kind") == "List":
            items, faults = document.items()
            if faults:
                findings += faults
                resources.refused.append(document)
            yield from _unfolded(items, resources, findings)
        else:
            yield document


def _name(document: Document) -> str:
    """Return the `namespace/name` of a document that may be malformed."""
    metadata = document.data.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    return f"{known.get('namespace') or 'default'}/{known.get('name')}"


def _parse(document: Document) -> tuple[Parsed[Any] | None, list[Finding]]:
    model_class = KINDS[group_of(document), str(document.data["kind"])][1]
    try:
        # Through JSON, because strict mode then takes lists for tuples, as a manifest means them.
        model = model_class.model_validate_json(json.dumps(document.data))
    except ValidationError as error:
        details = error.errors(include_url=False)
        paths = [detail["loc"] for detail in details]
        # A list whose items are faulty is also called too short; only the items are worth a line.
        own = [d for d in details if not any(p[: len(d["loc"])] == d["loc"] != p for p in paths)]
        return None, [_finding(document, model_class, detail) for detail in own]
    namespace = "" if model.kind in _CLUSTER_SCOPED else model.metadata.namespace or "default"
    unknown = [name for name in model.metadata.annotations if is_unknown_extension(model.kind, name)]
    if unknown:
        return None, [
            Finding(
                "unknown-annotation",
                f"the annotation {name!r} has no meaning on a {model.kind} here",
                document.locate(["metadata", "annotations", name], key=True),
                "known here: expires-at, mode and on-error on a policy, path-escapes on an HTTPRoute",
            )
            for name in unknown
        ]
    return Parsed(model, document.origin, namespace), []


def _finding(document: Document, model_class: type[BaseModel], detail: ErrorDetails) -> Finding:
    """Turn one pydantic error into a finding with the place and, for an unknown field, the nearest known name."""
    path = tuple(detail["loc"])
    field_name = ".".join(map(str, path))
    if model_class is Secret and path[:1] in {("data",), ("stringData",)}:
        field_name = str(path[0])  # `{token:abc}` without the space is a name, and the credential stands in it
    if detail["type"] == "extra_forbidden":
        return Finding(
            "unknown-field",
            f"unknown or not yet supported field {field_name!r}",
            document.locate(path, key=True),
            nearest(str(path[-1]), field_names(model_class, path[:-1])),
        )
    if detail["type"] == "missing":
        return Finding("missing-field", f"{field_name!r} is required", document.locate(path[:-1]))
    if "path" in (context := detail.get("ctx", {})):  # `config.model.base.fault`
        path = (*path, *context["path"])
        field_name = ".".join(map(str, path))
        is_key = detail["type"] == "not-available"
        message = f"{field_name!r} {detail['msg']}" if is_key else f"{field_name!r}: {detail['msg']}"
        return Finding(detail["type"], message, document.locate(path, key=is_key))
    message, hint = explain(detail)
    return Finding("invalid-value", f"{field_name!r} {message}", document.locate(path), hint)
