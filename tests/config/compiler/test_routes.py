"""Which route takes which host and request, and that none is reached past the policies of its service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from config.compiler import compile_snapshot
from config.errors import Severity
from tests.config.examples import (
    BACKEND,
    GATEWAY,
    ON_GATEWAY,
    ON_ROUTE,
    ON_SERVICE,
    ROUTE,
    SERVICE,
    authorization_policy,
    codes,
    only,
    request,
    resources_of,
    routed,
    settings,
    several,
    snapshot_of,
)

if TYPE_CHECKING:
    from config.snapshot import Snapshot

HOST = "api.example.org"
BACKEND_REF = "{group: agentgateway.dev, kind: AgentgatewayBackend, name: origin}"
LISTENERS = "[{name: mesh, port: 15008, protocol: HBONE}]"


def gateway(listeners: str) -> str:
    return GATEWAY.replace(LISTENERS, listeners)


def service(name: str, *hosts: str, namespace: str = "infra") -> str:
    return (
        SERVICE.replace("name: origin", f"name: {name}")
        .replace(f"[{HOST}]", "[{}]".format(", ".join(f"'{host}'" for host in hosts)))
        .replace("namespace: infra", f"namespace: {namespace}")
        .replace("use-waypoint: egress", "use-waypoint: egress, istio.io/use-waypoint-namespace: infra")
    )


def route(
    name: str,
    *hostnames: str,
    parent: str = "name: egress",
    rules: str = f"[{{backendRefs: [{BACKEND_REF}]}}]",
    metadata: str = "",
    namespace: str = "infra",
) -> str:
    hosts = ", ".join(f"'{host}'" for host in hostnames)
    return f"""\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: {namespace}, {metadata}}}
spec:
  parentRefs: [{{{parent}}}]
  hostnames: [{hosts}]
  rules: {rules}
