"""`backendRef` or `url` of a server that a policy asks: a proxy, a key set, a token endpoint."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from config.kinds import AGENTGATEWAY
from config.model.backend import BackendPoliciesSpec, BackendTlsSpec
from config.policy.normalisation import DEFAULT_PORT_OF
from config.policy.upstream import Upstream, UpstreamTls

if TYPE_CHECKING:
    from config.compiler.place import Place
    from config.model.base import BackendReference
    from config.model.client_auth import PolicyEndpointSpec

CLUSTER_DOMAIN = "svc.cluster.local"
_HOST = re.compile(r"[a-z0-9_.-]+|[0-9a-f:.]*:[0-9a-f:.]*")
_TARGET = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?")
"""A target in origin form: RFC 3986 section 3.3 and 3.4."""
_PLAIN = (BackendPoliciesSpec(), BackendPoliciesSpec(tls=BackendTlsSpec()))


class Endpoint(NamedTuple):
    """A server, and what is asked for there."""

    upstream: Upstream
    target: str
    """Path, and query if any."""


def resolve_endpoint(
    place: Place, spec: PolicyEndpointSpec, noun: str, *, path: str = "/", path_field: str = "path"
) -> Endpoint | None:
    """Return the server that a policy asks; none, and a fault, where it is nowhere.

    Args:
        place: the block that holds `backendRef` or `url`.
        spec: the block.
        noun: what it is, for messages: `a proxy`.
        path: with `backendRef`.
        path_field: the field that holds the path.

    """
    if spec.backend_ref is None:
        return _of_url(place.at("url"), spec.url or "", noun)
    upstream = _of_reference(place.at("backendRef"), spec.backend_ref, noun)
    if not _TARGET.fullmatch(path):
        message = "a path holds what RFC 3986 lets stand in one, the rest percent-encoded"
        place.at(path_field).error("invalid-value", message)
        return None
    return None if upstream is None else Endpoint(upstream, path)


def _of_url(place: Place, url: str, noun: str) -> Endpoint | None:
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").removesuffix("."), parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    target = parts.path or "/"
    # `urlsplit` takes tabs and line ends out, so it is not asked about them.
    is_clean = url.isascii() and url.isprintable()
    if not is_clean or not _HOST.fullmatch(host) or not _TARGET.fullmatch(target) or port == 0:
        place.error("invalid-value", f"not the URL of {noun}: a host, a port and a path")
        return None
    number = DEFAULT_PORT_OF[parts.scheme] if port is None else port
    return Endpoint(Upstream(host, number, UpstreamTls(host) if parts.scheme == "https" else None), target)


def _of_reference(place: Place, reference: BackendReference, noun: str) -> Upstream | None:
    namespace = reference.namespace or place.namespace
    name = f"{namespace}/{reference.name}"
    kind = reference.group, reference.kind
    if kind not in {("", "Service"), (AGENTGATEWAY, "AgentgatewayBackend")}:
        message = f"{noun} is a Service or an AgentgatewayBackend, not a {reference.kind} of {reference.group!r}"
        place.error("invalid-backend", message)
        return None
    if not place.is_granted(kind, namespace, reference.name):
        return None
    if reference.kind == "Service":  # infrastructure that the operator names: the dial guard does not ask
        port = service_port(place, reference, namespace)
        return None if port is None else Upstream(service_host(reference.name, namespace), port, guarded=False)
    return _of_backend(place, name, noun)


def _of_backend(place: Place, name: str, noun: str) -> Upstream | None:
    parsed = place.resources.backends.get(name)
    if parsed is None:
        place.dangling("AgentgatewayBackend", name, place.resources.backends)
        return None
    spec = parsed.model.spec
    if spec.static is None:
        place.error("invalid-backend", f"{name} has no host of its own", "refer to a backend with 'static'")
        return None
    # Anything else it says, a tunnel or a client certificate, would be passed over in silence.
    if spec.policies not in _PLAIN:
        message = f"{noun} is reached in plain text, or as 'tls: {{}}' has it, and {name} says otherwise"
        place.error("not-available", message)
        return None
    host = spec.static.host.lower().removesuffix(".")
    return Upstream(host, spec.static.port, None if spec.policies.tls is None else UpstreamTls(host))


def service_host(name: str, namespace: str) -> str:
    """Return the name by which a cluster's DNS knows a `Service`."""
    return f"{name}.{namespace}.{CLUSTER_DOMAIN}"


def service_port(place: Place, reference: BackendReference, namespace: str) -> int | None:
    """Return the port of a reference to a `Service`; none, and a fault, where it has none.

    One that is not among the manifests is dialled by its cluster name all the same.
    """
    name = f"{namespace}/{reference.name}"
    if reference.port is None:
        is_backend = name in place.resources.backends
        hint = f"for the AgentgatewayBackend of that name add its kind and group: {AGENTGATEWAY}" if is_backend else ""
        place.error("missing-field", f"a reference to the Service {name} needs its 'port'", hint)
        return None
    service = place.resources.services.get(name)
    ports = {port.port for port in service.model.spec.ports} if service is not None else {reference.port}
    if reference.port not in ports:
        known = ", ".join(map(str, sorted(ports)))
        message = f"the Service {name} has no port {reference.port}"
        place.at("port").error("dangling-reference", message, f"known here: {known}" if known else "")
        return None
    return reference.port
