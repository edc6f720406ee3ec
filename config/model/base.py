"""The strict, frozen, camelCase base of every manifest model, and what all manifests share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, NoReturn

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

Name = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
"""A Kubernetes object name: DNS subdomain, RFC 1123."""
SectionName = Name
"""Name of a listener or of a route's rule."""
Port = Annotated[int, Field(ge=1, le=65535)]
Text = Annotated[str, Field(min_length=1)]
ShortText = Annotated[str, Field(min_length=1, max_length=256)]
Labels = Annotated[dict[str, str], Field(min_length=1)]
"""`matchLabels`."""
Cel = Annotated[str, Field(min_length=1, max_length=16384)]
"""A CEL expression, compiled later."""

_HEADER_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  RFC 9110 section 5.6.2 calls it a token
HeaderName = Annotated[str, Field(max_length=256, pattern=rf"^{_HEADER_TOKEN}$")]
"""A header field name: a token, RFC 9110 section 5.1."""


def fault(code: str, message: str, *path: str | int) -> NoReturn:
    """Refuse what a model's fields say together.

    Args:
        code: the finding's slug.
        message: what is wrong.
        path: the field to point at, below the model that is validated.

    Raises:
        PydanticCustomError: always.

    """
    # Literal braces would be taken for fields of the template.
    raise PydanticCustomError(code, "{message}", {"message": message, "path": path})


_DURATION = re.compile(r"(?:[0-9]{1,5}(?:h|m|s|ms)){1,4}")
_DURATION_PART = re.compile(r"([0-9]{1,5})(h|m(?!s)|s|ms)")
_UNIT_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def _seconds(value: Any) -> Any:
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        fault("invalid-value", "not a duration such as 5s, 500ms or 1m30s (GEP-2257)")
    return sum(int(number) * _UNIT_SECONDS[unit] for number, unit in _DURATION_PART.findall(value))


Seconds = Annotated[float, BeforeValidator(_seconds)]
"""A duration, written as Gateway API does (GEP-2257): `500ms`, `1m30s`. Held in seconds."""

