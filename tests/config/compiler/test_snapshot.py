from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from config.compiler import compile_snapshot
from config.compiler.backends import unusable
from config.errors import Severity
from config.policy.upstream import Upstream, UpstreamTls
from tests.config.examples import (
    BACKEND,
    GATEWAY,
    ON_GATEWAY,
    ON_ROUTE,
    ON_RULE,
    ON_SERVICE,
    ROUTE,
    SERVICE,
    SETUP,
    authorization_policy,
    codes,
    only,
    place,
    request,
    resources_of,
    routed,
    settings,
    several,
    snapshot_of,
    upstream_of,
)

if TYPE_CHECKING:
    from config.snapshot import Snapshot

HOST = "api.example.org"
NEVER = 'request.method == "BREW"'


def allowed(snapshot: Snapshot, host: str = HOST) -> bool:
    virtual_host = snapshot.find(host)
    assert virtual_host is not None
    return only(virtual_host).authorization.decide(request()).allowed


def test_a_service_with_a_route_goes_to_the_routes_backend() -> None:
    snapshot, findings = snapshot_of(SETUP)

    assert findings == []
    assert snapshot.gateway == "infra/egress"
    assert list(snapshot.exact) == [HOST]
    virtual_host = snapshot.exact[HOST]
    assert (virtual_host.name, virtual_host.ports, only(virtual_host).name) == (
        "infra/origin",
        frozenset({8080}),
        "infra/origin-route",
    )
    backend = only(virtual_host).backend
    assert backend is not None
    assert (backend.name, backend.authority) == ("infra/origin", b"api.example.org")
    assert upstream_of(backend) == Upstream(HOST, 443, UpstreamTls(HOST))


def test_a_service_without_a_route_goes_to_the_host_itself_in_plain_text() -> None:
    snapshot, findings = snapshot_of(several(GATEWAY, SERVICE))

    assert findings == []
    route = only(snapshot.exact[HOST])
    assert route.backend is not None
    assert (route.name, route.backend.name) == ("infra/origin", "infra/origin")
    assert (upstream_of(route.backend), route.backend.authority) == (Upstream(HOST, 8080), b"api.example.org:8080")


def test_the_first_http_port_is_the_one_that_is_called() -> None:
    ports = "[{number: 443, name: tls, protocol: TLS}, {number: 81, name: a}, {number: 82, name: b}]"
    text = SERVICE.replace("[{number: 8080, name: http, protocol: HTTP}]", ports)

    snapshot, _ = snapshot_of(several(GATEWAY, text))

    backend = only(snapshot.exact[HOST]).backend
    assert backend is not None
    assert upstream_of(backend).port == 81
    assert snapshot.exact[HOST].ports == {443, 81, 82}


@pytest.mark.parametrize(
    ("old", "new"),
    [("protocol: HTTP", "protocol: TCP"), ("protocol: HTTP", "protocol: HTTPS"), ("protocol: HTTP", "protocol: TLS")],
)
def test_a_service_that_cannot_be_called_without_a_route_is_a_fault_and_has_no_backend(old: str, new: str) -> None:
    snapshot, [finding] = snapshot_of(several(GATEWAY, SERVICE.replace(old, new)))

    assert (finding.code, finding.severity) == ("no-route", Severity.ERROR)
    virtual_host = snapshot.find("a.example.org") or snapshot.exact[HOST]
    assert only(virtual_host).backend == unusable("infra/origin")


@pytest.mark.parametrize(
    ("host", "port", "tls", "authority"),
    [
        ("api.example.org", 443, True, b"api.example.org"),
        ("API.Example.org.", 8443, True, b"api.example.org:8443"),
        ("api.example.org", 80, False, b"api.example.org"),
        ("api.example.org", 443, False, b"api.example.org:443"),
        ("api.example.org", 80, True, b"api.example.org:80"),
        ("192.0.2.1", 443, True, None),
        ("2001:db8::1", 8443, False, None),
    ],
)
def test_the_host_sent_upstream_is_the_backends_and_for_an_address_the_requests(
    host: str, port: int, *, tls: bool, authority: bytes | None
) -> None:
    text = BACKEND.replace("host: api.example.org, port: 443", f"host: '{host}', port: {port}")
    if not tls:
        text = text.replace("  policies: {tls: {}}\n", "")

    snapshot, findings = snapshot_of(several(GATEWAY, SERVICE, text, ROUTE))

    assert findings == []
    backend = only(snapshot.exact[HOST]).backend
    assert backend is not None
    name = host.lower().removesuffix(".")
    assert backend.authority == authority
    assert upstream_of(backend) == Upstream(name, port, UpstreamTls(name) if tls else None)


