"""Client authentication on top of the mTLS identity: JWT, basic and API keys."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from config.model.base import (
    CONCEALED,
    BackendReference,
    Labels,
    Model,
    NotAvailable,
    Seconds,
    SecretKeyReference,
    SecretReference,
    ShortText,
    exactly_one,
    fault,
)
from config.model.headers import ExtractionLocation

Url = Annotated[str, Field(max_length=1024, pattern=r"^https?://[^/?#@]+(/[^?#]*)?$")]


class PolicyEndpointSpec(Model):
    """A server that a policy asks (AgentGateway `PolicyBackendEndpoint`)."""

    backend_ref: BackendReference | None = None
    url: Url | None = None
    """`http` or `https`, host, port and path."""


class RemoteJwksSpec(PolicyEndpointSpec):
    """`jwks.remote`."""

    jwks_path: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """With `backendRef`."""
    cache_duration: Seconds = 300.0
    """How long keys are kept before they are fetched again. Default: 5m."""

    @model_validator(mode="after")
    def _check(self) -> RemoteJwksSpec:
        exactly_one(self, "backend_ref", "url")
        if (self.backend_ref is not None) != (self.jwks_path is not None):
            fault("invalid-value", "jwksPath goes with backendRef, which needs it", "jwksPath")
        return self


class JwksSpec(Model):
    """`providers[].jwks`: RFC 7517 section 5."""

    inline: Annotated[str, Field(min_length=2, max_length=65536), CONCEALED] | None = None
    """The key set itself, JSON."""
    remote: RemoteJwksSpec | None = None

    @model_validator(mode="after")
    def _check(self) -> JwksSpec:
        exactly_one(self, "inline", "remote")
        return self


class JwtProviderSpec(Model):
    """`jwtAuthentication.providers[]`."""

    issuer: ShortText
    """What the claim `iss` must be."""
    audiences: Annotated[tuple[str, ...], Field(max_length=64)] = ()
    """Of which the token names one; empty: any."""
    jwks: JwksSpec


class JwtAuthenticationSpec(Model):
    """`traffic.jwtAuthentication`."""

    mode: Literal["Strict", "Optional", "Permissive"] = "Strict"
    providers: Annotated[tuple[JwtProviderSpec, ...], Field(min_length=1, max_length=64)]
    location: ExtractionLocation | None = None
    """Default: the bearer token of `authorization`."""
    mcp: NotAvailable = None


class BasicAuthenticationSpec(Model):
    """`traffic.basicAuthentication`."""

    mode: Literal["Strict", "Optional"] = "Strict"
    realm: Annotated[str, Field(max_length=256, pattern=r'^[^"\\\x00-\x1f\x7f]*$')] | None = None
    """Named in `WWW-Authenticate`. Default: `Restricted`."""
    users: Annotated[tuple[str, ...], Field(max_length=256), CONCEALED] | None = Field(default=None, repr=False)
    """Lines of an htpasswd file."""
    secret_ref: SecretKeyReference | None = None
    """Its key `.htaccess` is an htpasswd file."""
    location: ExtractionLocation | None = None

    @model_validator(mode="after")
    def _check(self) -> BasicAuthenticationSpec:
        exactly_one(self, "users", "secret_ref")
        return self


class LabelledObjects(Model):
    """`secretSelector`, `configMapSelector`: objects of the policy's namespace that carry these labels."""

    match_labels: Labels


class ApiKeyAuthenticationSpec(Model):
    """`traffic.apiKeyAuthentication`."""

    mode: Literal["Strict", "Optional", "Permissive"] = "Strict"
    secret_ref: SecretReference | None = None
    """Every value is a key: the key itself, or JSON with `key` or `keyHash` (`sha256:...`) and `metadata`."""
    secret_selector: LabelledObjects | None = None
    config_map_selector: LabelledObjects | None = None
    """As `secretRef`, but with `keyHash` only."""
    location: ExtractionLocation | None = None

    @model_validator(mode="after")
    def _check(self) -> ApiKeyAuthenticationSpec:
        exactly_one(self, "secret_ref", "secret_selector", "config_map_selector")
        return self
