from __future__ import annotations

from datetime import UTC, datetime

import pytest

from config.errors import Severity
from tests.config.examples import (
    BACKEND,
    GATEWAY,
    ROUTE,
    SERVICE,
    SETUP,
    authorization_policy,
    codes,
    place,
    resources_of,
    several,
    transformation_policy,
)

ALLOW = authorization_policy("Allow", "true")
STATIC = "  static: {host: api.example.org, port: 443}\n"


def manifest(api_version: str, kind: str, name: str = "x") -> str:
    return f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: {name}}}\n"


def test_every_kind_is_filed_under_namespace_and_name() -> None:
    resources, findings = resources_of(several(SETUP, ALLOW, manifest("v1", "Namespace", "infra")))

    assert findings == []
    assert list(resources.gateways) == ["infra/egress"]
    assert list(resources.service_entries) == ["infra/origin"]
    assert list(resources.backends) == ["infra/origin"]
    assert list(resources.routes) == ["infra/origin-route"]
    assert list(resources.policies) == ["AgentgatewayPolicy infra/rules"]
    assert list(resources.namespaces) == ["infra"]
    assert resources.refused == []


def test_a_manifest_without_a_namespace_stands_in_default() -> None:
    resources, _ = resources_of(GATEWAY.replace(", namespace: infra", ""))

    assert list(resources.gateways) == ["default/egress"]


@pytest.mark.parametrize(
    ("text", "edit", "code", "at", "message"),
    [
        (BACKEND, ("port: 443", "prot: 443"), "missing-field", (5, 11), "'spec.static.port' is required"),
        (BACKEND, ("port: 443", "port: 443, sni: x"), "unknown-field", (5, 46), "'spec.static.sni'"),
        (BACKEND, ("port: 443", 'port: "443"'), "invalid-value", (5, 41), "'spec.static.port'"),
        (BACKEND, ("port: 443", "port: 0"), "invalid-value", (5, 41), "must be at least 1"),
        (BACKEND, ("port: 443", "port: 65536"), "invalid-value", (5, 41), "must be at most 65535"),
        (BACKEND, ("port: 443", "port: 443.5"), "invalid-value", (5, 41), "'spec.static.port'"),
        (BACKEND, ("port: 443", "port: true"), "invalid-value", (5, 41), "'spec.static.port'"),
        (BACKEND, ("port: 443", "port: null"), "invalid-value", (5, 41), "'spec.static.port'"),
        (BACKEND, ("host: api.example.org", "host: a/b"), "invalid-value", (5, 18), "'spec.static.host'"),
        (BACKEND, ("host: api.example.org", "host: ''"), "invalid-value", (5, 18), "'spec.static.host'"),
        (BACKEND, (STATIC, ""), "invalid-value", (5, 3), "exactly one of static, dynamicForwardProxy"),
        (BACKEND, ("tls: {}", "tls: {}, tsl: {}"), "unknown-field", (6, 23), "'spec.policies.tsl'"),
        (BACKEND, ("tls: {}", "tls: true"), "invalid-value", (6, 19), "'spec.policies.tls'"),
        (BACKEND, ("tls: {}", "tls: {keyExchangeGroups: [X25519]}"), "not-available", (6, 20), "keyExchangeGroups"),
        (BACKEND, ("name: origin", "name: Origin"), "invalid-value", (3, 18), "'metadata.name'"),
        (BACKEND, ("name: origin", "name: a_b"), "invalid-value", (3, 18), "'metadata.name'"),
        (BACKEND, ("name: origin, ", ""), "missing-field", (3, 11), "'metadata.name' is required"),
        (BACKEND, ("spec:", "Spec:"), "missing-field", (1, 1), "'spec' is required"),
        (BACKEND, ("spec:", "data: {}\nspec:"), "unknown-field", (4, 1), "'data'"),
        (GATEWAY, ("port: 15008", "port: 15008, hostname: 'x y'"), "invalid-value", (6, 51), "hostname"),
        (GATEWAY, ("port: 15008", "port: 15008, tls: {}"), "not-available", (6, 41), "tls"),
        (GATEWAY, ("[{name: mesh, port: 15008, protocol: HBONE}]", "[]"), "invalid-value", (6, 14), "'spec.listeners'"),
        (GATEWAY, ("[{name: mesh, port: 15008, protocol: HBONE}]", "x"), "invalid-value", (6, 14), "'spec.listeners'"),
        (GATEWAY, ("gatewayClassName: waypoint", "gatewayClassName: ''"), "invalid-value", (5, 21), "gatewayClassName"),
        (SERVICE, ("protocol: HTTP", "protocol: UDP"), "invalid-value", (9, 48), "'HTTP', 'HTTPS', 'HTTP2', 'GRPC'"),
        (SERVICE, ("[api.example.org]", "[]"), "invalid-value", (8, 10), "'spec.hosts'"),
        (SERVICE, ("[api.example.org]", "[a, 'b c']"), "invalid-value", (8, 14), "'spec.hosts.1'"),
        (SERVICE, ("[api.example.org]", "['*']"), "invalid-value", (8, 11), "'spec.hosts.0'"),
        (SERVICE, ("[api.example.org]", "['a.*.b']"), "invalid-value", (8, 11), "'spec.hosts.0'"),
        (SERVICE, ("  ports:", "  resolution: STATICS\n  ports:"), "invalid-value", (9, 15), "'spec.resolution'"),
        (SERVICE, ("  ports:", "  endpoints: [{address: 192.0.2.1}]\n  ports:"), "invalid-value", (9, 14), "STATIC"),
        (SERVICE, ("  ports:", "  resolution: STATIC\n  ports:"), "invalid-value", (8, 3), "'spec.endpoints'"),
        (ROUTE, ("Backend, name: origin}]", "Backend, name: origin, weight: -1}]"), "invalid-value", (8, 96), "weight"),
        (ROUTE, ("    - name: main", "    - matches: [{path: {value: a}}]"), "invalid-value", (7, 32), "begins with"),
        (ALLOW, ("action: Allow", "action: allow"), "invalid-value", (8, 15), "'Allow', 'Deny' or 'Require'"),
        (ALLOW, ("\n          - 'true'", " []"), "invalid-value", (10, 27), "matchExpressions"),
        (ALLOW, ("- 'true'", "- ''"), "invalid-value", (11, 13), "matchExpressions.0"),
        (ALLOW, ("- 'true'", "- true"), "invalid-value", (11, 13), "matchExpressions.0"),
        (
            ALLOW,
            ("        matchExpressions:\n          - 'true'", "        {}"),
            "missing-field",
            (10, 9),
            "matchExpressions",
        ),
        (ALLOW, ("  targetRefs: [{", "  targetRefs: []\n  x: [{"), "missing-target", (5, 15), "'spec.targetRefs'"),
        (ALLOW, ("  targetRefs: [{", "  targetRef: [{"), "unknown-field", (5, 3), "'spec.targetRef'"),
        (ALLOW, ("kind: Gateway,", "kind: '',"), "invalid-value", (5, 57), "'spec.targetRefs.0.kind'"),
        (ALLOW, ("    authorization:", "    authorisation:"), "unknown-field", (7, 5), "'spec.traffic.authorisation'"),
        (ALLOW, ("  traffic:", "  frontend: {tcp: {}}\n  traffic:"), "not-available", (6, 14), "'spec.frontend.tcp'"),
    ],
)
def test_a_field_that_is_unknown_missing_or_wrong_is_a_fault_with_its_place(
    text: str, edit: tuple[str, str], code: str, at: tuple[int, int], message: str
) -> None:
    assert edit[0] in text
    _, findings = resources_of(text.replace(*edit))

    matching = [finding for finding in findings if finding.code == code and message in finding.message]
    assert [place(finding) for finding in matching] == [at], findings
    assert all(finding.severity is Severity.ERROR for finding in findings)


