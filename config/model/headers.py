"""What rewrites messages: `traffic.transformation`, `traffic.headerModifiers` and the header filters of a route."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from config.model.base import CONCEALED, Cel, HeaderName, Model, at_most_one, fault

TransformedName = Annotated[
    str, Field(max_length=256, pattern=r"^(:authority|:method|:path|:status|[!#$%&'*+.^_`|~0-9A-Za-z-]+)$")
]
"""A header field name, or one of the pseudo names that address the message's first line."""


class HeaderValueSpec(Model):
    """One header of a transformation; the value is CEL."""

    name: TransformedName
    """The header field, or a pseudo name such as `:path`."""
    value: Cel
    """CEL expression that gives the value; one that fails removes the field."""


class TransformSpec(Model):
    """`transformation.request` and `.response`. Order: metadata, replace, add, set, remove, body."""

    metadata: Annotated[dict[str, Cel], Field(max_length=16)] = Field(default_factory=dict)
    """Values that later expressions read as `metadata.NAME`."""
    replace: Annotated[tuple[HeaderValueSpec, ...], Field(max_length=16)] = ()
    """Set where the message has the header, else left alone."""
    add: Annotated[tuple[HeaderValueSpec, ...], Field(max_length=16)] = ()
    set: Annotated[tuple[HeaderValueSpec, ...], Field(max_length=16)] = ()
    remove: Annotated[tuple[HeaderName, ...], Field(max_length=16)] = ()
    """Names of header fields, in whichever spelling."""
    body: Cel | None = None
    """The new body: a string, bytes, or a value that is written as JSON."""


class TransformationSpec(Model):
    """`traffic.transformation` without conditions."""

    request: TransformSpec | None = None
    response: TransformSpec | None = None

    @model_validator(mode="after")
    def _check(self) -> TransformationSpec:
        if self.request is None and self.response is None and not getattr(self, "conditional", ()):
            fault("invalid-value", "request, response or conditional must be set")
        return self


class ConditionalTransformation(Model):
    """`transformation.conditional[]`."""

    condition: Cel | None = None
    """CEL expression; the first entry whose condition is true is in force. Absent: always, for the last one."""
    policy: TransformationSpec


class TransformationOrConditionalSpec(TransformationSpec):
    """`traffic.transformation`."""

    conditional: Annotated[tuple[ConditionalTransformation, ...], Field(max_length=16)] = ()
    """The first entry whose condition is true is in force; the one without a condition is last."""

    @model_validator(mode="after")
    def _check_conditional(self) -> TransformationOrConditionalSpec:
        if self.conditional and (self.request or self.response):
            fault("invalid-value", "conditional stands alone", "conditional")
        check_order(tuple(entry.condition for entry in self.conditional))
        return self


def check_order(conditions: tuple[str | None, ...]) -> None:
    """Refuse an unconditional entry that is not last: whatever follows it would never be asked."""
    for index, condition in enumerate(conditions[:-1]):
        if condition is None:
            fault("conditional-order", "the entry without a condition must be last", "conditional", index)


class HeaderSpec(Model):
    """A header with a fixed value (Gateway API `HTTPHeader`)."""

    name: HeaderName
    """The header field."""
    value: Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00-\x08\x0a-\x1f\x7f]+$"), CONCEALED]
    """Sent as it is."""


class HeaderFilterSpec(Model):
    """Gateway API `HTTPHeaderFilter`. Order here: add, set, remove."""

    add: Annotated[tuple[HeaderSpec, ...], Field(max_length=16)] = ()
    set: Annotated[tuple[HeaderSpec, ...], Field(max_length=16)] = ()
    remove: Annotated[tuple[HeaderName, ...], Field(max_length=16)] = ()
    """Names of header fields, in whichever spelling."""


class HeaderModifiersSpec(Model):
    """`traffic.headerModifiers`."""

    request: HeaderFilterSpec | None = None
    response: HeaderFilterSpec | None = None


class AuthorizationHeaderLocation(Model):
    """A credential in a header."""

    name: HeaderName
    """The header field."""
    prefix: Annotated[str, Field(max_length=256, pattern=r"^[^\x00-\x08\x0a-\x1f\x7f]*$")] | None = None
    """What stands before it, `Bearer ` for example. None: nothing, whichever header it is."""


class NamedLocation(Model):
    """A credential in a query parameter or a cookie."""

    name: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]
    """A token (RFC 9110 section 5.6.2)."""


class CredentialLocation(Model):
    """Where a credential is written (AgentGateway `AuthorizationLocation`)."""

    header: AuthorizationHeaderLocation | None = None
    query_parameter: NamedLocation | None = None
    cookie: NamedLocation | None = None

    @model_validator(mode="after")
    def _check(self) -> CredentialLocation:
        at_most_one(self, "header", "query_parameter", "cookie")
        if not (self.header or self.query_parameter or self.cookie or getattr(self, "expression", None)):
            fault("invalid-value", "one of header, queryParameter, cookie must be set")
        return self


class ExtractionLocation(CredentialLocation):
    """Where a caller's credential is read (AgentGateway `AuthorizationExtractionLocation`)."""

    expression: Cel | None = None
    """CEL expression that gives the credential; nothing is taken off the request."""

    @model_validator(mode="after")
    def _check_expression(self) -> ExtractionLocation:
        at_most_one(self, "header", "query_parameter", "cookie", "expression")
        return self
