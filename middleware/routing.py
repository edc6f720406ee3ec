"""Which service a request is for: the host decides, and what is ambiguous is refused before any policy runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.attributes import RequestAttributes
from config.policy.normalisation import (
    AmbiguousTargetError,
    check_query,
    normalise_path,
    parse_authority,
    split_target,
)
from config.snapshot import DEFAULT_PORTS
from middleware.context import request_context, target_of
from middleware.errors import (
    HttpVersionNotSupportedError,
    InvalidRequestError,
    MethodNotAllowedError,
    RouteNotFoundError,
    UpgradeNotSupportedError,
)
from middleware.framing import check_framing, request_headers

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from middleware.context import RequestContext

_REFUSED_METHODS = frozenset({"CONNECT", "TRACE"})
_VERSIONS = frozenset({"1.0", "1.1"})


@dataclass(frozen=True, slots=True)
class RoutingMiddleware:
    """Read the target and `Host`, find the route, and make the attributes that every policy sees."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = request_context(scope)
        try:
            _route(scope, context)
        except AmbiguousTargetError as error:
            raise InvalidRequestError(str(error)) from None
        await self.app(scope, receive, send)


def _route(scope: Scope, context: RequestContext) -> None:
    if scope["http_version"] not in _VERSIONS:
        raise HttpVersionNotSupportedError(f"HTTP/{scope['http_version']}")
    if scope["method"] in _REFUSED_METHODS or scope["method"] != scope["method"].upper():
        # Methods are case-sensitive, but some origins fold them: `delete` would slip a rule on DELETE.
        raise MethodNotAllowedError(scope["method"])
    if context.peer is None:
        raise RuntimeError("routing was reached without an identity")
    raw_host, context.content_length, context.chunked = check_framing(scope["headers"])
    target_authority, raw_path, raw_query = split_target(target_of(scope))
    host, port = parse_authority(raw_host)
    if target_authority is not None:
        target_host, target_port = target_authority
        if target_host != host or _explicit(target_port) != _explicit(port):
            raise InvalidRequestError("the absolute target does not agree with Host")
    path = normalise_path(raw_path)
    query = None if raw_query is None else check_query(raw_query)
    if any(name == b"upgrade" for name, _ in scope["headers"]):
        raise UpgradeNotSupportedError("the request asks for an upgrade")
    context.headers = request_headers(scope["headers"])
    connection = context.connection
    context.attributes = attributes = RequestAttributes(
        peer=context.peer,
        method=scope["method"],
        host=host,
        path=path,
        query=query,
        headers=context.headers,
        scheme=connection.scheme,
        version=scope["http_version"],
        raw_host=raw_host.decode("ascii"),
        source_address=connection.address,
        source_port=connection.port,
        destination_address=connection.local_address,
        destination_port=connection.local_port,
        start_time=context.start_time,
        gateway=context.snapshot.gateway,
    )
    virtual_host = context.snapshot.find(host)
    if virtual_host is None or not virtual_host.accepts_port(port):
        raise RouteNotFoundError("no service has this host and port")
    context.route = route = virtual_host.route
    attributes.route = route.name
    attributes.backend = route.backend.name if route.backend else ""


def _explicit(port: int | None) -> int | None:
    return None if port in DEFAULT_PORTS else port
