"""`AgentgatewayBackend` and the `backend` block of policies: where and how to connect to an origin."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, model_validator

from config.model.base import (
    Model,
    Name,
    NotAvailable,
    Port,
    Refused,
    Resource,
    Seconds,
    SecretKeyReference,
    SecretReference,
    ShortText,
    at_most_one,
    exactly_one,
    fault,
)
from config.model.client_auth import PolicyEndpointSpec
from config.model.headers import CredentialLocation
from config.model.resilience import BackendTcpSpec, HealthSpec

Hostname = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9_.:-]+$")]
"""A DNS name, an IPv4 address, or an IPv6 address without brackets."""
ServerName = Annotated[
    str,
    Field(max_length=253, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"),
]


class StaticBackendSpec(Model):
    """`spec.static`: one host and port."""

    host: Hostname
    """DNS name or IP address."""
    port: Port
    """Port that is dialled."""
    unix_path: NotAvailable = None


class DynamicForwardProxySpec(Model):
    """`spec.dynamicForwardProxy`: the destination is the request's own host."""


class CaCertificateReference(Model):
    """`tls.caCertificateRefs[]`: its key `ca.crt` holds the roots, PEM."""

    name: Name
    """Name of a `ConfigMap` or `Secret` of the same namespace, whose key `ca.crt` is read."""
    group: str = ""
    """Empty: the core group."""
    kind: Literal["ConfigMap", "Secret"] = "ConfigMap"


class BackendTlsSpec(Model):
    """`tls`. `{}` originates TLS with the operating system's roots; SNI and verified name are the host."""

    mtls_certificate_ref: Annotated[tuple[SecretReference, ...], Field(max_length=1)] = ()
    """The client certificate: keys `tls.crt` and `tls.key`, PEM."""
    ca_certificate_refs: Annotated[tuple[CaCertificateReference, ...], Field(max_length=1)] = ()
    """Roots in place of the operating system's."""
    insecure_skip_verify: Literal["All", "Hostname"] | None = None
    """`Hostname`: the chain is verified and the name is not. `All`: nothing is."""
    sni: ServerName | None = None
    """Asked for, and verified in place of the host."""
    verify_subject_alt_names: Annotated[tuple[ShortText, ...], Field(max_length=16)] = ()
    """DNS names or URIs of which the certificate must carry one, in place of the host."""
    alpn_protocols: Annotated[tuple[Literal["h2", "http/1.1"], ...], Field(min_length=1, max_length=2)] | None = None
    certificate_source: Annotated[Literal["Inline"], Refused(("SPIFFE",))] = "Inline"
    key_exchange_groups: NotAvailable = None

    @model_validator(mode="after")
    def _check(self) -> BackendTlsSpec:
        if self.insecure_skip_verify == "All" and self.ca_certificate_refs:
            fault(
                "invalid-value",
                "insecureSkipVerify All and caCertificateRefs cannot be set together",
                "caCertificateRefs",
            )
        if self.insecure_skip_verify and self.verify_subject_alt_names:
            message = "insecureSkipVerify and verifySubjectAltNames cannot be set together"
            fault("invalid-value", message, "verifySubjectAltNames")
        return self


class BackendHttpSpec(Model):
    """`http`."""

    version: Literal["HTTP1", "HTTP2"] | None = None
    """Default: HTTP/1.1. `HTTP2` needs `tls`."""
    request_timeout: Seconds | None = None
    """One attempt, from asking for a connection to the answer's head. Default: none."""

    @model_validator(mode="after")
    def _check(self) -> BackendHttpSpec:
        if self.request_timeout is not None and self.request_timeout < 0.001:  # noqa: PLR2004  one millisecond
            fault("invalid-value", "must be at least 1ms", "requestTimeout")
        return self


class TunnelSpec(PolicyEndpointSpec):
    """`tunnel`: a proxy that is asked with CONNECT (RFC 9110 section 9.3.6)."""

    @model_validator(mode="after")
    def _check(self) -> TunnelSpec:
        exactly_one(self, "backend_ref", "url")
        return self


class PassthroughSpec(Model):
    """`auth.passthrough`: the caller's token that another policy has verified."""


class BasicCredentialSpec(Model):
    """`auth.basic`: RFC 7617."""

    username: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^:\x00-\x1f\x7f]+$")]
    """User name, in UTF-8."""
    secret_ref: SecretKeyReference
    """Key `password` unless it says otherwise."""