def test_hosts_are_lower_cased_and_wildcards_stand_under_their_suffix() -> None:
    snapshot, findings = snapshot_of(SETUP.replace(f"[{HOST}]", "[API.Example.org, '*.Example.NET']"))

    assert findings == []
    assert set(snapshot.exact) == {"api.example.org"}
    assert set(snapshot.wildcards) == {"example.net"}
    assert snapshot.find("example.net") is None


def service(name: str, *hosts: str, metadata: str = "") -> str:
    return SERVICE.replace("name: origin", f"name: {name}{metadata}").replace(f"[{HOST}]", f"[{', '.join(hosts)}]")


def test_a_host_of_two_services_belongs_to_the_older_one_and_is_reported() -> None:
    older = service("z-older", HOST, "b.example.org", metadata="\n  creationTimestamp: 2026-01-01T00:00:00Z")
    younger = service("a-younger", "c.example.org", HOST, metadata="\n  creationTimestamp: 2026-01-02T00:00:00Z")

    snapshot, [finding] = snapshot_of(several(GATEWAY, younger, older))

    assert snapshot.exact[HOST].name == "infra/z-older"
    assert snapshot.exact["c.example.org"].name == "infra/a-younger"
    assert (finding.code, finding.severity) == ("host-conflict", Severity.WARNING)
    assert "infra/z-older" in finding.message


ENROL = "  labels: {istio.io/use-waypoint: egress}\n"
NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {{name: infra, labels: {{{}}}}}\n"


@pytest.mark.parametrize(
    ("labels", "namespace_labels", "enrolled"),
    [
        ("istio.io/use-waypoint: egress", "", True),
        ("istio.io/use-waypoint: other", "", False),
        ("", "", False),
        ("", "istio.io/use-waypoint: egress", True),
        ("", "istio.io/use-waypoint: other", False),
        ("istio.io/use-waypoint: egress", "istio.io/use-waypoint: other", True),
        ("istio.io/use-waypoint: none", "istio.io/use-waypoint: egress", False),
        ("istio.io/use-waypoint: egress, istio.io/use-waypoint-namespace: infra", "", True),
        ("istio.io/use-waypoint: egress, istio.io/use-waypoint-namespace: other", "", False),
        ("", "istio.io/use-waypoint: egress, istio.io/use-waypoint-namespace: other", False),
        # A namespace named on the Namespace does not complete a waypoint named on the service.
        ("istio.io/use-waypoint: egress", "istio.io/use-waypoint-namespace: other", True),
    ],
)
def test_a_service_is_served_if_its_label_else_its_namespaces_names_the_gateway(
    labels: str, namespace_labels: str, *, enrolled: bool
) -> None:
    text = SERVICE.replace(ENROL, f"  labels: {{{labels}}}\n")

    snapshot, findings = snapshot_of(several(GATEWAY, text, NAMESPACE.format(namespace_labels)))

    assert (HOST in snapshot.exact) is enrolled
    assert [(f.code, f.severity) for f in findings] == ([] if enrolled else [("not-enrolled", Severity.WARNING)])


def test_a_service_of_another_namespace_names_the_gateways_namespace() -> None:
    text = SERVICE.replace("namespace: infra", "namespace: team").replace(
        "egress}", "egress, istio.io/use-waypoint-namespace: infra}"
    )

    snapshot, findings = snapshot_of(several(GATEWAY, text, authorization_policy("Allow", NEVER)))

    assert findings == []
    assert snapshot.exact[HOST].name == "team/origin"
    assert not allowed(snapshot)


OTHER_GATEWAY = GATEWAY.replace("name: egress", "name: other")


