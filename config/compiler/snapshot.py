"""Service entries, routes and backends to virtual hosts."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from config.compiler.attachment import Level, attach_policies
from config.compiler.merging import PolicyMerger
from config.compiler.refusals import REFUSED_HOST, hosts_of_refused, targets_of_refused
from config.errors import Finding, Severity, nearest
from config.policy.upstream import Upstream, UpstreamTls
from config.resources import AGENTGATEWAY, ISTIO
from config.snapshot import Backend, Route, Snapshot, VirtualHost

if TYPE_CHECKING:
    from collections.abc import Collection

    from config.compiler.merging import Target
    from config.errors import Location
    from config.model.backend import AgentgatewayBackend
    from config.model.gateway import Gateway
    from config.model.route import HTTPRoute
    from config.model.service_entry import ServiceEntry
    from config.resources import Parsed, Resources
    from config.settings import Settings

USE_WAYPOINT = "istio.io/use-waypoint"
USE_WAYPOINT_NAMESPACE = "istio.io/use-waypoint-namespace"


def compile_snapshot(
    resources: Resources, settings: Settings, *, revision: str, deny_everything: bool = False
) -> tuple[Snapshot | None, list[Finding]]:
    """Compile the manifests of one gateway.

    Every fault is collected, and the part it stands in fails closed, so that the snapshot is safe to serve with them.

    Args:
        resources: what could be read.
        settings: which gateway this is, and the default action.
        revision: names the snapshot.
        deny_everything: a file could not be read at all, so a Deny may be missing anywhere.

    Returns:
        The snapshot, or none where it is unclear which gateway this is; and every finding.

    """
    gateway, findings = _select_gateway(resources, settings.gateway)
    if gateway is None:
        return None, findings
    attachments, unresolved, faults = attach_policies(resources)
    policies = PolicyMerger(default_allowed=settings.default_action == "allow")
    policies.attach(attachments)
    compiler = _Compiler(resources, gateway, policies, [*findings, *faults], unresolved)
    if deny_everything:
        compiler.denied_targets.add("")
    return compiler.compile(revision), compiler.findings


def _select_gateway(resources: Resources, wanted: str | None) -> tuple[Parsed[Gateway] | None, list[Finding]]:
    gateways = resources.gateways
    if wanted is not None:
        if found := gateways.get(wanted):
            return found, []
        hint = nearest(wanted, gateways)
        return None, [Finding("no-gateway", f"EGRESS_GATEWAY names {wanted!r}, which is no Gateway", hint=hint)]
    if len(gateways) == 1:
        return next(iter(gateways.values())), []
    if not gateways:
        return None, [Finding("no-gateway", "the manifests hold no Gateway", hint="add the one this process is")]
    names = ", ".join(sorted(gateways))
    return None, [Finding("several-gateways", f"the manifests hold {names}", hint="choose with EGRESS_GATEWAY")]


@dataclass(slots=True)
class _Compiler:
    resources: Resources
    gateway: Parsed[Gateway]
    policies: PolicyMerger
    findings: list[Finding]
    denied_targets: set[str] = field(default_factory=set)
    """Targets of what could not be read or attached, as `namespace/name`; the empty string denies everything."""

    def compile(self, revision: str) -> Snapshot:
        refused_hosts = self._deny_what_was_refused()
        self.policies.compile(self.resources.policies.values(), self.findings)
        backends = {name: self._backend(parsed) for name, parsed in self.resources.backends.items()}
        routes = self._routes_by_service()
        if not self.denied_targets <= self._names():
            self.denied_targets.add("")  # it names nothing here, so it could have meant anything
        exact: dict[str, VirtualHost] = {}
        wildcards: dict[str, VirtualHost] = {}
        for entry in sorted(self.resources.service_entries.values(), key=lambda parsed: parsed.age):
            if not self._is_enrolled(entry):
                continue
            for index, pattern in enumerate(entry.model.spec.hosts):
                host = pattern.lower()
                table, key = _place(host, exact, wildcards)
                if winner := table.get(key):
                    message = f"{host} also belongs to {winner.name}, which is in force"
                    place = entry.locate("spec", "hosts", index)
                    self._shadowed("host-conflict", message, place, (Level.SERVICE_ENTRY, entry.name))
                    continue
                ports = frozenset(port.number for port in entry.model.spec.ports)
                route = self._route(entry, routes.get(entry.name, []), backends, host)
                table[key] = VirtualHost(entry.name, ports, route)
        for host in refused_hosts:
            # Else a wildcard would take them, past the policies of their own service.
            table, key = _place(host, exact, wildcards)
            table.setdefault(key, REFUSED_HOST)
        return Snapshot(revision, self.gateway.name, exact, wildcards)

    def _deny_what_was_refused(self) -> set[str]:
        """Deny the targets of what could not be read, and return the hosts of such services."""
        for document in self.resources.refused:
            self.denied_targets |= targets_of_refused(document)
        hosts: set[str] = set()
        for document in self.resources.refused_services:
            hosts |= hosts_of_refused(document)
        if "" in hosts:
            self.denied_targets.add("")
        return hosts - {""}

    def _error(self, code: str, message: str, place: Location, hint: str = "") -> None:
        self.findings.append(Finding(code, message, place, hint))

    def _warn(self, code: str, message: str, place: Location, hint: str = "") -> None:
        self.findings.append(Finding(code, message, place, hint, severity=Severity.WARNING))

    def _shadowed(self, code: str, message: str, place: Location, target: Target) -> None:
        """Report what is not in force: a warning, but a fault where a policy goes out of force with it."""
        if target in self.policies.attached:
            self._error(code, f"{message}, and the policies of this one are not", place)
        else:
            self._warn(code, message, place)

    def _dangling(self, kind: str, name: str, place: Location, known: Collection[str]) -> None:
        """Report a reference to nothing, unless what it refers to was refused and reported itself."""
        if name not in self.resources.refused_names.get(kind, ()):
            self._error("dangling-reference", f"there is no {kind} {name}", place, nearest(name, known))

    def _is_enrolled(self, entry: Parsed[ServiceEntry]) -> bool:
        """Tell whether a service is this gateway's: its own label decides, else its namespace's."""
        labels = entry.model.metadata.labels
        if USE_WAYPOINT not in labels and (namespace := self.resources.namespaces.get(entry.namespace)):
            labels = namespace.model.metadata.labels
        namespace_name = labels.get(USE_WAYPOINT_NAMESPACE, entry.namespace)
        enrolled = f"{namespace_name}/{labels.get(USE_WAYPOINT)}" == self.gateway.name
        if not enrolled:
            self._warn(
                "not-enrolled",
                f"ServiceEntry {entry.name} is not served: no label {USE_WAYPOINT} of it or its Namespace names "
                f"{self.gateway.name}",
                entry.origin.location,
                f"label it {USE_WAYPOINT}: {self.gateway.model.metadata.name}",
            )
        return enrolled

    def _backend(self, parsed: Parsed[AgentgatewayBackend]) -> Backend:
        spec = parsed.model.spec
        assert spec.static is not None
        host = spec.static.host.lower().removesuffix(".")
        tls = None if spec.policies.tls is None else UpstreamTls(server_name=host)
        return _named(parsed.name, Upstream(host, spec.static.port, tls))

    def _routes_by_service(self) -> dict[str, list[Parsed[HTTPRoute]]]:
        """Resolve every `parentRefs` entry. Routes of one service come in order of precedence: the older first."""
        result: dict[str, list[Parsed[HTTPRoute]]] = {}
        for route in sorted(self.resources.routes.values(), key=lambda parsed: parsed.age):
            for index, parent in enumerate(route.model.spec.parent_refs):
                name = f"{parent.namespace or route.namespace}/{parent.name}"
                entries = self.resources.service_entries
                if (parent.group, parent.kind) != (ISTIO, "ServiceEntry"):
                    message = f"a route attaches to a ServiceEntry of {ISTIO}, not to a {parent.kind} of {parent.group}"
                    self._error("invalid-parent", message, route.locate("spec", "parentRefs", index))
                elif name not in entries:
                    self._dangling("ServiceEntry", name, route.locate("spec", "parentRefs", index), entries)
                elif parent.namespace not in {None, route.namespace}:
                    message = "a route attaches to services of its own namespace"
                    self._error("invalid-parent", message, route.locate("spec", "parentRefs", index))
                else:
                    result.setdefault(name, []).append(route)
                    continue
                # Without its route the service would be called directly, past the route's policies.
                self.denied_targets.add(name)
        for name, routes in result.items():
            for route in routes[1:]:
                place = route.origin.location
                message = f"{routes[0].name} already takes every request of {name}"
                self._shadowed("shadowed-route", message, place, (Level.ROUTE, route.name))
        return result

    def _route(
        self,
        entry: Parsed[ServiceEntry],
        routes: list[Parsed[HTTPRoute]],
        backends: dict[str, Backend],
        host: str,
    ) -> Route:
        if not routes:
            targets = [(Level.GATEWAY, self.gateway.name), (Level.SERVICE_ENTRY, entry.name)]
            return self._assemble(entry.name, targets, self._direct_backend(entry, host))
        route = routes[0]
        targets = [
            (Level.GATEWAY, self.gateway.name),
            (Level.SERVICE_ENTRY, entry.name),
            (Level.ROUTE, route.name),
            (Level.RULE, f"{route.name}#{route.model.spec.rules[0].name}"),
        ]
        return self._assemble(route.name, targets, self._routed_backend(route, backends))

    def _routed_backend(self, route: Parsed[HTTPRoute], backends: dict[str, Backend]) -> Backend | None:
        """Resolve the `backendRefs` entry of a route."""
        reference = route.model.spec.rules[0].backend_refs[0]
        name = f"{reference.namespace or route.namespace}/{reference.name}"
        is_known = (reference.group, reference.kind) == (AGENTGATEWAY, "AgentgatewayBackend")
        is_granted = reference.namespace in {None, route.namespace}
        if is_known and is_granted and (backend := backends.get(name)):
            return backend
        place = route.locate("spec", "rules", 0, "backendRefs", 0)
        if not is_known:
            message = f"a backendRef to {reference.kind!r} of {reference.group!r} is not available yet"
            self._error("invalid-backend", message, place, f"refer to an AgentgatewayBackend of {AGENTGATEWAY}")
        elif not is_granted:
            self._error("reference-not-granted", "a backendRef into another namespace is not available yet", place)
        else:
            self._dangling("AgentgatewayBackend", name, place, backends)
        return None

    def _direct_backend(self, entry: Parsed[ServiceEntry], host: str) -> Backend | None:
        """Return the host itself, on the service's first HTTP port and in plain text, for a service without a route."""
        port = next((port for port in entry.model.spec.ports if port.protocol in {"HTTP", "HTTP2", "GRPC"}), None)
        if port is None or host.startswith("*."):
            self._error(
                "no-route",
                f"ServiceEntry {entry.name} has no HTTPRoute, and {host} cannot be forwarded to without one",
                entry.origin.location,
                "add an HTTPRoute with a backend",
            )
            return None
        return _named(entry.name, Upstream(host, port.number))

    def _assemble(self, name: str, targets: list[Target], backend: Backend | None) -> Route:
        """Put the policies of every level, weak to strong, before a backend."""
        policies = self.policies.merge(targets)
        if "" in self.denied_targets or not self.denied_targets.isdisjoint(target for _, target in targets):
            policies = policies.denying(name)
        return Route(name, policies.authorization, policies.headers, backend, policies.reads_body)

    def _names(self) -> set[str]:
        """Return the `namespace/name` of everything that a policy or route can refer to."""
        resources = self.resources
        known = {"", *resources.gateways, *resources.routes, *resources.service_entries}
        return known.union(
            *(resources.refused_names.get(kind, ()) for kind in ("Gateway", "HTTPRoute", "ServiceEntry"))
        )


def _place(
    host: str, exact: dict[str, VirtualHost], wildcards: dict[str, VirtualHost]
) -> tuple[dict[str, VirtualHost], str]:
    """Return the table that a host or `*.suffix` belongs to, and its key there."""
    return (wildcards, host[2:]) if host.startswith("*.") else (exact, host)


def _named(name: str, upstream: Upstream) -> Backend:
    """Name an upstream, and work out the `Host` it is sent."""
    try:
        ipaddress.ip_address(upstream.host)
    except ValueError:
        default_port = 443 if upstream.tls else 80
        port = "" if upstream.port == default_port else f":{upstream.port}"
        return Backend(name, upstream, f"{upstream.host}{port}".encode())
    return Backend(name, upstream, None)
