"""`HTTPRoute`s to routes: which hosts they take, which requests of those, and what happens to them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from config.compiler.attachment import Level
from config.compiler.filters import compile_filters
from config.compiler.place import Place
from config.errors import nearest
from config.policy.matching import InvalidPatternError, PathKind, Pattern, RouteMatch, prefix_of
from config.policy.normalisation import AmbiguousTargetError, normalise_path
from config.resources import ISTIO
from config.snapshot import Route, WeightedBackend

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from config.compiler.backends import BackendCompiler
    from config.compiler.merging import MergedPolicies, PolicyMerger, Target
    from config.model.gateway import Gateway, ListenerSpec
    from config.model.route import HTTPRoute, ParentReference, RouteMatchSpec, RouteRuleSpec
    from config.resources import Parsed

PATH_ESCAPES = "egress-gateway.dev/path-escapes"


@dataclass(frozen=True, slots=True)
class AttachedRoute:
    """An `HTTPRoute` below one of its parents."""

    parsed: Parsed[HTTPRoute]
    listener: str | None = None
    """Of the Gateway; none: whichever."""
    listener_hostname: str | None = None

    @property
    def hostnames(self) -> tuple[str, ...]:
        """Hosts and `*.suffix`es that the route takes; empty: all of its parent's."""
        own = tuple(name.lower() for name in self.parsed.model.spec.hostnames)
        if self.listener_hostname is None:
            return own
        if not own:
            return (self.listener_hostname,)
        return tuple(found for name in own if (found := intersection(name, self.listener_hostname)))


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
    """`namespace/name` of parents that a route names and cannot be below: they are denied."""
    _matches: dict[str, list[list[RouteMatch]]] = field(default_factory=dict)
    _inline: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    _rules: dict[tuple[str, int, tuple[Target, ...]], Route] = field(default_factory=dict)

    def attach(self) -> None:
        """Resolve every `parentRefs` entry, and compile what a route says in itself."""
        resources = self.policies.resources
        for route in sorted(resources.routes.values(), key=lambda parsed: parsed.age):
            place = Place(route, resources, self.policies.findings)
            given = route.model.metadata.annotations.get(PATH_ESCAPES)
            if given not in {None, "allow"}:
                here = place.at("metadata", "annotations", PATH_ESCAPES)
                here.error("invalid-annotation", f"{PATH_ESCAPES} is allow, or not there")
            self._matches[route.name] = [
                _compile_matches(place.at("spec", "rules", index), rule)
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
                self.unattached.add(name)
            elif parent.namespace not in {None, route.namespace} and not self.backends.granted(
                place, (ISTIO, "ServiceEntry"), parent.namespace or "", parent.name
            ):
                message = f"no ReferenceGrant lets {route.namespace} attach a route to ServiceEntry {name}"
                place.error("reference-not-granted", message, f"add one to the namespace {parent.namespace}")
                self.unattached.add(name)
            else:
                self.by_service[name].append(AttachedRoute(route))
        elif parent.kind == "Gateway":
            self._attach_to_gateway(place, route, parent, name)
        else:
            message = f"a route attaches to a Gateway, or to a ServiceEntry of {ISTIO}, not to a {parent.kind}"
            place.error("invalid-parent", message)
            self.unattached.add(name)

    def _attach_to_gateway(self, place: Place, route: Parsed[HTTPRoute], parent: ParentReference, name: str) -> None:
        gateways = place.resources.gateways
        if name not in gateways:
            place.dangling("Gateway", name, gateways)
            return
        if name != self.gateway.name:
            place.warn(
                "not-enrolled", f"the route belongs to another Gateway, {name}: this process is {self.gateway.name}"
            )
            return
        listeners = self.gateway.model.spec.listeners
        wanted = [
            listener
            for listener in listeners
            if parent.section_name in {None, listener.name} and parent.port in {None, listener.port}
        ]
        if not wanted:
            section = parent.section_name or f"port {parent.port}"
            hint = nearest(section, (listener.name for listener in listeners))
            place.error("no-such-listener", f"Gateway {name} has no listener {section}", hint)
            return
        allowed = [listener for listener in wanted if self._allows(listener, route)]
        if not allowed:
            message = f"no listener of Gateway {name} allows routes of the namespace {route.namespace}"
            place.error("route-not-allowed", message, "see allowedRoutes of its listeners")
            return
        bound = allowed[0].name if parent.section_name or parent.port else None
        hosts = {listener.hostname.lower() if listener.hostname else None for listener in allowed}
        for host in [None] if None in hosts else sorted(filter(None, hosts)):
            self.by_gateway.append(AttachedRoute(route, bound, host))

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
                labels = namespace.model.metadata.labels if namespace is not None else {}
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

        A route that names no listener belongs to the Gateway's only one, else to the HBONE one, on which a mesh's
        requests come, else to the first.
        """
        listeners = self.gateway.model.spec.listeners
        hbone = [found.name for found in listeners if found.protocol == "HBONE"]
        name = listener or (hbone[0] if hbone and len(listeners) > 1 else listeners[0].name)
        return (Level.GATEWAY, self.gateway.name), (Level.LISTENER, f"{self.gateway.name}#{name}")

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
            key = (attached.parsed.name, index, tuple(level for level in targets if self._has_policies(level)))
            route = self._rules.get(key)
            if route is None:
                route = self._rules[key] = self._compile(attached.parsed, index, targets, denied)
            for match in self._matches[attached.parsed.name][index]:
                yield match, route

    def _has_policies(self, target: Target) -> bool:
        return target in self.policies.attached

    def _compile(
        self, parsed: Parsed[HTTPRoute], index: int, targets: tuple[Target, ...], denied: frozenset[str]
    ) -> Route:
        rule = parsed.model.spec.rules[index]
        place = Place(parsed, self.policies.resources, self.policies.findings, ("spec", "rules", index))
        merged = self.policies.merge(targets)
        if "" in denied or not denied.isdisjoint(target for _, target in targets):
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


def _compile_matches(place: Place, rule: RouteRuleSpec) -> list[RouteMatch]:
    """Compile the matches of a rule. One that is faulty matches nothing, and the rule stays."""
    if not rule.matches:
        return [RouteMatch()]
    found = [_compile_match(place.at("matches", index), match) for index, match in enumerate(rule.matches)]
    return [match for match in found if match is not None]


def _compile_match(place: Place, spec: RouteMatchSpec) -> RouteMatch | None:
    faults = len(place.findings)
    kind, path, pattern = PathKind.PREFIX, spec.path.value, None
    here = place.at("path", "value")
    if spec.path.type == "RegularExpression":
        kind, pattern = PathKind.REGEX, _pattern(here, spec.path.value, is_regex=True)
    else:
        kind = PathKind.EXACT if spec.path.type == "Exact" else PathKind.PREFIX
        path = prefix_of(path) if kind is PathKind.PREFIX else path
        try:
            if normalise_path(path.encode()) != path:
                here.error("invalid-value", f"no request has this path: it would be {normalise_path(path.encode())}")
        except AmbiguousTargetError as error:
            here.error("invalid-value", f"no request has this path: {error}")
    headers = tuple(
        (header.name.lower().encode(), compiled)
        for index, header in enumerate(spec.headers)
        if (compiled := _pattern(place.at("headers", index, "value"), header.value, is_regex=header.type != "Exact"))
    )
    query = tuple(
        (parameter.name, compiled)
        for index, parameter in enumerate(spec.query_params)
        if (
            compiled := _pattern(
                place.at("queryParams", index, "value"), parameter.value, is_regex=parameter.type != "Exact"
            )
        )
    )
    if len(place.findings) > faults:
        return None  # without what is faulty it would take more than was meant
    return RouteMatch(kind, path, pattern, spec.method, headers, query)


def _pattern(place: Place, text: str, *, is_regex: bool) -> Pattern | None:
    try:
        return Pattern.regex(text) if is_regex else Pattern(text)
    except InvalidPatternError as error:
        place.error("invalid-pattern", f"{error}", "patterns are RE2: https://github.com/google/re2/wiki/Syntax")
        return None


def covers(pattern: str, host: str) -> bool:
    """Tell whether every host that a host or `*.suffix` stands for is also one of a pattern's."""
    return pattern == host or (pattern.startswith("*.") and host != pattern[2:] and host.endswith(pattern[1:]))


def intersection(one: str, other: str) -> str | None:
    """Return the narrower of two hosts or `*.suffix`es if it is part of the other."""
    if covers(one, other):
        return other
    return one if covers(other, one) else None


def specificity(hostnames: Iterable[str], host: str) -> int:
    """Return how closely hostnames name a host: by the longest that covers it, an exact one before all; 0 if none."""
    found = [
        len(name) + (1000 if name == host and not name.startswith("*.") else 0)
        for name in hostnames
        if covers(name, host)
    ]
    return max(found, default=0)
