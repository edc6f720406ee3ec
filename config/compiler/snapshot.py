"""Service entries and routes to virtual hosts."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from config.compiler.attachment import Level, attach_policies
from config.compiler.backends import BackendCompiler
from config.compiler.hostnames import RoutesByHost, intersection, wildcards_above
from config.compiler.merging import PolicyMerger
from config.compiler.place import Place
from config.compiler.reachability import Reachability
from config.compiler.refusals import REFUSED_HOST, hosts_of_refused, names_of, targets_of_refused
from config.compiler.routes import RouteCompiler
from config.errors import Finding, Severity, nearest
from config.policy.matching import RouteTable
from config.snapshot import Route, Snapshot, VirtualHost, WeightedBackend

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from config.compiler.merging import Target
    from config.compiler.routes import AttachedRoute
    from config.errors import Location
    from config.model.gateway import Gateway
    from config.model.service_entry import ServiceEntry
    from config.resources import Parsed, Resources
    from config.settings import Settings

USE_WAYPOINT = "istio.io/use-waypoint"
USE_WAYPOINT_NAMESPACE = "istio.io/use-waypoint-namespace"


def compile_snapshot(
    resources: Resources,
    settings: Settings,
    *,
    revision: str,
    deny_everything: bool = False,
    now: float | None = None,
) -> tuple[Snapshot | None, list[Finding]]:
    """Compile the manifests of one gateway.

    Every fault is collected, and the part it stands in fails closed, so that the snapshot is safe to serve with them.

    Args:
        resources: what could be read.
        settings: which gateway this is, and the default action.
        revision: names the snapshot.
        deny_everything: a file could not be read at all, so a Deny may be missing anywhere.
        now: Unix time at which policies are in force; none: the present.

    Returns:
        The snapshot, or none where it is unclear which gateway this is; and every finding.

    """
    gateway, findings = _select_gateway(resources, settings.gateway)
    if gateway is None:
        return None, findings
    attachments, unresolved, faults = attach_policies(resources)
    findings += faults
    allowed = settings.default_action == "allow"
    policies = PolicyMerger(resources, findings, time.time() if now is None else now, default_allowed=allowed)
    policies.compile(attachments)
    backends = BackendCompiler(policies)
    backends.compile()
    routes = RouteCompiler(gateway, policies, backends)
    compiler = _Compiler(resources, gateway, policies, backends, routes, findings, unresolved)
    if deny_everything:
        compiler.denied.add("")
    snapshot = compiler.compile(revision)
    if (expiry := policies.next_expiry) is not None:

        def successor() -> Snapshot:
            found, _ = compile_snapshot(
                resources, settings, revision=revision, deny_everything=deny_everything, now=expiry
            )
            if found is None:
                raise RuntimeError("the manifests have a Gateway no more, though they are the same")
            return found

        snapshot = replace(snapshot, next_expiry=expiry, successor=successor)
    return snapshot, list(dict.fromkeys(findings))


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
    backends: BackendCompiler
    routes: RouteCompiler
    findings: list[Finding]
    denied: set[str] = field(default_factory=set)
    """Targets of what could not be read or attached, as `namespace/name`; the empty string denies everything."""
    exact: dict[str, VirtualHost] = field(default_factory=dict)
    wildcards: dict[str, VirtualHost] = field(default_factory=dict)
    parts: list[tuple[str, str, VirtualHost]] = field(default_factory=list)
    """Hosts that routes name out of the wildcards of their services: the wildcard, and the part of it."""
    below_gateway: RoutesByHost = field(default_factory=RoutesByHost)
    reachability: Reachability = field(init=False)

    def __post_init__(self) -> None:
        self.reachability = Reachability(self.routes.matches)

    def compile(self, revision: str) -> Snapshot:
        refused_hosts = self._deny_what_was_refused()
        self.routes.attach()
        self.denied |= self.routes.unattached
        if not self.denied <= names_of(self.resources):
            self.denied.add("")  # it names nothing here, so it could have meant anything
        self.backends.denied = frozenset(self.denied)
        self.below_gateway = RoutesByHost(self.routes.by_gateway)
        entries = sorted(self.resources.service_entries.values(), key=lambda parsed: parsed.age)
        for entry in entries:
            if self._is_enrolled(entry):
                self._service(entry)
        for host in refused_hosts:
            # Else a wildcard or a route would take them, past the policies of their own service.
            self._table(host).setdefault(_key(host), REFUSED_HOST)
        # Every host belongs to the service that names it most closely, whatever routes say, else its policies would
        # not apply. So all hosts of services stand before any that routes name.
        found = [(part, virtual_host) for host, part, virtual_host in self.parts if self._owner(part) == host]
        found += self._gateway_hosts()
        for part, virtual_host in found:
            self._table(part).setdefault(_key(part), virtual_host)
        anywhere = None
        if everywhere := self.below_gateway.everywhere:
            anywhere = VirtualHost(self.gateway.name, self._gateway_ports, self._routes([everywhere], None))
        self.reachability.report(self.resources, self.findings)
        network, network_shadow = self.policies.network_authorization((Level.GATEWAY, self.gateway.name))
        return Snapshot(
            revision,
            self.gateway.name,
            self.exact,
            self.wildcards,
            anywhere,
            network,
            network_shadow,
        )

    def _deny_what_was_refused(self) -> set[str]:
        """Deny the targets of what could not be read, and return the hosts of such services."""
        for document in self.resources.refused:
            self.denied |= targets_of_refused(document, self.resources)
        hosts: set[str] = set()
        for document in self.resources.refused_services:
            hosts |= hosts_of_refused(document)
        if "" in hosts:
            self.denied.add("")
        return hosts - {""}

    def _service(self, entry: Parsed[ServiceEntry]) -> None:
        """Make the virtual hosts of a service: its own, and the parts of them that its routes name."""
        own_routes = self.routes.by_service.get(entry.name, [])
        routes = RoutesByHost(own_routes) if own_routes else self.below_gateway
        ports = frozenset(port.number for port in entry.model.spec.ports)
        for index, pattern in enumerate(entry.model.spec.hosts):
            host = pattern.lower()
            if winner := self._table(host).get(_key(host)):
                message = f"{host} also belongs to {winner.name}, which is in force"
                place = entry.locate("spec", "hosts", index)
                self._shadowed("host-conflict", message, place, (Level.SERVICE_ENTRY, entry.name))
                continue
            table = self._routes(routes.taking(host), entry.name)
            if not own_routes and not table.routes:
                table = RouteTable.of(self._direct(entry, host))
            self._table(host)[_key(host)] = VirtualHost(entry.name, ports, table)
            for part in routes.below(host):
                table = self._routes(routes.taking(part), entry.name)
                self.parts.append((host, part, VirtualHost(entry.name, ports, table)))
        for route in own_routes:
            hosts = [host.lower() for host in entry.model.spec.hosts]
            if route.hostnames and not any(intersection(name, host) for name in route.hostnames for host in hosts):
                place = route.parsed.locate("spec", "hostnames")
                message = f"none of these is a host of ServiceEntry {entry.name}: the route takes nothing of it"
                self.findings.append(Finding("unmatched-hostname", message, place, f"its hosts: {', '.join(hosts)}"))

    def _owner(self, host: str) -> str | None:
        """Return the `*.suffix` of a service that a host is part of, the closest one; none if there is none."""
        return next((found for found in wildcards_above(host) if _key(found) in self.wildcards), None)

    def _gateway_hosts(self) -> list[tuple[str, VirtualHost]]:
        """Make the virtual hosts that routes below the Gateway name and no service has."""
        routes, ports = self.below_gateway, self._gateway_ports
        return [
            (host, VirtualHost(self.gateway.name, ports, self._routes(routes.taking(host), None)))
            for host in routes.names
            if self._owner(host) is None
        ]

    @property
    def _gateway_ports(self) -> frozenset[int]:
        return frozenset(listener.port for listener in self.gateway.model.spec.listeners)

    def _routes(self, tiers: Iterable[Sequence[AttachedRoute]], entry: str | None) -> RouteTable[Route]:
        """Return the table of a host: the rules of the routes that take it, those that name it most closely first."""
        denied, tiers = frozenset(self.denied), list(tiers)
        self.reachability.note(tiers)
        return RouteTable(
            [found for route in tier for found in self.routes.rules(route, entry, denied)] for tier in tiers
        )

    def _direct(self, entry: Parsed[ServiceEntry], host: str) -> Route:
        """Return the route of a service that no `HTTPRoute` names."""
        targets: list[Target] = [*self.routes.gateway_targets(), (Level.SERVICE_ENTRY, entry.name)]
        merged = self.policies.merge(targets)
        if "" in self.denied or not self.denied.isdisjoint(target for _, target in targets):
            merged = merged.denying(entry.name)
        self.routes.report_open(merged, Place(entry, self.resources, self.findings))
        backend = self.backends.direct(entry, host, targets)
        return Route(
            name=entry.name,
            authorization=merged.authorization,
            shadow=merged.shadow,
            backends=(WeightedBackend(backend),),
            **merged.fields,
        )

    def _table(self, host: str) -> dict[str, VirtualHost]:
        """Return the table that a host or `*.suffix` belongs to."""
        return self.wildcards if host.startswith("*.") else self.exact

    def _shadowed(self, code: str, message: str, place: Location, target: Target) -> None:
        """Report what is not in force: a warning, but a fault where a policy goes out of force with it."""
        if target in self.policies.attached:
            self.findings.append(Finding(code, f"{message}, and the policies of this one are not", place))
        else:
            self.findings.append(Finding(code, message, place, severity=Severity.WARNING))

    def _is_enrolled(self, entry: Parsed[ServiceEntry]) -> bool:
        """Tell whether a service is this gateway's: its own label decides, else its namespace's."""
        labels = entry.model.metadata.labels
        if USE_WAYPOINT not in labels and (namespace := self.resources.namespaces.get(entry.namespace)):
            labels = namespace.model.metadata.labels
        namespace_name = labels.get(USE_WAYPOINT_NAMESPACE, entry.namespace)
        enrolled = f"{namespace_name}/{labels.get(USE_WAYPOINT)}" == self.gateway.name
        if not enrolled:
            message = (
                f"ServiceEntry {entry.name} is not served: no label {USE_WAYPOINT} of it or its Namespace names "
                f"{self.gateway.name}"
            )
            hint = f"label it {USE_WAYPOINT}: {self.gateway.model.metadata.name}"
            self.findings.append(
                Finding("not-enrolled", message, entry.origin.location, hint, severity=Severity.WARNING)
            )
        return enrolled


def _key(host: str) -> str:
    return host.removeprefix("*.")
