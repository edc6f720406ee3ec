"""`HTTPRoute` (gateway.networking.k8s.io): which backend answers which requests of a service."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from config.model.base import (
    CONCEALED,
    BackendReference,
    HeaderName,
    Model,
    NotAvailable,
    ObjectReference,
    Port,
    Resource,
    Seconds,
    SectionName,
    ShortText,
    as_tuples,
    at_most_one,
    fault,
)
from config.model.headers import HeaderFilterSpec
from config.model.responses import CorsSpec, RequestRedirectSpec, UrlRewriteSpec
from config.model.service_entry import HostPattern


class ParentReference(ObjectReference):
    """`spec.parentRefs[]`: a `ServiceEntry`, or the `Gateway` and a listener of it."""

    kind: str = "Gateway"
    section_name: SectionName | None = None
    """One listener of a `Gateway`, or one port of a `ServiceEntry` by name."""
    port: Port | None = None
    """The listeners or the port of this number."""


class PathMatchSpec(Model):
    """`matches[].path`."""

    type: Literal["Exact", "PathPrefix", "RegularExpression"] = "PathPrefix"
    value: Annotated[str, Field(min_length=1, max_length=1024)] = "/"
    """The path, the prefix, or an RE2 pattern for the whole path."""

    @model_validator(mode="after")
    def _check(self) -> PathMatchSpec:
        if self.type != "RegularExpression" and not self.value.startswith("/"):
            fault("invalid-value", "a path begins with '/'", "value")
        return self


class HeaderMatchSpec(Model):
    """`matches[].headers[]`."""

    type: Literal["Exact", "RegularExpression"] = "Exact"
    name: HeaderName
    """The header field."""
    value: Annotated[str, Field(min_length=1, max_length=4096), CONCEALED]
    """The value, or an RE2 pattern for the whole of it."""


class QueryParamMatchSpec(Model):
    """`matches[].queryParams[]`."""

    type: Literal["Exact", "RegularExpression"] = "Exact"
    name: ShortText
    """The parameter, after its escapes are decoded."""
    value: Annotated[str, Field(min_length=1, max_length=1024), CONCEALED]
    """The value, or an RE2 pattern for the whole of it."""


class RouteMatchSpec(Model):
    """`rules[].matches[]`: all of it must hold."""

    path: PathMatchSpec = PathMatchSpec()
    headers: Annotated[tuple[HeaderMatchSpec, ...], Field(max_length=16)] = ()
    query_params: Annotated[tuple[QueryParamMatchSpec, ...], Field(max_length=16)] = ()
    method: Literal["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"] | None = None


class MirrorFractionSpec(Model):
    """`requestMirror.fraction`."""

    numerator: Annotated[int, Field(ge=0)]
    """Of so many requests are copied this many."""
    denominator: Annotated[int, Field(ge=1)] = 100
    """Default: 100."""

    @model_validator(mode="after")
    def _check(self) -> MirrorFractionSpec:
        if self.numerator > self.denominator:
            fault("invalid-value", "the numerator is greater than the denominator", "numerator")
        return self


class RequestMirrorSpec(Model):
    """Gateway API `HTTPRequestMirrorFilter`."""

    backend_ref: BackendReference
    percent: Annotated[int, Field(ge=0, le=100)] | None = None
    """Share of the requests. Default: all."""
    fraction: MirrorFractionSpec | None = None
    """Neither: every request."""

    @model_validator(mode="after")
    def _check(self) -> RequestMirrorSpec:
        at_most_one(self, "percent", "fraction")
        return self


_FILTERS = {
    "RequestHeaderModifier": "requestHeaderModifier",
    "ResponseHeaderModifier": "responseHeaderModifier",
    "URLRewrite": "urlRewrite",
    "RequestRedirect": "requestRedirect",
    "RequestMirror": "requestMirror",
    "CORS": "cors",
    "ExtensionRef": "extensionRef",
    "ExternalAuth": "externalAuth",
}


class RouteFilterSpec(Model):
    """`rules[].filters[]`. Source: Gateway API `HTTPRouteFilter`."""

    type: Literal[
        "RequestHeaderModifier", "ResponseHeaderModifier", "URLRewrite", "RequestRedirect", "RequestMirror", "CORS"
    ]
    request_header_modifier: HeaderFilterSpec | None = None
    response_header_modifier: HeaderFilterSpec | None = None
    url_rewrite: UrlRewriteSpec | None = None
    request_redirect: RequestRedirectSpec | None = None
    request_mirror: RequestMirrorSpec | None = None
    cors: CorsSpec | None = None
    extension_ref: NotAvailable = None
    external_auth: NotAvailable = None

    @model_validator(mode="before")
    @classmethod
    def _check(cls, data: Any) -> Any:
        if isinstance(data, dict) and (wanted := _FILTERS.get(str(data.get("type")))):
            if data.get(wanted) is None:
                fault("missing-field", f"{wanted!r} is required with type {data['type']}")
            for other in _FILTERS.values():
                if other != wanted and data.get(other) is not None:
                    fault("invalid-value", f"{other} does not go with type {data['type']}", other)
        return as_tuples(data)


class RouteBackendReference(BackendReference):
    """`spec.rules[].backendRefs[]`."""

    weight: Annotated[int, Field(ge=0, le=1_000_000)] = 1
    """Share of the rule's requests; 0: none."""
    filters: NotAvailable = None


