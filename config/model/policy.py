"""`AgentgatewayPolicy` and `EnterpriseAgentgatewayPolicy`: what is attached to gateways, services and routes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from config.model.base import Model, ObjectReference, Resource, SectionName, Text

HeaderName = Annotated[str, Field(max_length=256, pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]
"""A header field name: a token, RFC 9110 section 5.1."""


class TargetReference(ObjectReference):
    """`spec.targetRefs[]`."""

    section_name: SectionName | None = None
    """Name of the route's rule; none: the whole object."""


class CelMatchSpec(Model):
    """`authorization.policy`."""

    match_expressions: Annotated[tuple[Text, ...], Field(min_length=1, max_length=256)]
    """CEL. Every entry is a rule of its own."""


class AuthorizationSpec(Model):
    """`traffic.authorization`."""

    action: Literal["Allow", "Deny", "Require"] = "Allow"
    policy: CelMatchSpec


class HeaderValueSpec(Model):
    """One header of a transformation; the value is CEL."""

    name: HeaderName
    value: Text


class TransformSpec(Model):
    """`transformation.request`. Order: add, set, remove."""

    add: Annotated[tuple[HeaderValueSpec, ...], Field(max_length=16)] = ()
    set: Annotated[tuple[HeaderValueSpec, ...], Field(max_length=16)] = ()
    remove: Annotated[tuple[HeaderName, ...], Field(max_length=16)] = ()


class TransformationSpec(Model):
    """`traffic.transformation`."""

    request: TransformSpec


class TrafficSpec(Model):
    """`spec.traffic`."""

    authorization: AuthorizationSpec | None = None
    transformation: TransformationSpec | None = None


class PolicySpec(Model):
    """`spec` of a policy."""

    target_refs: Annotated[tuple[TargetReference, ...], Field(min_length=1, max_length=16)]
    traffic: TrafficSpec = TrafficSpec()


class AgentgatewayPolicy(Resource):
    """An `AgentgatewayPolicy` or `EnterpriseAgentgatewayPolicy` manifest; the two share these fields."""

    spec: PolicySpec
