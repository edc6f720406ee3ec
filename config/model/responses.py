"""What answers without a backend, rewrites where a request goes, or is asked by browsers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from config.model.base import Cel, HeaderName, Model, Port, at_most_one, fault
from config.model.headers import check_order

PreciseHostname = Annotated[
    str,
    Field(
        max_length=253, pattern=r"^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*$"
    ),
]
"""A host name without wildcard, port or trailing dot (Gateway API `PreciseHostname`)."""


class DirectResponseHeader(Model):
    """`directResponse.headers[]`; the value is CEL."""

    name: HeaderName
    value: Cel


class DirectResponseSpec(Model):
    """`directResponse` without conditions."""

    status: Annotated[int, Field(ge=200, le=599)]
    """Status of the answer."""
    body: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """Body of the answer, as it is."""
    body_expression: Cel | None = None
    """CEL expression that gives the body."""
    headers: Annotated[tuple[DirectResponseHeader, ...], Field(max_length=16)] = ()

    @model_validator(mode="after")
    def _check(self) -> DirectResponseSpec:
        at_most_one(self, "body", "body_expression")
        return self


class ConditionalDirectResponse(Model):
    """`directResponse.conditional[]`."""

    condition: Cel | None = None
    """CEL expression; the first entry whose condition is true answers. Absent: always, for the last one."""
    policy: DirectResponseSpec


class DirectResponseOrConditionalSpec(Model):
    """`traffic.directResponse`."""

    status: Annotated[int, Field(ge=200, le=599)] | None = None
    """Status of the answer."""
    body: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """Body of the answer, as it is."""
    body_expression: Cel | None = None
    """CEL expression that gives the body."""
    headers: Annotated[tuple[DirectResponseHeader, ...], Field(max_length=16)] = ()
    conditional: Annotated[tuple[ConditionalDirectResponse, ...], Field(max_length=16)] = ()
    """The first entry whose condition is true is in force; the one without a condition is last."""

    @model_validator(mode="after")
    def _check(self) -> DirectResponseOrConditionalSpec:
        at_most_one(self, "body", "body_expression")
        alone = self.status is None and self.body is None and self.body_expression is None and not self.headers
        if self.conditional and not alone:
            fault("invalid-value", "conditional stands alone", "conditional")
        if not self.conditional and self.status is None:
            fault("missing-field", "'status' is required")
        check_order(tuple(entry.condition for entry in self.conditional))
        return self


class PathModifierSpec(Model):
    """Gateway API `HTTPPathModifier`."""

    type: Literal["ReplaceFullPath", "ReplacePrefixMatch"]
    replace_full_path: Annotated[str, Field(max_length=1024)] | None = None
    """The path that is sent, whatever the one that was asked for."""
    replace_prefix_match: Annotated[str, Field(max_length=1024)] | None = None
    """What stands in place of the `PathPrefix` that matched."""

    @model_validator(mode="after")
    def _check(self) -> PathModifierSpec:
        wanted, other = "replaceFullPath", "replacePrefixMatch"
        values = {wanted: self.replace_full_path, other: self.replace_prefix_match}
        if self.type == "ReplacePrefixMatch":
            wanted, other = other, wanted
        if values[wanted] is None:
            fault("missing-field", f"{wanted!r} is required with type {self.type}")
        if values[other] is not None:
            fault("invalid-value", f"{other} does not go with type {self.type}", other)
        return self


class UrlRewriteSpec(Model):
    """Gateway API `HTTPURLRewriteFilter`."""

    hostname: PreciseHostname | None = None
    """`Host` sent to the origin."""
    path: PathModifierSpec | None = None


class RequestRedirectSpec(Model):
    """Gateway API `HTTPRequestRedirectFilter`. What is not set stays as the request has it."""

    scheme: Literal["http", "https"] | None = None
    hostname: PreciseHostname | None = None
    """Host of the new URL. Default: that of the request."""
    path: PathModifierSpec | None = None
    port: Port | None = None
    """Port of the new URL. Default: that of `scheme`, or of the request."""
    status_code: Literal[301, 302, 303, 307, 308] = 302


class CorsSpec(Model):
    """Gateway API `HTTPCORSFilter`. Source: GEP-1767, Fetch section 3.2."""

    allow_origins: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=253)], ...], Field(max_length=64)] = ()
    """`https://app.example`, `https://*.example`, or `*`."""
    allow_credentials: bool = False
    """Whether pages may send cookies and the like."""
    allow_methods: Annotated[tuple[Annotated[str, Field(pattern=r"^([A-Z]+|\*)$")], ...], Field(max_length=9)] = ()
    """Methods that a preflight allows, or `*`."""
    allow_headers: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(max_length=64)] = ()
    """Header fields that a preflight allows, or `*`."""
    expose_headers: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(max_length=64)
    ] = ()
    """Header fields of answers that pages may read, or `*`."""
    max_age: Annotated[int, Field(ge=1, le=2**31 - 1)] = 5
    """How long a browser may keep the answer to a preflight. Unit: seconds."""


class CsrfSpec(Model):
    """`traffic.csrf`."""

    additional_origins: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(max_length=16)
    ] = ()
    """Origins that may send state-changing requests beside the destination itself."""


class HostRewriteSpec(Model):
    """`traffic.hostRewrite`."""

    mode: Literal["Auto", "None"]
    """`Auto`: `Host` is the backend's name. `None`: the caller's stays."""
