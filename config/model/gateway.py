"""`Gateway` (gateway.networking.k8s.io): the gateway this process is."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from config.model.base import Labels, Model, NoEffect, NotAvailable, Port, Resource, SectionName, Text, fault
from config.model.cluster import ParametersReference
from config.model.service_entry import HostPattern


class LabelSelector(Model):
    """A label selector; of its forms `matchLabels` only."""

    match_labels: Labels
    match_expressions: NotAvailable = None


class RouteNamespaces(Model):
    """`allowedRoutes.namespaces`. Source: Gateway API `RouteNamespaces`."""

    from_: Annotated[Literal["All", "Same", "Selector"], Field(alias="from")] = "Same"
    selector: LabelSelector | None = None

    @model_validator(mode="after")
    def _check(self) -> RouteNamespaces:
        if (self.from_ == "Selector") != (self.selector is not None):
            fault("invalid-value", "selector goes with from: Selector", "selector")
        return self


class RouteGroupKind(Model):
    """`allowedRoutes.kinds[]`."""

    group: str = "gateway.networking.k8s.io"
    """API group of the routes."""
    kind: Text
    """Kind of the routes."""


class AllowedRoutes(Model):
    """`allowedRoutes`: which routes may attach to a listener."""

    namespaces: RouteNamespaces = RouteNamespaces()
    kinds: tuple[RouteGroupKind, ...] = ()
    """Empty: every kind."""


class ListenerSpec(Model):
    """`spec.listeners[]`. Real sockets are opened by `uvicorn` and the `EGRESS_*_LISTEN` settings."""

    name: SectionName
    """What `sectionName` refers to."""
    hostname: HostPattern | None = None
    """Hosts of the routes that attach here; none: all."""
    port: Port
    """Port that requests may name; which sockets are opened is a setting."""
    protocol: Text
    """`HBONE`: routes and policies that name no listener belong to it."""
    tls: NotAvailable = None
    allowed_routes: AllowedRoutes = AllowedRoutes()


class InfrastructureSpec(Model):
    """`spec.infrastructure`: what a cluster makes for the Gateway; no meaning here."""

    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    parameters_ref: ParametersReference | None = None


class GatewaySpec(Model):
    """`spec` of a `Gateway`."""

    gateway_class_name: Annotated[Text, NoEffect("this process is the implementation, whatever the class")]
    listeners: Annotated[tuple[ListenerSpec, ...], Field(min_length=1, max_length=64)]
    addresses: Annotated[Any, NoEffect("where a cluster makes it reachable")] = None
    """Where a cluster makes it reachable; not read."""
    infrastructure: Annotated[InfrastructureSpec | None, NoEffect("what a cluster makes for it")] = None

    @model_validator(mode="after")
    def _check(self) -> GatewaySpec:
        names = [listener.name for listener in self.listeners]
        for index, name in enumerate(names):
            if name in names[:index]:
                fault("invalid-value", f"two listeners are called {name!r}", "listeners", index, "name")
        return self


class Gateway(Resource):
    """A `Gateway` manifest."""

    spec: GatewaySpec
