"""`ServiceEntry` (networking.istio.io): an external destination by host name."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from config.model.base import Model, Port, Resource, Text

HostPattern = Annotated[
    str,
    Field(max_length=253, pattern=r"^(\*\.)?[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?(\.[A-Za-z0-9_][-A-Za-z0-9_]*)*$"),
]
"""A host name, or `*.` and a suffix of one."""


class ServicePortSpec(Model):
    """`spec.ports[]`."""

    number: Port
    name: Text
    protocol: Literal["HTTP", "HTTPS", "HTTP2", "GRPC", "TLS", "TCP"] = "HTTP"


class ServiceEntrySpec(Model):
    """`spec` of a `ServiceEntry`."""

    hosts: Annotated[tuple[HostPattern, ...], Field(min_length=1)]
    location: Literal["MESH_EXTERNAL", "MESH_INTERNAL"] = "MESH_EXTERNAL"
    resolution: Literal["DNS", "NONE"] = "DNS"
    """How the hosts are resolved where no route names a backend. `DNS`: by name, at dial time."""
    ports: Annotated[tuple[ServicePortSpec, ...], Field(min_length=1)]


class ServiceEntry(Resource):
    """A `ServiceEntry` manifest."""

    spec: ServiceEntrySpec
