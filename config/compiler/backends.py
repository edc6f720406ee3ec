"""`backendRefs` to backends: what a reference means, and how its origin is connected to."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from config.compiler.attachment import Level
from config.compiler.blocks import BACKEND
from config.compiler.endpoints import service_host, service_port
from config.compiler.place import Place
from config.compiler.upstreams import check_protocols
from config.kinds import AGENTGATEWAY
from config.policy.balancing import DynamicForwardProxy, Endpoint
from config.policy.normalisation import DEFAULT_PORT_OF, write_authority
from config.policy.upstream import HttpSettings, TcpSettings, Verification, upstream_of
from config.snapshot import DEFAULT_PORTS, Backend

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from config.compiler.merging import PolicyMerger, Target
    from config.model.backend import AgentgatewayBackend
    from config.model.base import BackendReference
    from config.model.service_entry import ServiceEntry
    from config.policy.upstream import Upstream
    from config.resources import Parsed
    from config.snapshot import BackendFault

_How = tuple[float | None, bool]
_HTTP = frozenset({"HTTP", "HTTP2", "GRPC"})


@dataclass(slots=True)
class BackendCompiler:
    """Resolves references, and merges what every level says about the connection."""

    policies: PolicyMerger
    denied: frozenset[str] = frozenset()
    """`namespace/name` of what a policy targets that could not be read: how to connect to it is not known."""
    _inline: dict[str, dict[str, Any]] = field(default_factory=dict)
    """`namespace/name` of an `AgentgatewayBackend` to its own settings."""
    _made: dict[tuple[str, tuple[Target, ...], _How], Backend] = field(default_factory=dict)

    def compile(self) -> None:
        """Compile every backend's own blocks, so that each fault is found once, whether a route refers to it or not."""
        resources, findings = self.policies.resources, self.policies.findings
        for name, parsed in resources.backends.items():
            place = Place(parsed, resources, findings)
            self._inline[name] = {
                block.field: block.compile(place.at("spec", "policies", *block.path), written)
                for block in BACKEND
                if (written := block.written(parsed.model.spec.policies)) is not None
            }

    def resolve(
        self,
        place: Place,
        reference: BackendReference,
        targets: Sequence[Target],
        *,
        request_timeout: float | None = None,
        guarded: bool = True,
    ) -> Backend:
        """Return what a reference means. What it cannot mean is a fault, and a backend that answers 500.

        Args:
            place: of the reference.
            reference: an `AgentgatewayBackend`, or a `Service`, which need not be among the manifests.
            targets: levels whose backend policies apply, weak to strong.
            request_timeout: `timeouts.backendRequest` of the rule, in seconds.
            guarded: false for infrastructure that the operator names, which may be inside the cluster.

        """
        namespace = reference.namespace or place.namespace
        name = f"{namespace}/{reference.name}"
        kind = (reference.group, reference.kind)
        if kind not in {(AGENTGATEWAY, "AgentgatewayBackend"), ("", "Service")}:
            message = f"a backendRef cannot name a {reference.kind!r} of {reference.group!r}"
            place.error("invalid-backend", message, f"an AgentgatewayBackend of {AGENTGATEWAY}, or a Service of ''")
            return unusable(name)
        if not place.is_granted(kind, namespace, reference.name):
            return unusable(name)
        if reference.kind == "Service":
            return self._service(place, reference, namespace, targets, (request_timeout, guarded))
        parsed = self.policies.resources.backends.get(name)
        if parsed is None:
            place.dangling("AgentgatewayBackend", name, self.policies.resources.backends)
            return unusable(name)
        return self._agentgateway_backend(parsed, targets, (request_timeout, guarded))

    def _service(
        self,
        place: Place,
        reference: BackendReference,
        namespace: str,
        targets: Sequence[Target],
        how: _How,
    ) -> Backend:
        name = f"{namespace}/{reference.name}"
        port = service_port(place, reference, namespace)
        if port is None:
            return unusable(name)
        levels = (*targets, (Level.SERVICE, name), (Level.SERVICE, f"{name}#{port}"))
        settings = self.policies.merge_backend(levels, {})
        host = service_host(reference.name, namespace)
        return self._assemble(name, [(host, port, 1)], host, settings, place, how=how)

    def _agentgateway_backend(
        self, parsed: Parsed[AgentgatewayBackend], targets: Sequence[Target], how: _How
    ) -> Backend:
        levels = (*targets, (Level.BACKEND, parsed.name))
        key = (parsed.name, tuple(level for level in levels if level in self.policies.attached), how)
        if key in self._made:
            return self._made[key]
        settings = self.policies.merge_backend(levels, self._inline[parsed.name])
        place = Place(parsed, self.policies.resources, self.policies.findings, ("spec", "policies"))
        static = parsed.model.spec.static
        if static is None:
            backend = self._assemble(parsed.name, [], None, settings, place, how=how)
        else:
            host = static.host.lower().removesuffix(".")
            backend = self._assemble(parsed.name, [(host, static.port, 1)], host, settings, place, how=how)
        self._made[key] = backend
        return backend

    def direct(self, entry: Parsed[ServiceEntry], host: str, targets: Sequence[Target]) -> Backend:
        """Return the service itself, for one without a route: its host on its first HTTP port, or its endpoints."""
        spec = entry.model.spec
        place = Place(entry, self.policies.resources, self.policies.findings)
        settings = self.policies.merge_backend(targets, {})
        usable = _HTTP | {"HTTPS", "TLS"} if "tls" in settings else _HTTP
        port = next((port for port in spec.ports if port.protocol in usable), None)
        if port is None:
            if not place.resources.refused_names.get("HTTPRoute"):  # else its route may be one that was reported itself
                message = f"ServiceEntry {entry.name} has no HTTPRoute, and no port that can be called without one"
                place.error("no-route", message, "add an HTTPRoute with a backend")
            return unusable(entry.name)
        number = port.target_port or port.number
        tls = settings.get("tls")
        if tls is not None and spec.subject_alt_names and not tls.verify_names:
            settings["tls"] = replace(tls, verify_names=spec.subject_alt_names)
        named = None if host.startswith("*.") else host
        if spec.endpoints:
            endpoints = [
                (str(ipaddress.ip_address(endpoint.address)), endpoint.ports.get(port.name, number), endpoint.weight)
                for endpoint in spec.endpoints
            ]
            weighted = [(address, at, 1 if weight is None else weight) for address, at, weight in endpoints]
            return self._assemble(entry.name, weighted, named, settings, place, port=number)
        if named is None:
            return self._assemble(entry.name, [], None, settings, place, port=number)
        return self._assemble(entry.name, [(host, number, 1)], host, settings, place)

    def _assemble(  # noqa: PLR0913  each is a fact of its own
        self,
        name: str,
        endpoints: Sequence[tuple[str, int, int]],
        host: str | None,
        settings: Mapping[str, Any],
        place: Place,
        *,
        port: int | None = None,
        how: _How = (None, True),
    ) -> Backend:
        """Put settings together.

        Args:
            name: `namespace/name`.
            endpoints: address or name, port and weight of each; none for a backend whose host the request names.
            host: what certificates are verified for, and `Host` is; none if the request names it.
            settings: compiled blocks by field.
            place: of the backend, for faults.
            port: of the service, where it is not the first endpoint's.
            how: seconds in place of `http.requestTimeout`, and whether the dial guard asks.

        """
        request_timeout, guarded = how
        tls, auth = settings.get("tls"), settings.get("auth")
        http: HttpSettings = settings.get("http") or HttpSettings()
        check_protocols(place, tls, http)
        fault: BackendFault = ""
        if auth is not None and auth.unusable:
            fault = "backend_authentication_failed"
        elif auth is not None and tls is None:
            message = f"the credential of {name} would go out without TLS"
            place.error("credential-without-tls", message, "add tls: {} to the backend")
            fault = "backend_authentication_failed"
        elif auth is not None and not endpoints:
            message = f"{name} is whatever host a request names: its credential would go wherever a caller says"
            place.error("credential-for-any-host", message, "use a static backend for it")
            fault = "backend_authentication_failed"
        elif auth is not None and tls is not None and tls.verification is not Verification.FULL:
            message = f"the credential of {name} goes to an origin whose certificate is not verified"
            place.warn("credential-unverified", message, "remove insecureSkipVerify")

        def upstream(address: str, at: int, server_name: str | None = None) -> Upstream | None:
            return upstream_of(
                address,
                at,
                tls=tls,
                tcp=settings.get("tcp") or TcpSettings(),
                http=http,
                tunnel=settings.get("tunnel"),
                guarded=guarded,
                server_name=server_name,
            )

        made = [(upstream(address, at, host), weight) for address, at, weight in endpoints]
        default_port = DEFAULT_PORT_OF["http" if tls is None else "https"]
        dynamic = None
        if not endpoints:
            dynamic = _dynamic(upstream, port, default_port)
        if any(found is None for found, _ in made) or upstream("unusable.invalid", 1) is None:
            fault = fault or "no_valid_backends"
        if name in self.denied:
            fault = "no_valid_backends"
        number = port or (endpoints[0][1] if endpoints else default_port)
        if port in DEFAULT_PORTS:
            # Each endpoint has a port of its own, and what callers know as http://host is https://host under TLS.
            number = default_port
        return Backend(
            name=name,
            endpoints=() if fault else tuple(Endpoint(found, weight) for found, weight in made if found is not None),
            authority=_authority(host, number, default_port),
            request_timeout=http.request_timeout if request_timeout is None else request_timeout,
            credentials=auth,
            health=settings.get("health"),
            dynamic=None if fault else dynamic,
            fault=fault,
        )


def unusable(name: str) -> Backend:
    """Return a backend to which nothing can be sent."""
    return Backend(name=name, fault="no_valid_backends")


def _dynamic(
    upstream: Callable[[str, int], Upstream | None], port: int | None, default_port: int
) -> DynamicForwardProxy:
    """Return what makes the origin of a request that names it.

    Args:
        upstream: makes it for a host and a port.
        port: of every origin; none: the one that the request names.
        default_port: where it names none.

    """

    def for_host(host: str, named: int) -> Upstream:
        found = upstream(host, port or named)
        if found is None:
            raise RuntimeError("a backend that cannot be used was asked for an origin")
        return found

    return DynamicForwardProxy(for_host, port or default_port, default_port)


def _authority(host: str | None, port: int, default_port: int) -> bytes | None:
    """Return the `Host` that an origin is sent; none where it is an address, or the request's own."""
    if host is None:
        return None
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return write_authority(host, port, default_port).encode()
    return None