@pytest.mark.parametrize(
    ("text", "wanted", "gateway", "code", "hint"),
    [
        (GATEWAY, None, "infra/egress", None, ""),
        (several(GATEWAY, OTHER_GATEWAY), "infra/other", "infra/other", None, ""),
        (several(GATEWAY, OTHER_GATEWAY), None, None, "several-gateways", "EGRESS_GATEWAY"),
        (GATEWAY, "infra/egres", None, "no-gateway", "did you mean 'infra/egress'?"),
        (SERVICE, None, None, "no-gateway", ""),
        (SERVICE, "infra/egress", None, "no-gateway", ""),
    ],
)
def test_the_gateway_is_the_one_that_is_named_else_the_only_one(
    text: str, wanted: str | None, gateway: str | None, code: str | None, hint: str
) -> None:
    resources, _ = resources_of(text)

    snapshot, findings = compile_snapshot(resources, settings(gateway=wanted), revision="0" * 12)

    assert (snapshot.gateway if snapshot else None) == gateway
    assert codes(findings) == ([code] if code else [])
    assert all(hint in finding.hint for finding in findings)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("AgentgatewayBackend, name: origin", "AgentgatewayBackend, name: orign", "dangling-reference"),
        ("group: agentgateway.dev, kind: AgentgatewayBackend, ", "", "missing-field"),
        ("group: agentgateway.dev, ", "", "invalid-backend"),
        ("kind: AgentgatewayBackend", "kind: AgentgatewayBackends", "invalid-backend"),
        (
            "AgentgatewayBackend, name: origin",
            "AgentgatewayBackend, name: origin, namespace: other",
            "reference-not-granted",
        ),
    ],
)
def test_a_route_whose_backend_cannot_be_used_stays_and_has_none(old: str, new: str, code: str) -> None:
    assert old in ROUTE
    snapshot, [finding] = snapshot_of(several(GATEWAY, SERVICE, BACKEND, ROUTE.replace(old, new)))

    assert (finding.code, finding.severity) == (code, Severity.ERROR)
    assert place(finding) == (several(GATEWAY, SERVICE, BACKEND, ROUTE).count("\n"), 21)
    route = only(snapshot.exact[HOST])
    assert route.backend is not None
    assert (route.name, route.backend.fault, route.backend.endpoints) == ("infra/origin-route", "no_valid_backends", ())


def test_a_route_whose_backend_was_refused_has_none() -> None:
    snapshot, findings = snapshot_of(SETUP.replace("port: 443", "port: 0"))

    assert codes(findings) == ["invalid-value"]  # the reference to it is no second fault
    assert only(snapshot.exact[HOST]).backend == unusable("infra/origin")


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("kind: ServiceEntry, name: origin", "kind: ServiceEntry, name: orign", "dangling-reference"),
        ("kind: ServiceEntry, ", "", "invalid-parent"),
        ("group: networking.istio.io, ", "", "invalid-parent"),
        (
            "kind: ServiceEntry, name: origin",
            "kind: ServiceEntry, name: origin, namespace: other",
            "dangling-reference",
        ),
    ],
)
def test_a_route_attaches_to_a_service_entry_that_exists(old: str, new: str, code: str) -> None:
    assert old in ROUTE
    _, [finding] = snapshot_of(several(GATEWAY, SERVICE, BACKEND, ROUTE.replace(old, new)))

    assert (finding.code, finding.severity) == (code, Severity.ERROR)


def test_a_route_attaches_to_services_of_its_own_namespace_only() -> None:
    foreign = ROUTE.replace("namespace: infra", "namespace: evil").replace(
        "name: origin}]\n  rules", "name: origin, namespace: infra}]\n  rules"
    )

    snapshot, findings = snapshot_of(several(SETUP, foreign))

    assert codes(findings) == ["reference-not-granted"]
    assert only(snapshot.exact[HOST]).name == "infra/origin-route"
    assert not allowed(snapshot)


def test_of_two_routes_with_the_same_matches_the_older_takes_the_request() -> None:
    older = ROUTE.replace("name: origin-route,", "name: z, creationTimestamp: 2026-01-01T00:00:00Z,")
    younger = ROUTE.replace("name: origin-route,", "name: a, creationTimestamp: 2026-01-02T00:00:00Z,")

    snapshot, findings = snapshot_of(several(GATEWAY, SERVICE, BACKEND, younger, older))

    assert codes(findings) == ["unreachable-rule"]
    found = routed(snapshot, HOST)
    assert found is not None
    assert found.name == "infra/z"


