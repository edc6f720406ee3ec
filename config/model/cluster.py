"""Kinds that others refer to: `Service`, `Secret`, `ConfigMap`, `GatewayClass`, `ReferenceGrant`."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from pydantic import Field, SecretStr, model_validator

from config.model.base import ClusterResource, LenientModel, Model, Name, NoEffect, Port, Resource, Text, fault
from config.secret_values import SecretValue


class ServicePort(LenientModel):
    """`spec.ports[]` of a `Service`."""

    port: Port
    """Port that references may name."""
    name: str = ""
    target_port: Annotated[int | str | None, NoEffect("the cluster maps it")] = None
    """Not read: a `Service` is dialled by its cluster name, where the cluster maps it."""
    app_protocol: Annotated[str | None, NoEffect("http.version of the backend says it")] = None


class ServiceSpec(LenientModel):
    """`spec` of a `Service`."""

    ports: tuple[ServicePort, ...] = ()


class Service(ClusterResource):
    """A `Service` manifest: dialled as `name.namespace.svc.cluster.local:port`."""

    spec: ServiceSpec = ServiceSpec()


class Secret(Resource):
    """A `Secret` manifest. Its values are masked wherever it is shown."""

    type: str = "Opaque"
    """Not looked at."""
    immutable: Annotated[bool, NoEffect("a cluster holds to it")] = False
    data: dict[str, SecretStr] = Field(default_factory=dict)
    """Base64."""
    string_data: dict[str, SecretStr] = Field(default_factory=dict)
    """As it is; wins over `data`."""

    @model_validator(mode="after")
    def _check(self) -> Secret:
        for key, value in self.data.items():
            try:
                base64.b64decode(value.get_secret_value(), validate=True)
            except (binascii.Error, ValueError):
                fault("invalid-value", "not base64 (text goes into stringData)", "data", key)
        return self

    def value(self, key: str) -> SecretValue | None:
        """Return the value of a key, if there is one."""
        if (text := self.string_data.get(key)) is not None:
            return SecretValue(text.get_secret_value().encode())
        if (encoded := self.data.get(key)) is not None:
            return SecretValue(base64.b64decode(encoded.get_secret_value()))
        return None

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of its values, sorted."""
        return tuple(sorted({*self.data, *self.string_data}))


class ConfigMap(Resource):
    """A `ConfigMap` manifest."""

    immutable: Annotated[bool, NoEffect("a cluster holds to it")] = False
    data: dict[str, str] = Field(default_factory=dict)
    """Texts by key; `ca.crt` is read."""
    binary_data: Annotated[dict[str, str], NoEffect("nothing refers to binary data")] = Field(default_factory=dict)
    """Not read."""


class ParametersReference(Model):
    """`parametersRef` of a `GatewayClass` or of a `Gateway`'s `infrastructure`."""

    group: Text
    kind: Text
    name: Name
    namespace: Name | None = None


class GatewayClassSpec(Model):
    """`spec` of a `GatewayClass`."""

    controller_name: Text
    description: str = ""
    parameters_ref: ParametersReference | None = None


class GatewayClass(Resource):
    """A `GatewayClass` manifest: which implementation a `Gateway` asks for."""

    spec: Annotated[GatewayClassSpec, NoEffect("this process is the implementation, whatever the class")]


class GrantFrom(Model):
    """`spec.from[]`: who may refer."""

    group: str
    """API group of what refers."""
    kind: Text
    """Kind of what refers."""
    namespace: Name
    """Namespace of what refers."""


class GrantTo(Model):
    """`spec.to[]`: to what."""

    group: str
    """API group of what is referred to."""
    kind: Text
    """Kind of what is referred to."""
    name: Name | None = None
    """None: every object of the kind in the grant's namespace."""


class ReferenceGrantSpec(Model):
    """`spec` of a `ReferenceGrant`."""

    from_: Annotated[tuple[GrantFrom, ...], Field(alias="from", min_length=1, max_length=16)]
    to: Annotated[tuple[GrantTo, ...], Field(min_length=1, max_length=16)]


class ReferenceGrant(Resource):
    """A `ReferenceGrant` manifest: references into its namespace that are allowed. Source: Gateway API GEP-709."""

    spec: ReferenceGrantSpec
