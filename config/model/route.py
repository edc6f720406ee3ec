"""`HTTPRoute` (gateway.networking.k8s.io): which backend answers for a service."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from config.model.base import Model, Name, ObjectReference, Port, Resource, SectionName


class ParentReference(ObjectReference):
    """`spec.parentRefs[]`: the `ServiceEntry` whose requests this route takes."""

    kind: str = "Gateway"


class BackendReference(Model):
    """`spec.rules[].backendRefs[]`."""

    group: str = ""
    kind: str = "Service"
    name: Name
    namespace: Name | None = None
    """Default: the route's namespace."""
    port: Port | None = None


class RouteRuleSpec(Model):
    """`spec.rules[]`. Without `matches` a rule takes every request."""

    name: SectionName | None = None
    backend_refs: Annotated[tuple[BackendReference, ...], Field(min_length=1, max_length=1)]


class HTTPRouteSpec(Model):
    """`spec` of an `HTTPRoute`."""

    parent_refs: Annotated[tuple[ParentReference, ...], Field(min_length=1)]
    rules: Annotated[tuple[RouteRuleSpec, ...], Field(min_length=1, max_length=1)]


class HTTPRoute(Resource):
    """An `HTTPRoute` manifest."""

    spec: HTTPRouteSpec