"""


def on_service(name: str) -> str:
    return f"group: networking.istio.io, kind: ServiceEntry, name: {name}"


def deny(target: str, name: str = "deny") -> str:
    return authorization_policy("Deny", "true", target=target, name=name)


def taker(snapshot: Snapshot, host: str, path: str = "/", **values: Any) -> str | None:
    """Return the name of the route that takes a request."""
    found = routed(snapshot, host, path, **values)
    return found.name if found else None


def allowed(snapshot: Snapshot, host: str, path: str = "/") -> bool:
    found = routed(snapshot, host, path)
    assert found is not None
    return found.authorization.decide(request(path, host=host)).allowed


# Hosts


@pytest.mark.parametrize(
    ("hostnames", "host", "expected"),
    [
        ((), "any.test", "infra/r"),
        (("a.test",), "a.test", "infra/r"),
        (("A.Test",), "a.test", "infra/r"),
        (("a.test",), "b.test", None),
        (("*.test",), "b.test", "infra/r"),
        (("*.test",), "c.b.test", "infra/r"),
        (("*.test",), "test", None),
        (("*.test", "a.org"), "a.org", "infra/r"),
    ],
)
def test_a_route_below_the_gateway_takes_the_hosts_that_it_names(
    hostnames: tuple[str, ...], host: str, expected: str | None
) -> None:
    snapshot, findings = snapshot_of(several(GATEWAY, BACKEND, route("r", *hostnames)))

    assert findings == []
    assert taker(snapshot, host) == expected


@pytest.mark.parametrize(
    ("listener", "hostnames", "host", "expected"),
    [
        ("*.test", (), "a.test", True),
        ("*.test", (), "a.org", False),
        ("a.test", (), "a.test", True),
        ("*.test", ("a.test", "a.org"), "a.test", True),
        ("*.test", ("a.test", "a.org"), "a.org", False),
        ("a.test", ("*.test",), "a.test", True),
        ("a.test", ("*.test",), "b.test", False),
    ],
)
def test_a_listeners_hostname_narrows_its_routes(
    listener: str, hostnames: tuple[str, ...], host: str, *, expected: bool
) -> None:
    listeners = f"[{{name: mesh, port: 15008, protocol: HBONE, hostname: '{listener}'}}]"
    snapshot, findings = snapshot_of(several(gateway(listeners), BACKEND, route("r", *hostnames)))

    assert findings == []
    assert taker(snapshot, host) == ("infra/r" if expected else None)


def test_a_route_without_a_host_in_common_with_its_listener_takes_none_and_not_all() -> None:
    listeners = "[{name: mesh, port: 15008, protocol: HBONE, hostname: '*.test'}]"
    snapshot, [finding] = snapshot_of(several(gateway(listeners), BACKEND, route("r", "a.org")))

    assert (finding.code, finding.severity) == ("unmatched-hostname", Severity.ERROR)
    assert [taker(snapshot, host) for host in ("a.test", "b.org", "test")] == [None, None, None]
    assert not allowed(snapshot, "a.org")


def test_the_closest_host_name_is_asked_first_and_leaves_what_it_does_not_take() -> None:
    rules = f"[{{matches: [{{path: {{value: /a}}}}], backendRefs: [{BACKEND_REF}]}}]"
    texts = [route("far", "*.test"), route("close", "a.test", rules=rules), route("any")]
    snapshot, findings = snapshot_of(several(GATEWAY, BACKEND, *texts))

    assert findings == []
    assert taker(snapshot, "a.test", "/a") == "infra/close"
    assert taker(snapshot, "a.test", "/b") == "infra/far"
    assert taker(snapshot, "b.test", "/a") == "infra/far"
    assert taker(snapshot, "test", "/a") == "infra/any"


def test_where_routes_exist_and_none_takes_the_request_there_is_none() -> None:
    rules = f"[{{matches: [{{method: GET}}], backendRefs: [{BACKEND_REF}]}}]"
    snapshot, _ = snapshot_of(several(GATEWAY, SERVICE, BACKEND, route("r", parent=on_service("origin"), rules=rules)))

    assert taker(snapshot, HOST) == "infra/r"
    assert taker(snapshot, HOST, method="POST") is None


@pytest.mark.parametrize("parent", ["name: egress", on_service("origin")])
def test_a_part_of_a_wildcard_that_a_route_names_stays_its_services(parent: str) -> None:
    text = several(GATEWAY, BACKEND, service("origin", "*.example.org"), route("r", HOST, parent=parent))
    snapshot, findings = snapshot_of(several(text, deny(ON_SERVICE)))

    assert findings == []
    assert taker(snapshot, HOST) == "infra/r"
    assert not allowed(snapshot, HOST)
    found = snapshot.find(HOST)
    assert found is not None
    assert (found.name, found.ports) == ("infra/origin", frozenset({8080}))
    # Below the Gateway the rest is called directly; below the service, whose routes do not take it, it is not.
    assert taker(snapshot, "b.example.org") == ("infra/origin" if parent == "name: egress" else None)


def test_a_route_below_the_gateway_takes_no_host_of_a_wildcard_that_has_its_own_routes() -> None:
    text = several(GATEWAY, BACKEND, service("origin", "*.example.org"), ROUTE, route("thief", HOST))
    snapshot, findings = snapshot_of(several(text, deny(ON_SERVICE)))

    assert findings == []
    assert taker(snapshot, HOST) == "infra/origin-route"
    assert not allowed(snapshot, HOST)


@pytest.mark.parametrize("order", [1, -1])
def test_a_part_of_two_wildcards_belongs_to_the_closer_one(order: int) -> None:
    services = [service("wide", "*.org"), service("origin", "*.example.org")][::order]
    ages = ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]
    aged = [
        text.replace("  labels", f"  creationTimestamp: {age}\n  labels")
        for text, age in zip(services, ages, strict=True)
    ]
    snapshot, findings = snapshot_of(several(GATEWAY, BACKEND, *aged, route("r", HOST), deny(ON_SERVICE)))

    assert findings == []
    assert not allowed(snapshot, HOST)
    found = snapshot.find(HOST)
    assert found is not None
    assert found.name == "infra/origin"


@pytest.mark.parametrize("host", [HOST, "*.example.org"])
@pytest.mark.parametrize(
    "other",
    [
        several(service("wide", "*.org"), route("r", HOST)),
        several(service("wide", "*.org"), route("r", HOST, parent=on_service("wide"))),
        service("wide", "*.org"),
        route("r", HOST),
        route("r", "*.org"),
        route("r"),
    ],
)
def test_the_host_of_a_refused_service_is_denied_whatever_else_takes_it(host: str, other: str) -> None:
    refused = service("origin", host).replace("protocol: HTTP", "protocol: HTPT")
    snapshot, findings = snapshot_of(several(GATEWAY, BACKEND, refused, other))

    assert "invalid-value" in codes(findings)
    assert not allowed(snapshot, HOST)


# Parents


@pytest.mark.parametrize(
    ("allowed_routes", "namespace", "expected"),
    [
        ("{}", "infra", True),
        ("{}", "team", False),
        ("{namespaces: {from: Same}}", "team", False),
        ("{namespaces: {from: All}}", "team", True),
        ("{namespaces: {from: Selector, selector: {matchLabels: {tier: trusted}}}}", "team", True),
        ("{namespaces: {from: Selector, selector: {matchLabels: {tier: trusted}}}}", "infra", False),
        ("{namespaces: {from: Selector, selector: {matchLabels: {tier: other}}}}", "team", False),
        (
            "{namespaces: {from: Selector, selector: {matchLabels: {kubernetes.io/metadata.name: infra}}}}",
            "infra",
            True,
        ),
        ("{kinds: [{kind: HTTPRoute}]}", "infra", True),
        ("{kinds: [{kind: GRPCRoute}]}", "infra", False),
    ],
)
def test_a_listener_says_whose_routes_it_takes(allowed_routes: str, namespace: str, *, expected: bool) -> None:
    listeners = f"[{{name: mesh, port: 15008, protocol: HBONE, allowedRoutes: {allowed_routes}}}]"
    team = "apiVersion: v1\nkind: Namespace\nmetadata: {name: team, labels: {tier: trusted}}\n"
    backend = BACKEND.replace("namespace: infra", f"namespace: {namespace}")
    text = route("r", "a.test", parent="name: egress, namespace: infra", namespace=namespace)
    snapshot, findings = snapshot_of(several(gateway(listeners), team, backend, text))

    assert codes(findings) == ([] if expected else ["route-not-allowed"])
    assert allowed(snapshot, "a.test") is expected


TWO_LISTENERS = "[{name: mesh, port: 15008, protocol: HBONE}, {name: http, port: 80, protocol: HTTP}]"


@pytest.mark.parametrize(
    ("parent", "code"),
    [
        ("name: egress", None),
        ("name: egress, sectionName: http", None),
        ("name: egress, port: 80", None),
        ("name: egress, sectionName: http, port: 80", None),
        ("name: egress, sectionName: htpt", "no-such-listener"),
        ("name: egress, port: 81", "no-such-listener"),
        ("name: egress, sectionName: http, port: 15008", "no-such-listener"),
        ("name: egres", "dangling-reference"),
        ("name: egress, group: networking.istio.io", "invalid-parent"),
        ("name: egress, kind: Service, group: ''", "invalid-parent"),
        (f"{on_service('origin')}, sectionName: http", None),
        (f"{on_service('origin')}, port: 8080", None),
        (f"{on_service('origin')}, sectionName: htpt", "dangling-reference"),
        (f"{on_service('origin')}, port: 8081", "dangling-reference"),
    ],
)
def test_a_route_that_cannot_be_attached_is_denied_and_does_not_bare_its_service(parent: str, code: str | None) -> None:
    """Without the route the service would be called directly, past every policy on the route."""
    text = several(gateway(TWO_LISTENERS), SERVICE, BACKEND, route("r", HOST, parent=parent))
    snapshot, findings = snapshot_of(text)

    assert codes(findings) == ([code] if code else [])
    assert allowed(snapshot, HOST) is (code is None)


def test_what_an_unattached_route_would_take_is_not_left_to_another() -> None:
    rules = f"[{{matches: [{{path: {{value: /admin}}}}], backendRefs: [{BACKEND_REF}]}}]"
    admin = route("admin", HOST, parent="name: egress, sectionName: nowhere", rules=rules)
    snapshot, findings = snapshot_of(several(GATEWAY, SERVICE, BACKEND, route("r", HOST), admin))

    assert codes(findings) == ["no-such-listener"]
    assert allowed(snapshot, HOST, "/")
    assert not allowed(snapshot, HOST, "/admin/users")


def on_listener(name: str) -> str:
    return ON_GATEWAY.replace("}", f", sectionName: {name}}}")


@pytest.mark.parametrize(
    ("listeners", "parent", "listener"),
    [
        (TWO_LISTENERS, "name: egress", "mesh"),
        (TWO_LISTENERS, "name: egress, sectionName: http", "http"),
        (TWO_LISTENERS, "name: egress, port: 80", "http"),
        (TWO_LISTENERS, on_service("origin"), "mesh"),
        ("[{name: http, port: 80, protocol: HTTP}]", "name: egress", "http"),
        # The only one that lets the route in.
        (TWO_LISTENERS.replace("HBONE", "HBONE, allowedRoutes: {kinds: [{kind: X}]}"), "name: egress", "http"),
        # The one whose host it is.
        (TWO_LISTENERS.replace("HTTP", f"HTTP, hostname: {HOST}"), "name: egress", "http"),
    ],
)
def test_the_policies_of_the_listener_that_a_route_is_below_apply(listeners: str, parent: str, listener: str) -> None:
    text = several(gateway(listeners), SERVICE, BACKEND, route("r", HOST, parent=parent))

    assert not allowed(snapshot_of(several(text, deny(on_listener(listener))))[0], HOST)
    if listeners == TWO_LISTENERS:
        other = {"mesh": "http", "http": "mesh"}[listener]
        assert allowed(snapshot_of(several(text, deny(on_listener(other))))[0], HOST)


def test_a_route_of_another_gateway_is_left_alone_with_a_warning() -> None:
    other = GATEWAY.replace("name: egress", "name: other")
    text = several(GATEWAY, other, SERVICE, BACKEND, route("r", HOST, parent="name: other"))
    snapshot, [finding] = snapshot_of(text, gateway="infra/egress")

    assert (finding.code, finding.severity) == ("not-enrolled", Severity.WARNING)
    assert taker(snapshot, HOST) == "infra/origin"


GRANT = """\
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {{name: grant, namespace: infra}}
spec:
  from: [{{group: gateway.networking.k8s.io, kind: {kind}, namespace: {namespace}}}]
  to: [{{group: {group}, kind: {to}{name}}}]