class OAuthClientAuthSpec(Model):
    """`clientAuth` (AgentGateway `OAuthClientAuth`)."""

    client_id: ShortText
    """The client identifier (RFC 6749 section 2.2)."""
    secret_ref: SecretKeyReference
    """Key `clientSecret` unless it says otherwise."""
    method: Literal["ClientSecretBasic", "ClientSecretPost"] = "ClientSecretBasic"
    private_key_jwt: NotAvailable = None


class OAuthClientCredentialsSpec(PolicyEndpointSpec):
    """`auth.oauthClientCredentials`: RFC 6749 section 4.4. Named after AgentGateway's `oauthTokenExchange`."""

    path: Annotated[str, Field(max_length=1024, pattern=r"^/")] | None = None
    """With `backendRef`. Default: `/`."""
    client_auth: OAuthClientAuthSpec
    scopes: Annotated[tuple[ShortText, ...], Field(max_length=64)] = ()
    """Parameter `scope`, joined by spaces."""
    audiences: Annotated[tuple[ShortText, ...], Field(max_length=64)] = ()
    """Parameter `audience`, one for each."""
    resources: Annotated[tuple[ShortText, ...], Field(max_length=64)] = ()
    """RFC 8707."""

    @model_validator(mode="after")
    def _check(self) -> OAuthClientCredentialsSpec:
        exactly_one(self, "backend_ref", "url")
        if self.url is not None and self.path is not None:
            fault("invalid-value", "path goes with backendRef", "path")
        if self.url is not None and not self.url.startswith("https://"):
            fault("invalid-value", "a client secret goes over https only", "url")
        return self


class CredentialSpec(Model):
    """`auth.credentials[]`."""

    location: CredentialLocation
    secret_ref: SecretKeyReference


class BackendAuthSpec(Model):
    """`auth`: the credential that the origin asks for. It replaces what the caller sent."""

    key: SecretStr | None = None
    """The credential itself; better kept in a `Secret`."""
    secret_ref: SecretKeyReference | None = None
    """Key `Authorization` unless it says otherwise; there a `Bearer ` prefix is stripped."""
    passthrough: PassthroughSpec | None = None
    basic: BasicCredentialSpec | None = None
    oauth_client_credentials: OAuthClientCredentialsSpec | None = None
    location: CredentialLocation | None = None
    """Default: `authorization`, after `Bearer `."""
    credentials: Annotated[tuple[CredentialSpec, ...], Field(max_length=8)] = ()
    aws: NotAvailable = None
    azure: NotAvailable = None
    gcp: NotAvailable = None
    oauth_token_exchange: NotAvailable = None
    cross_app_access: NotAvailable = None
    jwt_sign: NotAvailable = None

    @model_validator(mode="after")
    def _check(self) -> BackendAuthSpec:
        kinds = ("key", "secret_ref", "passthrough", "basic", "oauth_client_credentials")
        at_most_one(self, *kinds)
        given = [kind for kind in kinds if getattr(self, kind) is not None]
        if not given and not self.credentials:
            fault(
                "invalid-value", "key, secretRef, passthrough, basic, oauthClientCredentials or credentials must be set"
            )
        if self.location is not None and (not given or given == ["basic"]):
            fault(
                "invalid-value", "location goes with key, secretRef, passthrough or oauthClientCredentials", "location"
            )
        return self


class BackendPoliciesSpec(Model):
    """`spec.policies` of a backend, and `spec.backend` of a policy. Of several levels the strongest sets a field."""

    tls: BackendTlsSpec | None = None
    """Absent: the origin is spoken to in plain text."""
    tcp: BackendTcpSpec | None = None
    http: BackendHttpSpec | None = None
    tunnel: TunnelSpec | None = None
    auth: BackendAuthSpec | None = None
    health: HealthSpec | None = None
    transformation: NotAvailable = None
    ext_auth: NotAvailable = None
    ai: NotAvailable = None
    mcp: NotAvailable = None


class AgentgatewayBackendSpec(Model):
    """`spec` of an `AgentgatewayBackend`."""

    static: StaticBackendSpec | None = None
    dynamic_forward_proxy: DynamicForwardProxySpec | None = None
    policies: BackendPoliciesSpec = BackendPoliciesSpec()
    a2a: NotAvailable = Field(default=None, alias="a2a")
    ai: NotAvailable = None
    mcp: NotAvailable = None
    aws: NotAvailable = None

    @model_validator(mode="after")
    def _check(self) -> AgentgatewayBackendSpec:
        exactly_one(self, "static", "dynamic_forward_proxy")
        return self


class AgentgatewayBackend(Resource):
    """An `AgentgatewayBackend` manifest."""

    spec: AgentgatewayBackendSpec
