"""`ServiceEntry` (networking.istio.io): an external destination by host name."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from config.model.base import Model, NoEffect, Port, Resource, Text, fault

HostPattern = Annotated[
    str,
    Field(max_length=253, pattern=r"^(\*\.)?[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?(\.[A-Za-z0-9_][-A-Za-z0-9_]*)*$"),
]
"""A host name, or `*.` and a suffix of one."""


class ServicePortSpec(Model):
    """`spec.ports[]`."""

    number: Port
    """Port that requests may name."""
    name: Text
    """What endpoints and routes refer to."""
    protocol: Literal["HTTP", "HTTPS", "HTTP2", "GRPC", "TLS", "TCP"] = "HTTP"
    target_port: Port | None = None
    """Port that is dialled in place of `number`, where no route names a backend."""


class WorkloadEntrySpec(Model):
    """`spec.endpoints[]`: one of several addresses of a service with `resolution: STATIC`."""

    address: Annotated[str, Field(min_length=1, max_length=253)]
    """An IP address."""
    ports: dict[str, Port] = Field(default_factory=dict)
    """Port name to the port of this endpoint."""
    weight: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    """Share of the requests; none is 1, and 0 none."""
    labels: dict[str, str] = Field(default_factory=dict)
    network: Annotated[str, NoEffect("it is for a mesh")] = ""
    locality: Annotated[str, NoEffect("it is for a mesh")] = ""
    service_account: Annotated[str, NoEffect("it is for a mesh")] = ""


class ServiceEntrySpec(Model):
    """`spec` of a `ServiceEntry`."""

    hosts: Annotated[tuple[HostPattern, ...], Field(min_length=1)]
    """DNS names or `*.suffix`es."""
    addresses: Annotated[tuple[str, ...], NoEffect("callers name the host")] = ()
    """Virtual addresses that a mesh routes here; direct callers never use them."""
    location: Literal["MESH_EXTERNAL", "MESH_INTERNAL"] = "MESH_EXTERNAL"
    resolution: Literal["DNS", "STATIC", "NONE"] = "DNS"
    """How the hosts are resolved where no route names a backend. `DNS`: by name; `STATIC`: `endpoints`."""
    ports: Annotated[tuple[ServicePortSpec, ...], Field(min_length=1)]
    endpoints: tuple[WorkloadEntrySpec, ...] = ()
    export_to: Annotated[Any, NoEffect("it is for a mesh")] = None
    """Visibility inside a mesh; not read."""
    subject_alt_names: tuple[Text, ...] = ()
    """Names of which the origin's certificate must carry one, where no `verifySubjectAltNames` says so."""

    @model_validator(mode="after")
    def _check(self) -> ServiceEntrySpec:
        if (self.resolution == "STATIC") != bool(self.endpoints):
            fault("invalid-value", "endpoints go with resolution: STATIC, which needs them", "endpoints")
        for index, endpoint in enumerate(self.endpoints):
            try:
                ipaddress.ip_address(endpoint.address)
            except ValueError:
                fault("invalid-value", f"{endpoint.address!r} is no IP address", "endpoints", index, "address")
            for name in endpoint.ports:
                if name not in {port.name for port in self.ports}:
                    fault("invalid-value", f"the service has no port {name!r}", "endpoints", index, "ports", name)
        if self.endpoints and not any(endpoint.weight != 0 for endpoint in self.endpoints):
            fault("invalid-value", "every endpoint has the weight 0", "endpoints")
        return self


class ServiceEntry(Resource):
    """A `ServiceEntry` manifest."""

    spec: ServiceEntrySpec