def test_the_rules_of_every_level_are_added_together() -> None:
    targets = {"a": ON_GATEWAY, "b": ON_SERVICE, "c": ON_ROUTE, "d": ON_RULE}
    policies = [authorization_policy("Allow", NEVER, name=name, target=target) for name, target in targets.items()]

    snapshot, findings = snapshot_of(several(SETUP, *reversed(policies)))

    assert findings == []
    rules = only(snapshot.exact[HOST]).authorization.allows.rules
    assert [rule.name for rule in rules] == ["infra/a#0", "infra/b#0", "infra/c#0", "infra/d#0"]


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ([("Allow", "true", ON_GATEWAY), ("Allow", "false", ON_ROUTE)], True),
        ([("Allow", "false", ON_GATEWAY), ("Allow", "true", ON_RULE)], True),
        ([("Allow", "true", ON_GATEWAY), ("Require", "false", ON_ROUTE)], False),
        ([("Allow", "true", ON_RULE), ("Deny", "true", ON_GATEWAY)], False),
    ],
)
def test_a_stronger_level_widens_an_allow_and_narrows_by_require(
    policies: list[tuple[str, str, str]], *, expected: bool
) -> None:
    texts = [
        authorization_policy(action, text, name=f"p{index}", target=target)
        for index, (action, text, target) in enumerate(policies)
    ]

    assert allowed(snapshot_of(several(SETUP, *texts))[0]) is expected


def test_policies_of_one_host_do_not_touch_another() -> None:
    other = several(service("other", "other.example.org"))
    policy = authorization_policy("Deny", "true", target=ON_SERVICE)

    snapshot, _ = snapshot_of(several(SETUP, other, policy))

    assert not allowed(snapshot)
    assert allowed(snapshot, "other.example.org")


def test_a_policy_of_another_gateway_does_not_apply() -> None:
    policy = authorization_policy("Deny", "true", target=ON_GATEWAY.replace("egress", "other"))

    snapshot, findings = snapshot_of(several(SETUP, OTHER_GATEWAY, policy), gateway="infra/egress")

    assert findings == []
    assert allowed(snapshot)


@pytest.mark.parametrize("default_action", ["allow", "deny"])
def test_the_default_action_decides_for_a_route_without_rules(default_action: str) -> None:
    snapshot, _ = snapshot_of(SETUP, default_action=default_action)

    assert allowed(snapshot) is (default_action == "allow")


def test_a_policy_that_is_attached_nowhere_is_still_compiled_for_its_faults() -> None:
    policy = authorization_policy("Allow", "nonsense(", target=ON_GATEWAY.replace("egress", "nowhere"))

    _, findings = snapshot_of(several(SETUP, policy))

    assert sorted(codes(findings)) == ["dangling-reference", "invalid-expression"]


# What follows is EGRESS_STRICT=false: the faulty part fails closed.

OTHER_SERVICE = service("other", "other.example.org")


def served(text: str) -> tuple[bool, bool]:
    """Tell whether the host, and a host that the fault does not concern, may be called."""
    snapshot, findings = snapshot_of(several(SETUP, OTHER_SERVICE, text))
    assert any(finding.severity is Severity.ERROR for finding in findings)
    return allowed(snapshot), allowed(snapshot, "other.example.org")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (ON_GATEWAY, (False, False)),
        (ON_SERVICE, (False, True)),
        (ON_ROUTE, (False, True)),
        (ON_RULE, (False, True)),
        (f"{ON_SERVICE}, {ON_SERVICE.replace('origin', 'other')}", (False, False)),
        # Where the targets cannot be told, everything is denied.
        ("{name: [origin]}", (False, False)),
        ("{name: 5}", (False, False)),
        ("{kind: Gateway}", (False, False)),
        ("egress", (False, False)),
        ("", (False, False)),
    ],
)
@pytest.mark.parametrize(("old", "new"), [("action: Deny", "action: Denny"), ("matchExpressions", "matchExpression")])
def test_a_refused_policy_denies_its_targets(target: str, expected: tuple[bool, bool], old: str, new: str) -> None:
    assert served(authorization_policy("Deny", "false", target=target).replace(old, new)) == expected


