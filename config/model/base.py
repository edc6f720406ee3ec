"""The strict, frozen, camelCase base of every manifest model, and what all manifests share."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Name = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
"""A Kubernetes object name: DNS subdomain, RFC 1123."""
SectionName = Name
"""Name of a listener or of a route's rule."""
Port = Annotated[int, Field(ge=1, le=65535)]
Text = Annotated[str, Field(min_length=1)]


class Model(BaseModel):
    """An unknown field is an error: a misspelt policy must never vanish."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, alias_generator=to_camel, use_attribute_docstrings=True
    )


class LenientModel(BaseModel):
    """For what a cluster writes far more into than is read here: metadata, and kinds of which only names matter."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, use_attribute_docstrings=True)


class ObjectMeta(LenientModel):
    """`metadata` of any manifest. Other fields of it are ignored."""

    name: Name
    namespace: Name | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    creation_timestamp: datetime | None = None
    """Set by the cluster; the older of two equal candidates wins."""


class Resource(Model):
    """What every manifest has."""

    api_version: str
    kind: str
    metadata: ObjectMeta
    status: Any = None
    """Written by controllers; not read."""


class ClusterResource(LenientModel):
    """`Namespace`, `ServiceAccount`, `Pod`, `Service`: only their names and labels are read."""

    api_version: str
    kind: str
    metadata: ObjectMeta


class ObjectReference(Model):
    """A reference by group, kind and name (Gateway API `ParentReference`, `BackendObjectReference`)."""

    group: str = "gateway.networking.k8s.io"
    kind: Text
    name: Name
    namespace: Name | None = None
    """Default: the namespace of the object that refers."""


def field_names(model_class: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    """Return the field names that are known at a path below a model."""
    model: Any = model_class
    for step in path:
        if isinstance(step, int):
            continue
        fields = {to_camel(name): info.annotation for name, info in getattr(model, "model_fields", {}).items()}
        model = _model_in(fields.get(step))
    return [to_camel(name) for name in getattr(model, "model_fields", {})]


def _model_in(annotation: Any) -> Any:
    """Return the model class inside `tuple[Model, ...]`, `Model | None` and the like."""
    if hasattr(annotation, "model_fields"):
        return annotation
    inner = (_model_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((model for model in inner if model is not None), None)
