"""`Gateway` (gateway.networking.k8s.io): the gateway this process is."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from config.model.base import Model, Port, Resource, SectionName, Text


class ListenerSpec(Model):
    """`spec.listeners[]`. Real sockets are opened by `uvicorn` and the `EGRESS_*_LISTEN` settings."""

    name: SectionName
    port: Port
    protocol: Text


class GatewaySpec(Model):
    """`spec` of a `Gateway`."""

    gateway_class_name: Text
    listeners: Annotated[tuple[ListenerSpec, ...], Field(min_length=1)]


class Gateway(Resource):
    """A `Gateway` manifest."""

    spec: GatewaySpec