@pytest.mark.parametrize(
    ("text", "old", "new", "hint"),
    [
        (BACKEND, "port: 443", "prot: 443", "did you mean 'port'?"),
        (BACKEND, "static:", "statik:", "did you mean 'static'?"),
        (BACKEND, "tls: {}", "tsl: {}", "did you mean 'tls'?"),
        (ALLOW, "matchExpressions", "matchexpressions", "did you mean 'matchExpressions'?"),
        (ALLOW, "authorization:", "authorisation:", "did you mean 'authorization'?"),
        (ALLOW, "targetRefs", "targetrefs", "did you mean 'targetRefs'?"),
        (ALLOW, "name: egress", "nam: egress", "did you mean 'name'?"),
        (SERVICE, "number: 8080", "numbre: 8080", "did you mean 'number'?"),
        (ROUTE, "backendRefs", "backendReferences", "did you mean 'backendRefs'?"),
        (GATEWAY, "gatewayClassName", "gateway_class_name", "did you mean 'gatewayClassName'?"),
        (BACKEND, "static:", "zzz:", "known here: dynamicForwardProxy, policies, static"),
    ],
)
def test_an_unknown_field_comes_with_the_nearest_known_one(text: str, old: str, new: str, hint: str) -> None:
    assert old in text
    _, findings = resources_of(text.replace(old, new, 1))

    assert [finding.hint for finding in findings if finding.code == "unknown-field"] == [hint]


def test_unknown_fields_below_metadata_and_status_are_left_alone() -> None:
    text = BACKEND.replace("namespace: infra}", "namespace: infra, uid: x, managedFields: [{a: b}]}")

    assert resources_of(text + "status: {conditions: [{type: Accepted}]}\n")[1] == []


def test_every_fault_of_every_document_is_listed() -> None:
    text = several(
        BACKEND.replace("port: 443", "port: 0, sni: x"),
        manifest("agentgateway.dev/v1alpha1", "AgentgatewayPolcy"),
        "- no mapping\n",
        SERVICE.replace("protocol: HTTP", "protocol: UDP"),
    )

    _, findings = resources_of(text)

    assert sorted(codes(findings)) == [
        "invalid-value",
        "invalid-value",
        "not-a-mapping",
        "unknown-field",
        "unknown-kind",
    ]


