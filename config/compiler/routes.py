"""`HTTPRoute`s to routes: which hosts they take, which requests of those, and what happens to them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from config.compiler.attachment import Level
from config.compiler.filters import compile_filters
from config.compiler.hostnames import closeness, intersection
from config.compiler.matches import compile_matches
from config.compiler.place import Place
from config.compiler.refusals import PARENTS, names_of
from config.errors import nearest
from config.kinds import GATEWAY_API, ISTIO
from config.snapshot import Route, WeightedBackend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from config.compiler.backends import BackendCompiler
    from config.compiler.merging import MergedPolicies, PolicyMerger, Target
    from config.model.gateway import Gateway, ListenerSpec
    from config.model.route import HTTPRoute, ParentReference, RouteRuleSpec
    from config.policy.matching import RouteMatch
    from config.resources import Parsed

PATH_ESCAPES = "egress-gateway.dev/path-escapes"
NAMESPACE_NAME = "kubernetes.io/metadata.name"
"""Label that a cluster gives every namespace: its own name."""


@dataclass(frozen=True, slots=True)
class AttachedRoute:
    """An `HTTPRoute` below one of its parents."""

    parsed: Parsed[HTTPRoute]
    hostnames: tuple[str, ...] = ()
    """Hosts and `*.suffix`es that the route takes; empty: all of its parent's."""
    listener: str | None = None
    """Of the Gateway, whose policies apply; none: the one that `RouteCompiler.gateway_targets` says."""
    denied: bool = False
    """Whether it could not be attached. What it would have taken is denied: it would else go past its policies."""