_QUANTITY = re.compile(r"([0-9]+)(|k|M|G|Ki|Mi|Gi)")
_FACTORS = {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3, "Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}


def _bytes(value: Any) -> Any:
    match = _QUANTITY.fullmatch(str(value)) if isinstance(value, (str, int)) and not isinstance(value, bool) else None
    size = int(match[1]) * _FACTORS[match[2]] if match else 0
    if not 1 <= size < 2**32:
        fault("invalid-value", "not a size in bytes such as 65536, 64Ki or 1M, from 1 to 4294967295")
    return size


ByteSize = Annotated[int, BeforeValidator(_bytes)]
"""A size, written as a Kubernetes quantity: `64Ki`, `1M`. Held in bytes."""


def _not_available(value: Any) -> Any:
    if value is not None:
        fault("not-available", "is known to AgentGateway and not available here")


NotAvailable = Annotated[None, BeforeValidator(_not_available)]
"""A field of AgentGateway's or Gateway API's that this gateway does not have: refused, never ignored."""


@dataclass(frozen=True, slots=True)
class NoEffect:
    """Marks a field that is accepted and changes nothing: `Annotated[Any, NoEffect("why")]`; for docs/fields.md."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Marks a field some of whose values are known to others and refused here; for docs/fields.md."""

    values: tuple[str, ...]


class Concealed:
    """Marks a field whose value may be a credential: no report shows the line it stands in. `SecretStr` implies it."""


CONCEALED: Final = Concealed()


def as_tuples(data: Any) -> Any:
    """Return data with its lists as tuples, which strict models take once a validator has had it as Python data."""
    if isinstance(data, dict):
        return {key: as_tuples(value) for key, value in data.items()}
    return tuple(map(as_tuples, data)) if isinstance(data, (list, tuple)) else data


class Model(BaseModel):
    """An unknown field is an error: a misspelt policy must never vanish."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, alias_generator=to_camel, defer_build=True)


class LenientModel(BaseModel):
    """For what a cluster writes far more into than is read here: metadata, and kinds of which only names matter."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, defer_build=True)

    ignored: ClassVar[str] = "a cluster writes more into it than is read here"
    """Why the other fields have no effect."""


class ObjectMeta(LenientModel):
    """`metadata` of any manifest. Other fields of it are ignored."""

    name: Name
    """Unique within namespace and kind."""
    namespace: Name | None = None
    """Default: `default`."""
    labels: dict[str, str] = Field(default_factory=dict)
    """What selectors compare, and `istio.io/use-waypoint`."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """Those that begin with `egress-gateway.dev/` mean something here."""
    creation_timestamp: datetime | None = None
    """Set by the cluster; the older of two equal candidates wins."""


class Resource(Model):
    """What every manifest has."""

    api_version: str
    """Group and version."""
    kind: str
    """Kind of the manifest."""
    metadata: ObjectMeta
    status: Annotated[Any, NoEffect("controllers write it")] = None
    """What a cluster says of the object."""


class ClusterResource(LenientModel):
    """`Namespace`, `ServiceAccount`, `Pod`: only their names and labels are read."""

    api_version: str
    """Group and version."""
    kind: str
    """Kind of the manifest."""
    metadata: ObjectMeta


class ObjectReference(Model):
    """A reference by group, kind and name (Gateway API `ParentReference`, `BackendObjectReference`)."""

    group: str = "gateway.networking.k8s.io"
    """API group."""
    kind: Text
    name: Name
    """Name of the object."""
    namespace: Name | None = None
    """Default: the namespace of the object that refers."""


class BackendReference(Model):
    """A `backendRef`: a `Service` unless group and kind say otherwise (Gateway API `BackendObjectReference`)."""

    group: str = ""
    """`agentgateway.dev`, or empty for a `Service`."""
    kind: str = "Service"
    """`AgentgatewayBackend` or `Service`."""
    name: Name
    """Name of the backend or `Service`."""
    namespace: Name | None = None
    """Default: the namespace of the object that refers."""
    port: Port | None = None
    """Required for a `Service`."""


class SecretReference(Model):
    """A `Secret` of the same namespace (AgentGateway `LocalSecretObjectRef`)."""

    name: Name
    """Name of a `Secret` of the same namespace."""
    group: str = ""
    """Empty: the core group."""
    kind: str = "Secret"
    """`Secret`."""


class SecretKeyReference(SecretReference):
    """A key of a `Secret` of the same namespace (AgentGateway `LocalSecretKeyRef`)."""

    key: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """None: the default of the place that refers."""


def exactly_one(model: BaseModel, *names: str) -> None:
    """Refuse a model of which not exactly one of these fields is set."""
    given = [name for name in names if getattr(model, name) is not None]
    if len(given) != 1:
        words = ", ".join(map(to_camel, names))
        fault("invalid-value", f"exactly one of {words} must be set, not {len(given)}", *map(to_camel, given[1:2]))


def at_most_one(model: BaseModel, *names: str) -> None:
    """Refuse a model of which several of these fields are set."""
    given = [to_camel(name) for name in names if getattr(model, name) is not None]
    if len(given) > 1:
        fault("invalid-value", f"{' and '.join(given)} cannot be set together", given[1])


def field_names(model_class: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    """Return the field names that are known at a path below a model."""
    model: Any = model_class
    for step in path:
        if isinstance(step, int):
            continue
        fields = {info.alias: info.annotation for info in getattr(model, "model_fields", {}).values()}
        model = _model_in(fields.get(step))
    infos = getattr(model, "model_fields", {}).values()
    return [info.alias for info in infos if info.annotation is not type(None)]  # of `NotAvailable` nothing is told


def _model_in(annotation: Any) -> Any:
    """Return the model class inside `tuple[Model, ...]`, `Model | None` and the like."""
    if hasattr(annotation, "model_fields"):
        return annotation
    inner = (_model_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((model for model in inner if model is not None), None)
