"""`AgentgatewayParameters`: how a cluster deploys the proxy of a Gateway, and how it logs."""

from __future__ import annotations

from typing import Any, Literal

from config.model.base import Model, NotAvailable, Resource


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

    istio: IstioSpec | None = None
    logging: LoggingSpec | None = None
    deployment: Any = None
    service: Any = None
    service_account: Any = None
    image: Any = None
    resources: Any = None
    raw_config: NotAvailable = None


class AgentgatewayParameters(Resource):
    """An `AgentgatewayParameters` or `EnterpriseAgentgatewayParameters` manifest."""

    spec: ParametersSpec = ParametersSpec()
