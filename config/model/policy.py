"""`AgentgatewayPolicy` and `EnterpriseAgentgatewayPolicy`: what is attached to other objects."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from config.model.authorization import AuthorizationSpec
from config.model.backend import BackendPoliciesSpec
from config.model.base import (
    Labels,
    Model,
    NotAvailable,
    ObjectReference,
    Refused,
    Resource,
    SectionName,
    Text,
    as_tuples,
    fault,
)
from config.model.client_auth import ApiKeyAuthenticationSpec, BasicAuthenticationSpec, JwtAuthenticationSpec
from config.model.headers import HeaderModifiersSpec, TransformationOrConditionalSpec
from config.model.resilience import BufferSpec, DelaySpec, RetrySpec, TimeoutsSpec
from config.model.responses import (
    CorsSpec,
    CsrfSpec,
    DirectResponseOrConditionalSpec,
    HostRewriteSpec,
    RequestRedirectSpec,
    UrlRewriteSpec,
)


class TargetReference(ObjectReference):
    """`spec.targetRefs[]`."""

    section_name: SectionName | None = None
    """A Gateway's listener, a route's rule, a Service's port; none: the whole object."""
    port: NotAvailable = None


class TargetSelector(Model):
    """`spec.targetSelectors[]`: every object of the kind in the policy's namespace that carries the labels."""

    group: str = "gateway.networking.k8s.io"
    """API group of what is selected."""
    kind: Text
    """Kind of what is selected."""
    match_labels: Labels
    """Labels that it must have, all of them."""
    section_name: SectionName | None = None
    """A listener, rule or port of what is selected."""
    port: NotAvailable = None


class StrategySpec(Model):
    """`spec.strategy`."""

    inheritance: Literal["Default", "Override"] | None = None
    """`Override`: weaker levels win. Traffic policies attached below this one's target are left out."""


class TrafficSpec(Model):
    """`spec.traffic`: what happens to requests."""

    authorization: AuthorizationSpec | None = None
    jwt_authentication: JwtAuthenticationSpec | None = None
    basic_authentication: BasicAuthenticationSpec | None = None
    api_key_authentication: ApiKeyAuthenticationSpec | None = None
    transformation: TransformationOrConditionalSpec | None = None
    header_modifiers: HeaderModifiersSpec | None = None
    host_rewrite: HostRewriteSpec | None = None
    url_rewrite: UrlRewriteSpec | None = None
    request_redirect: RequestRedirectSpec | None = None
    direct_response: DirectResponseOrConditionalSpec | None = None
    cors: CorsSpec | None = None
    csrf: CsrfSpec | None = None
    timeouts: TimeoutsSpec | None = None
    retry: RetrySpec | None = None
    buffer: BufferSpec | None = None
    delay: DelaySpec | None = None
    phase: Annotated[Literal["PostRouting"] | None, Refused(("PreRouting",))] = None
    rate_limit: NotAvailable = None
    ent_rate_limit: NotAvailable = None
    ext_auth: NotAvailable = None
    ent_ext_auth: NotAvailable = None
    ext_proc: NotAvailable = None


class FrontendSpec(Model):
    """`spec.frontend`: what happens to connections, and what is told of them."""

    network_authorization: AuthorizationSpec | None = None
    access_log: NotAvailable = None
    metrics: NotAvailable = None
    tracing: NotAvailable = None
    tcp: NotAvailable = None
    tls: NotAvailable = None
    http: NotAvailable = None
    proxy_protocol: NotAvailable = None
    connect: NotAvailable = None


class PolicySpec(Model):
    """`spec` of a policy."""

    target_refs: Annotated[tuple[TargetReference, ...], Field(max_length=16)] = ()
    target_selectors: Annotated[tuple[TargetSelector, ...], Field(max_length=16)] = ()
    strategy: StrategySpec | None = None
    traffic: TrafficSpec | None = None
    frontend: FrontendSpec | None = None
    backend: BackendPoliciesSpec | None = None

    @model_validator(mode="before")
    @classmethod
    def _check_targets(cls, data: Any) -> Any:
        """Judge targets before blocks: a block that is faulty in itself is none of a target that cannot have it."""
        if not isinstance(data, dict):
            return data
        given = [name for name in ("targetRefs", "targetSelectors") if data.get(name) is not None]
        if not given and data.keys() - {info.alias for info in cls.model_fields.values()}:
            return as_tuples(data)  # one of the unknown fields is the misspelt target, and is reported as that
        if len(given) != 1:
            fault("missing-target", f"exactly one of targetRefs, targetSelectors must be set, not {len(given)}")
        targets = data[given[0]]
        if not isinstance(targets, list):
            return as_tuples(data)
        if not targets:
            fault("missing-target", f"{given[0]} is empty, so this policy would apply to nothing", given[0])
        kinds = {str(target.get("kind")) for target in targets if isinstance(target, dict)}
        if len(kinds) > 1:
            message = f"a policy has one kind of target, not {' and '.join(sorted(kinds))}: split it"
            fault("mixed-targets", message, given[0])
        if data.get("frontend") is not None and kinds - {"Gateway"}:
            message = f"a frontend block can only target a Gateway, not {kinds.pop()}"
            fault("invalid-target", message, given[0])
        return as_tuples(data)

    @model_validator(mode="after")
    def _check(self) -> PolicySpec:
        if self.traffic is None and self.frontend is None and self.backend is None:
            fault("missing-field", "at least one of traffic, frontend, backend must be set")
        if self.strategy and self.strategy.inheritance and (self.traffic is None or self.frontend or self.backend):
            fault("invalid-value", "strategy.inheritance goes with traffic alone", "strategy", "inheritance")
        return self


class AgentgatewayPolicy(Resource):
    """An `AgentgatewayPolicy` or `EnterpriseAgentgatewayPolicy` manifest; the two share these fields."""

    spec: PolicySpec