"""


@pytest.mark.parametrize(
    ("grant", "expected"),
    [
        ({}, True),
        ({"name": ", name: origin"}, True),
        ({"name": ", name: other"}, False),
        ({"kind": "GRPCRoute"}, False),
        ({"namespace": "other"}, False),
        ({"to": "Service"}, False),
        ({"group": "agentgateway.dev"}, False),
        (None, False),
    ],
)
def test_a_route_attaches_to_a_service_of_another_namespace_by_its_grant(
    grant: dict[str, str] | None, *, expected: bool
) -> None:
    fields = {"kind": "HTTPRoute", "namespace": "team", "group": "networking.istio.io", "to": "ServiceEntry"}
    texts = [] if grant is None else [GRANT.format(**{**fields, "name": "", **grant})]
    foreign = route("r", parent=f"{on_service('origin')}, namespace: infra", namespace="team")
    backend = BACKEND.replace("namespace: infra", "namespace: team")
    snapshot, findings = snapshot_of(several(GATEWAY, SERVICE, backend, foreign, *texts))

    assert codes(findings) == ([] if expected else ["reference-not-granted"])
    assert allowed(snapshot, HOST) is expected
    assert taker(snapshot, HOST) == ("team/r" if expected else "infra/origin")


@pytest.mark.parametrize("granted", [True, False])
def test_a_backend_of_another_namespace_needs_a_grant_too(*, granted: bool) -> None:
    rules = f"[{{backendRefs: [{BACKEND_REF.replace('origin', 'origin, namespace: infra')}]}}]"
    fields = {"kind": "HTTPRoute", "namespace": "team", "group": "agentgateway.dev", "to": "AgentgatewayBackend"}
    team = service("team", "team.test", namespace="team")
    text = several(GATEWAY, BACKEND, team, route("r", parent=on_service("team"), rules=rules, namespace="team"))
    snapshot, findings = snapshot_of(several(text, GRANT.format(**fields, name="")) if granted else text)

    assert codes(findings) == ([] if granted else ["reference-not-granted"])
    found = routed(snapshot, "team.test")
    assert found is not None
    assert found.backend is not None
    assert found.backend.fault == ("" if granted else "no_valid_backends")


# Rules


def test_backends_keep_their_weights() -> None:
    services = "{name: svc, port: 80}, {name: spare, port: 80, weight: 0}"
    rules = f"[{{backendRefs: [{BACKEND_REF[:-1]}, weight: 3}}, {services}]}}]"
    snapshot, findings = snapshot_of(several(GATEWAY, BACKEND, route("r", HOST, rules=rules)))

    assert findings == []
    found = routed(snapshot, HOST)
    assert found is not None
    assert [(entry.backend.name, entry.weight) for entry in found.backends] == [
        ("infra/origin", 3),
        ("infra/svc", 1),
        ("infra/spare", 0),
    ]
    assert found.upstream is None


def test_a_rule_without_backends_that_does_not_answer_itself_is_a_fault() -> None:
    snapshot, findings = snapshot_of(several(GATEWAY, route("r", HOST, rules="[{}]")))

    assert codes(findings) == ["no-backend"]
    found = routed(snapshot, HOST)
    assert found is not None
    assert (found.backends, found.backend, found.upstream) == ((), None, None)


@pytest.mark.parametrize(
    ("matches", "code", "path", "headers"),
    [
        ("{path: {type: RegularExpression, value: '/admin('}}", "invalid-pattern", "/admin/x", ()),
        ("{path: {value: /%61dmin}}", "invalid-value", "/admin/x", ()),
        ("{path: {type: Exact, value: /%61dmin}}", "invalid-value", "/admin", ()),
        ("{headers: [{type: RegularExpression, name: a, value: '('}]}", "invalid-pattern", "/x", ((b"a", b"1"),)),
        ("{queryParams: [{type: RegularExpression, name: a, value: '('}]}", "invalid-pattern", "/x", ()),
    ],
)
def test_what_a_faulty_match_may_have_meant_is_denied_and_not_left_to_another_rule(
    matches: str, code: str, path: str, headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    rest = f"{{matches: [{{path: {{type: RegularExpression, value: '/.*'}}}}], backendRefs: [{BACKEND_REF}]}}"
    faulty = f"{{name: admin, matches: [{matches}], backendRefs: [{BACKEND_REF}]}}"
    snapshot, findings = snapshot_of(several(GATEWAY, SERVICE, BACKEND, route("r", HOST, rules=f"[{faulty}, {rest}]")))

    assert codes(findings) == [code]
    found = routed(snapshot, HOST, path, headers=headers, query="a=1")
    assert found is not None
    assert found.rule == "admin"
    assert not found.authorization.decide(request(path)).allowed


@pytest.mark.parametrize("value", ["/a//b", "/a/../b", "/a b", "/ä", "/a%2Fb", "/a?b"])
def test_a_path_that_no_request_can_have_is_a_fault(value: str) -> None:
    rules = f"[{{matches: [{{path: {{value: '{value}'}}}}], backendRefs: [{BACKEND_REF}]}}]"
    _, [finding] = snapshot_of(several(GATEWAY, BACKEND, route("r", HOST, rules=rules)))

    assert (finding.code, finding.severity) == ("invalid-value", Severity.ERROR)


def test_a_route_of_two_services_is_denied_for_the_one_whose_policy_could_not_be_attached_only() -> None:
    """One object serves both services where their policies are the same, and what is denied is not the same."""
    parents = ", ".join(f"{{{on_service(name)}}}" for name in ("other", "origin"))
    shared = route("r").replace("[{name: egress}]", f"[{parents}]")
    policy = deny(ON_SERVICE.replace("}", ", sectionName: x}"))
    text = several(GATEWAY, BACKEND, service("other", "other.test"), SERVICE, shared, policy)
    snapshot, findings = snapshot_of(text)

    assert codes(findings) == ["invalid-target"]
    assert allowed(snapshot, "other.test")
    assert not allowed(snapshot, HOST)


@pytest.mark.parametrize(("value", "expected", "code"), [("allow", True, None), ("deny", False, "invalid-annotation")])
def test_a_route_allows_escapes_by_its_annotation(value: str, *, expected: bool, code: str | None) -> None:
    metadata = f"annotations: {{egress-gateway.dev/path-escapes: {value}}}"
    snapshot, findings = snapshot_of(several(GATEWAY, BACKEND, route("r", HOST, metadata=metadata)))

    assert codes(findings) == ([code] if code else [])
    found = routed(snapshot, HOST)
    assert found is not None
    assert found.allows_escapes is expected


@pytest.mark.parametrize(
    ("policy", "default_action", "expected"),
    [("", "allow", ["no-authorization"]), ("", "deny", []), (deny(ON_GATEWAY), "allow", [])],
)
def test_a_route_that_no_rule_covers_is_reported(policy: str, default_action: str, expected: list[str]) -> None:

    resources, _ = resources_of(several(GATEWAY, SERVICE, BACKEND, ROUTE, *([policy] if policy else [])))
    _, findings = compile_snapshot(resources, settings(default_action=default_action), revision="0" * 12)

    assert codes(findings) == expected


def test_a_policy_on_a_route_applies_wherever_the_route_is() -> None:
    parents = f"[{{name: egress}}, {{{on_service('origin')}}}]"
    text = ROUTE.replace("[{group: networking.istio.io, kind: ServiceEntry, name: origin}]", parents)
    snapshot, findings = snapshot_of(several(GATEWAY, SERVICE, BACKEND, text, deny(ON_ROUTE)))

    assert findings == []
    assert not allowed(snapshot, HOST)
    assert not allowed(snapshot, "elsewhere.test")
    assert only(snapshot.exact[HOST]).name == "infra/origin-route"
