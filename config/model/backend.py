"""`AgentgatewayBackend` (agentgateway.dev): where and how to connect to an origin."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from config.model.base import Model, Port, Resource

Hostname = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9_.:-]+$")]
"""A DNS name, an IPv4 address, or an IPv6 address without brackets."""


class StaticBackendSpec(Model):
    """`spec.static`: one host and port."""

    host: Hostname
    port: Port


class BackendTlsSpec(Model):
    """`policies.tls`. `{}` originates TLS with the operating system's roots; SNI and verified name are the host."""


class BackendPoliciesSpec(Model):
    """`spec.policies` of a backend."""

    tls: BackendTlsSpec | None = None
    """Absent: the origin is spoken to in plain text."""


class AgentgatewayBackendSpec(Model):
    """`spec` of an `AgentgatewayBackend`."""

    static: StaticBackendSpec
    policies: BackendPoliciesSpec = BackendPoliciesSpec()


class AgentgatewayBackend(Resource):
    """An `AgentgatewayBackend` manifest."""

    spec: AgentgatewayBackendSpec