@pytest.mark.parametrize("text", [GATEWAY, SERVICE, BACKEND, ROUTE, ALLOW, manifest("v1", "Pod")])
def test_the_same_kind_namespace_and_name_may_stand_once(text: str) -> None:
    _, [finding] = resources_of(several(text, text))

    line = text.count("\n") + 2
    assert (finding.code, finding.severity, place(finding)) == ("duplicate-resource", Severity.ERROR, (line, 1))
    assert finding.message.endswith("first at f.yaml:1:1")


def test_the_same_object_in_two_versions_is_the_same_object() -> None:
    _, findings = resources_of(several(SERVICE, SERVICE.replace("io/v1", "io/v1beta1")))

    assert codes(findings) == ["duplicate-resource"]


def test_one_name_in_two_kinds_or_namespaces_is_two_objects() -> None:
    enterprise = ALLOW.replace("agentgateway.dev/", "enterpriseagentgateway.solo.io/").replace(
        "kind: A", "kind: EnterpriseA"
    )
    resources, findings = resources_of(
        several(ALLOW, enterprise, ALLOW.replace("namespace: infra", "namespace: other"), BACKEND, SERVICE)
    )

    assert findings == []
    assert len(resources.policies) == 3


def indented(text: str) -> str:
    first, *rest = text.splitlines()
    return "\n".join([f"  - {first}", *(f"    {line}" for line in rest)]) + "\n"


def test_a_list_is_unfolded_also_inside_a_list() -> None:
    inner = "apiVersion: v1\nkind: List\nitems:\n" + indented(ALLOW)
    resources, findings = resources_of("apiVersion: v1\nkind: List\nitems:\n" + indented(BACKEND) + indented(inner))

    assert findings == []
    assert list(resources.backends) == ["infra/origin"]
    assert list(resources.policies) == ["AgentgatewayPolicy infra/rules"]


def test_a_fault_inside_a_list_keeps_its_place() -> None:
    text = "apiVersion: v1\nkind: List\nitems:\n" + indented(BACKEND.replace("port: 443", "port: 0"))

    [finding] = resources_of(text)[1]
    assert (finding.code, place(finding)) == ("invalid-value", (8, 45))


@pytest.mark.parametrize(
    ("items", "code", "at"),
    [
        ("itmes:\n" + indented(ALLOW), "missing-field", (1, 1)),
        ("items: {}\n", "missing-field", (3, 8)),
        ("items:\n  - text\n", "not-a-mapping", (4, 5)),
        ("items: [[]]\n", "not-a-mapping", (3, 9)),
    ],
)
def test_nothing_vanishes_in_a_malformed_list(items: str, code: str, at: tuple[int, int]) -> None:
    resources, [finding] = resources_of(f"apiVersion: v1\nkind: List\n{items}")

    assert (finding.code, finding.severity, place(finding)) == (code, Severity.ERROR, at)
    assert len(resources.refused) == 1


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        (ALLOW.replace("Allow", "Alow"), True),
        (transformation_policy("{set: [{name: 'a b', value: x}]}"), True),
        (several(ALLOW, ALLOW), True),
        (manifest("agentgateway.dev/v1alpha1", "AgentgatewayPloicy"), True),
        (manifest("agentgateway.dv/v1alpha1", "AgentgatewayPolicy"), True),
        ("a: b\n", True),
        ("apiVersion: v1\nkind: [AgentgatewayPolicy]\n", True),
        (ROUTE.replace("backendRefs", "backendrefs"), True),
        (BACKEND.replace("port: 443", "port: 0"), False),
        (SERVICE.replace("protocol: HTTP", "protocol: UDP"), False),
        (manifest("v1", "Secret"), False),
        (manifest("apps/v1", "Deployment"), False),
    ],
)
def test_a_refused_policy_or_route_is_remembered_and_when_in_doubt_it_was_one(text: str, *, refused: bool) -> None:
    resources, _ = resources_of(text)

    assert bool(resources.refused) is refused


def test_the_older_comes_first_then_namespace_and_name() -> None:
    ages = {
        "b": "2026-01-02T00:00:00Z",
        "a": "2026-01-01T00:00:00Z",
        "d": None,
        "c": None,
        "e": "2026-01-01T01:00:00+01:00",
    }
    texts = [
        authorization_policy("Allow", "true", name=name, metadata=f"creationTimestamp: {age}" if age else "")
        for name, age in ages.items()
    ]

    resources, findings = resources_of(several(*texts))

    assert findings == []
    names = [policy.name for policy in sorted(resources.policies.values(), key=lambda policy: policy.age)]
    assert names == ["infra/a", "infra/e", "infra/b", "infra/c", "infra/d"]
    created = resources.policies["AgentgatewayPolicy infra/a"].model.metadata.creation_timestamp
    assert created == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("field", ["data", "stringData"])
def test_a_credential_that_became_a_name_is_not_quoted(field: str) -> None:
    text = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n{field}: {{token:ghp_s3cret}}\n"

    _, [finding] = resources_of(text)

    assert (finding.code, "s3cret" in f"{finding}") == ("invalid-value", False)
