"""`AgentgatewayParameters`: how a cluster deploys the proxy of a Gateway, and how it logs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from config.model.base import Model, NoEffect, NotAvailable, Resource

_DEPLOYED = NoEffect("it is for a cluster, which deploys the proxy")


class IstioSpec(Model):
    """`spec.istio`: the mesh that a deployed proxy joins."""

    enabled: bool = True


class LoggingSpec(Model):
    """`spec.logging`."""

    level: Literal["info"] | None = None
    """The process logs at this level always."""
    format: Literal["json"] | None = None
    """The only one there is."""


class ParametersSpec(Model):
    """`spec`. What describes the deployed Kubernetes objects has no meaning for a process that somebody else starts."""

    istio: Annotated[IstioSpec | None, _DEPLOYED] = None
    logging: LoggingSpec | None = None
    deployment: Annotated[Any, _DEPLOYED] = None
    service: Annotated[Any, _DEPLOYED] = None
    service_account: Annotated[Any, _DEPLOYED] = None
    image: Annotated[Any, _DEPLOYED] = None
    resources: Annotated[Any, _DEPLOYED] = None
    raw_config: NotAvailable = None


class AgentgatewayParameters(Resource):
    """An `AgentgatewayParameters` or `EnterpriseAgentgatewayParameters` manifest."""

    spec: ParametersSpec = ParametersSpec()