@pytest.mark.parametrize(
    "text",
    [
        authorization_policy("Deny", "true").replace("kind: AgentgatewayPolicy", "kind: AgentgatewayPloicy"),
        authorization_policy("Deny", "true").replace("agentgateway.dev/v1alpha1", "agentgateway.dv/v1alpha1"),
        authorization_policy("Deny", "true").replace("agentgateway.dev/v1alpha1", "agentgateway.dev/v1"),
        authorization_policy("Deny", "true").replace("spec:", "spek:"),
        authorization_policy("Deny", "true").replace("targetRefs", "targetSelectors"),
        authorization_policy("Deny", "true").replace("metadata: {", "metadata: [{").replace("}\nspec", "}]\nspec"),
        "apiVersion: agentgateway.dev/v1alpha1\n",
        "apiVersion: v1\nkind: List\nitmes: []\n",
        "apiVersion: v1\nkind: List\nitems: [x]\n",
    ],
)
def test_what_may_have_been_a_policy_denies_everything_where_its_targets_are_unclear(text: str) -> None:
    assert served(text) == (False, False)


def test_a_policy_that_stands_twice_denies_its_targets() -> None:
    policy = authorization_policy("Allow", "true", target=ON_SERVICE)

    assert served(several(policy, policy)) == (False, True)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("traffic: {timeouts: {request: 5}}", (True, True)),
        ("frontend: {accessLog: {filter: 'true'}}", (True, True)),
        ("traffic: {timeouts: {request: 5}, retry: {}}\n  strategy: {}", (True, True)),
        ("traffic: {timeouts: {}, authorisation: {}}", (False, False)),
        ("traffic: {rateLimit: {}}", (False, False)),
        ("traffic: {timeouts: {}}\n  backend: {auth: {}}", (False, False)),
        ("traffic: []", (False, False)),
    ],
)
def test_a_refused_policy_of_harmless_blocks_only_is_left_out(block: str, expected: tuple[bool, bool]) -> None:
    text, _, _ = authorization_policy("Deny", "true").partition("  traffic:")

    assert served(f"{text}  {block}\n  unknown: {{}}\n" if block == "traffic: []" else f"{text}  {block}\n") == expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (ON_RULE.replace("main", "mian"), (False, True)),
        (ON_GATEWAY.replace("kind: Gateway", "kind: Gatway"), (False, False)),
        (ON_SERVICE.replace("networking.istio.io", "''"), (False, True)),
        (ON_ROUTE.replace("kind: HTTPRoute", "kind: GRPCRoute"), (False, True)),
        # What names nothing could have meant anything.
        (ON_GATEWAY.replace("egress", "egres"), (False, False)),
        (ON_SERVICE.replace("origin", "orign"), (False, False)),
        (ON_ROUTE.replace("origin-route", "orign-route"), (False, False)),
    ],
)
def test_a_policy_that_cannot_be_attached_denies_what_it_names(target: str, expected: tuple[bool, bool]) -> None:
    assert served(authorization_policy("Deny", "false", target=target)) == expected


def test_a_route_that_attaches_to_nothing_denies_everything_instead_of_baring_its_service() -> None:
    text = SETUP.replace("kind: ServiceEntry, name: origin", "kind: ServiceEntry, name: orign")
    snapshot, findings = snapshot_of(several(text, OTHER_SERVICE))

    assert codes(findings) == ["dangling-reference"]
    assert (allowed(snapshot), allowed(snapshot, "other.example.org")) == (False, False)


SAME_NAMES = SETUP.replace("name: origin-route", "name: origin")
"""Service, route and backend have one name, as in the workshop."""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        # The service has another name than its route believes.
        ("  name: origin\n  namespace: infra\n  labels", "  name: orign\n  namespace: infra\n  labels"),
        # The route looks for its service in a namespace where nothing is but itself.
        (", namespace: infra}\nspec:\n  parentRefs", "}\nspec:\n  parentRefs"),
        (", namespace: infra}\nspec:\n  parentRefs", ", namespace: 5}\nspec:\n  parentRefs"),
        ("kind: ServiceEntry, name: origin}", "kind: ServiceEntri, name: orign}"),
    ],
)
def test_a_route_is_told_from_the_service_that_it_does_not_find(old: str, new: str) -> None:
    assert old in SAME_NAMES
    snapshot, _ = snapshot_of(several(SAME_NAMES.replace(old, new), OTHER_SERVICE))

    assert (allowed(snapshot), allowed(snapshot, "other.example.org")) == (False, False)