class RouteTimeoutsSpec(Model):
    """`rules[].timeouts`. Source: Gateway API GEP-1742."""

    request: Seconds | None = None
    """As `traffic.timeouts.request`. `0s`: none."""
    backend_request: Seconds | None = None
    """As `backend.http.requestTimeout`. `0s`: none."""

    @model_validator(mode="after")
    def _check(self) -> RouteTimeoutsSpec:
        if self.request and self.backend_request and self.backend_request > self.request:
            fault("invalid-value", "backendRequest is longer than request", "backendRequest")
        return self


class RouteRetrySpec(Model):
    """`rules[].retry`. Source: Gateway API GEP-1731."""

    attempts: Annotated[int, Field(ge=1, le=100)] = 1
    """Further attempts after the first."""
    backoff: Seconds | None = None
    """Pause before each further attempt. Default: none."""
    codes: Annotated[tuple[Annotated[int, Field(ge=400, le=599)], ...], Field(max_length=64)] = ()
    """Statuses of the origin after which another attempt is made."""


class RouteRuleSpec(Model):
    """`spec.rules[]`. Without `matches` a rule takes every request."""

    name: SectionName | None = None
    """What `sectionName` of a policy refers to."""
    matches: Annotated[tuple[RouteMatchSpec, ...], Field(max_length=64)] = ()
    """One of them must hold."""
    filters: Annotated[tuple[RouteFilterSpec, ...], Field(max_length=16)] = ()
    backend_refs: Annotated[tuple[RouteBackendReference, ...], Field(max_length=16)] = ()
    timeouts: RouteTimeoutsSpec | None = None
    retry: RouteRetrySpec | None = None
    session_persistence: NotAvailable = None

    @model_validator(mode="after")
    def _check(self) -> RouteRuleSpec:
        kinds = [entry.type for entry in self.filters]
        for index, kind in enumerate(kinds):
            if kind != "RequestMirror" and kind in kinds[:index]:
                fault("invalid-value", f"{kind} stands twice", "filters", index)
        if "URLRewrite" in kinds and "RequestRedirect" in kinds:
            fault("invalid-value", "URLRewrite and RequestRedirect cannot be set together", "filters")
        return self


class HTTPRouteSpec(Model):
    """`spec` of an `HTTPRoute`."""

    parent_refs: Annotated[tuple[ParentReference, ...], Field(min_length=1, max_length=32)]
    hostnames: Annotated[tuple[HostPattern, ...], Field(max_length=16)] = ()
    """Hosts of the parent that this route takes; empty: all of them."""
    rules: Annotated[tuple[RouteRuleSpec, ...], Field(min_length=1, max_length=16)] = (RouteRuleSpec(),)
    use_default_gateways: NotAvailable = None

    @model_validator(mode="after")
    def _check(self) -> HTTPRouteSpec:
        names = [rule.name for rule in self.rules]
        for index, name in enumerate(names):
            if name is not None and name in names[:index]:
                fault("invalid-value", f"two rules are called {name!r}", "rules", index, "name")
        return self


class HTTPRoute(Resource):
    """An `HTTPRoute` manifest."""

    spec: HTTPRouteSpec