@dataclass(slots=True)
class RouteCompiler:
    """Attaches routes to parents, and compiles their rules once for every set of policies."""

    gateway: Parsed[Gateway]
    policies: PolicyMerger
    backends: BackendCompiler
    by_service: dict[str, list[AttachedRoute]] = field(default_factory=lambda: defaultdict(list))
    """`namespace/name` of a ServiceEntry to its routes, the older first."""
    by_gateway: list[AttachedRoute] = field(default_factory=list)
    """Routes below this Gateway."""
    unattached: set[str] = field(default_factory=set)
    """`namespace/name` of parents that a route names and cannot be below: they are denied. The empty string: any."""
    matches: dict[str, list[list[tuple[RouteMatch, bool]]]] = field(default_factory=dict)
    """Name of a route to the matches of its rules, each with whether it can be served."""
    _inline: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    _rules: dict[tuple[str, int, tuple[Target, ...], bool], Route] = field(default_factory=dict)

    def attach(self) -> None:
        """Resolve every `parentRefs` entry, and compile what a route says in itself."""
        resources = self.policies.resources
        for route in sorted(resources.routes.values(), key=lambda parsed: parsed.age):
            place = Place(route, resources, self.policies.findings)
            given = route.model.metadata.annotations.get(PATH_ESCAPES)
            if given not in {None, "allow"}:
                here = place.at("metadata", "annotations", PATH_ESCAPES)
                here.error("invalid-annotation", f"{PATH_ESCAPES} is allow, or not there")
            self.matches[route.name] = [
                compile_matches(place.at("spec", "rules", index), rule)
                for index, rule in enumerate(route.model.spec.rules)
            ]
            for index, rule in enumerate(route.model.spec.rules):
                here = place.at("spec", "rules", index)
                self._inline[route.name, index] = compile_filters(here, rule, self._mirror_backend(route))
            for index, parent in enumerate(route.model.spec.parent_refs):
                self._attach(place.at("spec", "parentRefs", index), route, parent)

    def _mirror_backend(self, route: Parsed[HTTPRoute]) -> Any:
        targets = self._targets(route, None, None, None)
        return lambda place, reference: self.backends.resolve(place, reference, targets[:1], guarded=False)

    def _attach(self, place: Place, route: Parsed[HTTPRoute], parent: ParentReference) -> None:
        resources = place.resources
        name = f"{parent.namespace or route.namespace}/{parent.name}"
        if (parent.group, parent.kind) == (ISTIO, "ServiceEntry"):
            if name not in resources.service_entries:
                place.dangling("ServiceEntry", name, resources.service_entries)
                self.unattached.add(name if name in names_of(resources, "ServiceEntry") else "")
            elif not place.is_granted((ISTIO, "ServiceEntry"), parent.namespace or route.namespace, parent.name):
                self.unattached.add(name)
            else:
                self._attach_to_service(place, route, parent, name)
        elif (parent.group, parent.kind) == (GATEWAY_API, "Gateway"):
            self._attach_to_gateway(place, route, parent, name)
        else:
            message = f"a route attaches to a Gateway of {GATEWAY_API}, or to a ServiceEntry of {ISTIO}"
            hint = f"add group: {ISTIO}" if parent.kind == "ServiceEntry" else ""
            place.error("invalid-parent", f"{message}, not to a {parent.kind} of {parent.group!r}", hint)
            self.unattached.add(name if name in names_of(resources, *PARENTS) else "")

    def _attach_to_service(self, place: Place, route: Parsed[HTTPRoute], parent: ParentReference, name: str) -> None:
        ports = place.resources.service_entries[name].model.spec.ports
        wanted = [
            port for port in ports if parent.section_name in {None, port.name} and parent.port in {None, port.number}
        ]
        if not wanted:
            section = parent.section_name or f"{parent.port}"
            place.error("dangling-reference", f"ServiceEntry {name} has no port {section}")
            self.unattached.add(name)
            return
        if len(wanted) < len(ports):
            message = f"the route takes the requests of every port of ServiceEntry {name}, not of this one alone"
            place.warn("not-by-port", message, "remove 'sectionName' and 'port'")
        self.by_service[name].append(AttachedRoute(route, _own_hostnames(route)))

    def _attach_to_gateway(self, place: Place, route: Parsed[HTTPRoute], parent: ParentReference, name: str) -> None:
        gateways = place.resources.gateways
        own = _own_hostnames(route)
        if name not in gateways:
            place.dangling("Gateway", name, gateways)
            self.by_gateway.append(AttachedRoute(route, own, denied=True))
            return
        if name != self.gateway.name:
            place.warn(
                "not-enrolled", f"the route belongs to another Gateway, {name}: this process is {self.gateway.name}"
            )
            return
        allowed = self._listeners(place, route, parent)
        by_host: dict[str | None, list[ListenerSpec]] = {}
        for listener in allowed:
            by_host.setdefault(listener.hostname.lower() if listener.hostname else None, []).append(listener)
        attached = []
        for host, listeners in sorted(by_host.items(), key=lambda item: closeness(item[0]), reverse=True):
            names = [listener.name for listener in listeners]
            bound = self._usual_listener if self._usual_listener in names else names[0]
            if host is None:
                attached.append(AttachedRoute(route, own, bound))
            elif taken := tuple(found for one in own if (found := intersection(one, host))) if own else (host,):
                attached.append(AttachedRoute(route, taken, bound))
        if allowed and not attached:
            hint = f"its listeners take {', '.join(sorted(filter(None, by_host)))}"
            place.error("unmatched-hostname", f"none of the route's hostnames is one of Gateway {name}", hint)
        self.by_gateway += attached or [AttachedRoute(route, own, denied=True)]

    def _listeners(self, place: Place, route: Parsed[HTTPRoute], parent: ParentReference) -> list[ListenerSpec]:
        """Return the listeners that a route is below; none, and a fault, where there is none."""
        listeners = self.gateway.model.spec.listeners
        wanted = [
            listener
            for listener in listeners
            if parent.section_name in {None, listener.name} and parent.port in {None, listener.port}
        ]
        if not wanted:
            section = parent.section_name or f"port {parent.port}"
            hint = nearest(section, (listener.name for listener in listeners))
            place.error("no-such-listener", f"Gateway {self.gateway.name} has no listener {section}", hint)
            return []
        allowed = [listener for listener in wanted if self._allows(listener, route)]
        if not allowed:
            message = f"no listener of Gateway {self.gateway.name} allows routes of the namespace {route.namespace}"
            place.error("route-not-allowed", message, "see allowedRoutes of its listeners")
        return allowed

    def _allows(self, listener: ListenerSpec, route: Parsed[HTTPRoute]) -> bool:
        allowed = listener.allowed_routes
        if allowed.kinds and not any(kind.kind == "HTTPRoute" for kind in allowed.kinds):
            return False
        match allowed.namespaces.from_:
            case "All":
                return True
            case "Same":
                return route.namespace == self.gateway.namespace
            case _:
                namespace = self.policies.resources.namespaces.get(route.namespace)
                wanted = allowed.namespaces.selector
                labels = {NAMESPACE_NAME: route.namespace}
                if namespace is not None:
                    labels |= namespace.model.metadata.labels
                return wanted is not None and wanted.match_labels.items() <= labels.items()

    def _targets(
        self, route: Parsed[HTTPRoute], rule: RouteRuleSpec | None, entry: str | None, listener: str | None
    ) -> tuple[Target, ...]:
        """Return the levels of a rule, weak to strong."""
        targets: list[Target] = list(self.gateway_targets(listener))
        if entry is not None:
            targets.append((Level.SERVICE_ENTRY, entry))
        targets.append((Level.ROUTE, route.name))
        if rule is not None and rule.name is not None:
            targets.append((Level.RULE, f"{route.name}#{rule.name}"))
        return tuple(targets)

    def gateway_targets(self, listener: str | None = None) -> tuple[Target, ...]:
        """Return the levels of the Gateway.

        What names no listener belongs to the HBONE one, on which a mesh's requests come, else to the first.
        """
        name = listener or self._usual_listener
        return (Level.GATEWAY, self.gateway.name), (Level.LISTENER, f"{self.gateway.name}#{name}")

    @property
    def _usual_listener(self) -> str:
        listeners = self.gateway.model.spec.listeners
        return next((found.name for found in listeners if found.protocol == "HBONE"), listeners[0].name)

    def rules(
        self, attached: AttachedRoute, entry: str | None, denied: frozenset[str]
    ) -> Iterator[tuple[RouteMatch, Route]]:
        """Yield the matches of every rule of a route, with what they lead to.

        Args:
            attached: the route.
            entry: `namespace/name` of the service whose host it is, whose policies apply too.
            denied: names of targets that are denied.

        """
        for index, rule in enumerate(attached.parsed.model.spec.rules):
            targets = self._targets(attached.parsed, rule, entry, attached.listener)
            is_denied = attached.denied or "" in denied or not denied.isdisjoint(target for _, target in targets)
            for match, is_sound in self.matches[attached.parsed.name][index]:
                yield match, self._route(attached.parsed, index, targets, denied=is_denied or not is_sound)

    def _route(self, parsed: Parsed[HTTPRoute], index: int, targets: tuple[Target, ...], *, denied: bool) -> Route:
        """Return one object for the rule under the same policies."""
        key = (parsed.name, index, tuple(level for level in targets if level in self.policies.attached), denied)
        route = self._rules.get(key)
        if route is None:
            route = self._rules[key] = self._compile(parsed, index, targets, denied=denied)
        return route

    def _compile(self, parsed: Parsed[HTTPRoute], index: int, targets: tuple[Target, ...], *, denied: bool) -> Route:
        rule = parsed.model.spec.rules[index]
        place = Place(parsed, self.policies.resources, self.policies.findings, ("spec", "rules", index))
        merged = self.policies.merge(targets)
        if denied:
            merged = merged.denying(parsed.name)
        self.report_open(merged, place)
        inline = self._inline[parsed.name, index]
        fields = merged.with_inline(inline)
        patience = fields.pop("backend_timeout", None)
        backends = [
            WeightedBackend(
                self.backends.resolve(place.at("backendRefs", number), reference, targets, request_timeout=patience),
                reference.weight,
            )
            for number, reference in enumerate(rule.backend_refs)
        ]
        if not backends and not {"redirect", "direct_response"} & fields.keys():
            place.error(
                "no-backend", "this rule has no backendRefs, and nothing that answers instead", "add one of them"
            )
        if backends and not any(choice.weight for choice in backends):
            place.at("backendRefs").warn("no-backend", "every weight is 0: all requests are answered 500")
        return Route(
            name=parsed.name,
            rule=rule.name or str(index),
            authorization=merged.authorization,
            shadow=merged.shadow,
            backends=tuple(backends),
            allows_escapes=parsed.model.metadata.annotations.get(PATH_ESCAPES) == "allow",
            **fields,
        )

    def report_open(self, merged: MergedPolicies, place: Place) -> None:
        """Report a route that everybody may use: nothing but the default action decides."""
        if not merged.authorization.rules and self.policies.default_allowed:
            message = f"no authorization rule covers {place.name}: every caller with an identity is let through"
            place.warn("no-authorization", message, "attach an Allow policy, or set EGRESS_DEFAULT_ACTION=deny")


def _own_hostnames(route: Parsed[HTTPRoute]) -> tuple[str, ...]:
    return tuple(name.lower() for name in route.model.spec.hostnames)
