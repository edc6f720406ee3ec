"""Which service a request is for: the host decides, and what is ambiguous is refused before any policy runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.attributes import RequestAttributes
from config.policy.normalisation import (
    AmbiguousTargetError,
    check_query,
    normalise_escaped_path,
    normalise_path,
    parse_authority,
    split_target,
)
from config.snapshot import DEFAULT_PORTS
from middleware.context import CONTEXT, target_of
from middleware.errors import (
    HttpVersionNotSupportedError,
    InvalidRequestError,
    MethodNotAllowedError,
    RouteNotFoundError,
    UpgradeNotSupportedError,
)
from middleware.framing import TRACE_CONTEXT, check_framing, request_headers, without_trace_context

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from config.snapshot import Route
    from middleware.context import RequestContext

_VERSIONS = frozenset({"1.0", "1.1"})
_USUAL_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REFUSED_METHODS = frozenset({"CONNECT", "TRACE"})


@dataclass(frozen=True, slots=True)
class RoutingMiddleware:
    """Read the target and `Host`, find the route, and make the attributes that every policy sees."""

    app: ASGIApp

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        context: RequestContext = scope[CONTEXT]
        try:
            _route(scope, context)
        except AmbiguousTargetError as error:
            raise InvalidRequestError(str(error)) from None
        return self.app(scope, receive, send)


def _route(scope: Scope, context: RequestContext) -> None:  # noqa: C901  a call costs more than a branch
    method, version, raw_headers = scope["method"], scope["http_version"], scope["headers"]
    if version not in _VERSIONS:
        raise HttpVersionNotSupportedError(f"HTTP/{version}")
    if method not in _USUAL_METHODS and (method in _REFUSED_METHODS or method != method.upper()):
        # Methods are case-sensitive, but some origins fold them: `delete` would slip a rule on DELETE.
        raise MethodNotAllowedError(method)
    if context.peer is None:
        raise RuntimeError("routing was reached without an identity")
    fields = context.fields
    raw_host, context.content_length, context.chunked = check_framing(raw_headers, fields)
    target_authority, raw_path, raw_query = split_target(target_of(scope))
    host, port = parse_authority(raw_host)
    if target_authority is not None:
        target_host, target_port = target_authority
        if target_host != host or _explicit(target_port) != _explicit(port):
            raise InvalidRequestError("the absolute target does not agree with Host")
    try:
        path, decoded = normalise_path(raw_path), None
    except AmbiguousTargetError:
        path, decoded = _escaped(context, host, raw_path)
    query = None if raw_query is None else check_query(raw_query)
    if b"upgrade" in fields:
        raise UpgradeNotSupportedError("the request asks for an upgrade")
    headers = request_headers(raw_headers, fields)
    context.headers = headers if TRACE_CONTEXT.isdisjoint(fields) else without_trace_context(headers)
    context.attributes = attributes = RequestAttributes(
        context.peer,
        method,
        host,
        path,
        query,
        headers,
        context.connection,
        version,
        raw_host.decode("ascii"),
        context.start_time,
        context.snapshot.gateway,
    )
    context.method, context.target = method, attributes.path_and_query
    virtual_host = context.snapshot.find(host)
    if virtual_host is None:
        raise RouteNotFoundError("no service has this host")
    if not virtual_host.accepts_port(port):
        raise RouteNotFoundError(f"the service has no port {port}")
    table = virtual_host.table
    route = table.only
    if route is None:
        found = table.find(method, path, headers, query)
        if found is None:
            raise RouteNotFoundError("no route of this host takes the request")
        route, context.matched_prefix = found
    if decoded is not None:
        _check_readings(context, route, decoded)
    context.route = route
    attributes.route = route.name
    attributes.backend = route.backend_name


def _escaped(context: RequestContext, host: str, raw_path: bytes) -> tuple[str, str]:
    """Return both readings of a path, where some route of the host takes such paths.

    Raises:
        AmbiguousTargetError: none does, or the path breaks another rule.

    """
    virtual_host = context.snapshot.find(host)
    if virtual_host is None or not any(route.allows_escapes for route in virtual_host.table.routes):
        normalise_path(raw_path)  # raises what it raised before
    return normalise_escaped_path(raw_path)


def _check_readings(context: RequestContext, route: Route, decoded: str) -> None:
    """Refuse a path whose two readings belong to different routes, and keep the other one for policy."""
    attributes = context.attributes
    if attributes is None:
        raise RuntimeError("readings are compared once the attributes are there")
    virtual_host = context.snapshot.find(attributes.host)
    found = (
        virtual_host.table.find(attributes.method, decoded, attributes.headers, attributes.query)
        if virtual_host
        else None
    )
    if not route.allows_escapes or found is None or found[0] is not route:
        raise InvalidRequestError("an encoded slash that leads to another route, or to one that does not allow it")
    context.decoded = decoded


def _explicit(port: int | None) -> int | None:
    return None if port in DEFAULT_PORTS else port