def test_a_policy_on_a_route_that_is_not_there_is_not_mistaken_for_one_on_a_backend_of_that_name() -> None:
    policy = authorization_policy("Deny", "true", target=ON_ROUTE.replace("origin-route", "origin"))

    assert served(policy) == (False, False)
    assert served(policy.replace("action: Deny", "action: Denny")) == (False, False)


def test_a_refused_route_denies_its_service_instead_of_baring_it() -> None:
    # Without the route the service would be called directly, in plain text, past every policy on the route.
    text = several(GATEWAY, SERVICE, OTHER_SERVICE, BACKEND, ROUTE.replace("backendRefs", "backendrefs"))

    snapshot, _ = snapshot_of(several(text, authorization_policy("Deny", "true", target=ON_ROUTE)))

    assert (allowed(snapshot), allowed(snapshot, "other.example.org")) == (False, True)


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ([("Allow", "nonsense(")], False),
        ([("Allow", "nonsense("), ("Allow", "true")], True),
        ([("Require", "nonsense("), ("Allow", "true")], False),
        ([("Deny", "nonsense("), ("Allow", "true")], False),
    ],
)
def test_an_expression_that_does_not_compile_never_allows_and_always_denies(
    policies: list[tuple[str, str]], *, expected: bool
) -> None:
    texts = [authorization_policy(action, text, name=f"p{index}") for index, (action, text) in enumerate(policies)]

    assert served(several(*texts)) == (expected, expected)


def test_a_deny_that_does_not_compile_holds_even_where_its_errors_are_ignored() -> None:
    annotation = "annotations: {egress-gateway.dev/on-error: ignore}"

    assert served(authorization_policy("Deny", "nonsense(", metadata=annotation)) == (False, False)


def test_an_unreadable_file_denies_everything() -> None:
    resources, _ = resources_of(several(SETUP, OTHER_SERVICE))

    snapshot, findings = compile_snapshot(resources, settings(), revision="0" * 12, deny_everything=True)

    assert findings == []
    assert snapshot is not None
    assert (allowed(snapshot), allowed(snapshot, "other.example.org")) == (False, False)


WILDCARD = service("rest", '"*.example.org"')


def test_the_host_of_a_refused_service_is_not_given_to_a_wildcard() -> None:
    refused = service("narrow", "narrow.example.org").replace("protocol: HTTP", "protocol: HTPT")
    snapshot, _ = snapshot_of(several(SETUP, WILDCARD, refused))

    assert not allowed(snapshot, "narrow.example.org")
    assert allowed(snapshot, "other.example.org")


def test_a_refused_service_whose_hosts_are_unclear_denies_everything() -> None:
    snapshot, _ = snapshot_of(
        several(SETUP, WILDCARD, service("narrow", "narrow.example.org").replace("hosts:", "host:"))
    )

    assert not allowed(snapshot)
    assert not allowed(snapshot, "other.example.org")


def test_a_policy_that_targets_another_namespace_denies() -> None:
    target = f"{ON_GATEWAY[:-1]}, namespace: other}}"

    assert served(authorization_policy("Deny", "false", target=target)) == (False, False)


@pytest.mark.parametrize(("policy", "severity"), [("", Severity.WARNING), (ON_SERVICE, Severity.ERROR)])
def test_a_service_that_loses_its_host_is_a_fault_if_it_has_policies(policy: str, severity: Severity) -> None:
    loser = service("zz", HOST)
    texts = [SETUP, loser]
    if policy:
        texts.append(authorization_policy("Deny", "true", target=policy.replace("origin", "zz")))
    _, findings = snapshot_of(several(*texts))

    assert [(finding.code, finding.severity) for finding in findings] == [("host-conflict", severity)]
