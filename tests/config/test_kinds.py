from __future__ import annotations

import pytest

from config.errors import Severity
from config.kinds import KINDS
from tests.config.examples import (
    BACKEND,
    GATEWAY,
    ROUTE,
    SERVICE,
    authorization_policy,
    codes,
    place,
    resources_of,
)

ALLOW = authorization_policy("Allow", "true")


def manifest(api_version: str, kind: str, name: str = "x") -> str:
    return f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: {name}}}\n"


@pytest.mark.parametrize(
    ("text", "group", "versions"),
    [
        (GATEWAY, "gateway.networking.k8s.io", ["v1", "v1beta1"]),
        (ROUTE, "gateway.networking.k8s.io", ["v1", "v1beta1"]),
        (SERVICE, "networking.istio.io", ["v1", "v1beta1", "v1alpha3"]),
        (BACKEND, "agentgateway.dev", ["v1alpha1"]),
        (ALLOW, "agentgateway.dev", ["v1alpha1"]),
        (ALLOW.replace("kind: A", "kind: EnterpriseA"), "enterpriseagentgateway.solo.io", ["v1alpha1"]),
    ],
)
def test_a_kind_is_read_in_its_listed_versions_only(text: str, group: str, versions: list[str]) -> None:
    _, _, body = text.partition("\n")
    for version in versions:
        assert resources_of(f"apiVersion: {group}/{version}\n{body}")[1] == []
    for version in ("v2", "v1alpha9", "V1"):
        _, [finding] = resources_of(f"apiVersion: {group}/{version}\n{body}")
        assert (finding.code, finding.severity, place(finding)) == ("unknown-version", Severity.ERROR, (1, 13))
        assert all(f"{group}/{version}" in finding.hint for version in versions)


@pytest.mark.parametrize("kind", ["Namespace", "ServiceAccount", "Pod", "Service"])
def test_of_what_a_cluster_writes_only_the_names_are_read(kind: str) -> None:
    text = manifest("v1", kind) + "spec: {anything: [at, all]}\nstatus: {phase: Running}\ndata: {}\n"

    assert resources_of(text)[1] == []
    [finding] = resources_of(text.replace("apiVersion: v1", "apiVersion: v2"))[1]
    assert (finding.code, finding.hint) == ("unknown-version", "use v1")


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        ("v1", "Endpoints"),
        ("v1", "PersistentVolume"),
        ("gateway.networking.k8s.io/v1", "GRPCRoute"),
        ("gateway.networking.k8s.io/v1", "TCPRoute"),
        ("networking.istio.io/v1", "Sidecar"),
        ("apps/v1", "Deployment"),
        ("example.org/v1", "Policy"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    ],
)
def test_foreign_kinds_are_reported_and_skipped(api_version: str, kind: str) -> None:
    resources, [finding] = resources_of(manifest(api_version, kind))

    assert (finding.code, finding.severity, place(finding)) == ("skipped", Severity.WARNING, (2, 7))
    assert resources.refused == []


@pytest.mark.parametrize(
    ("api_version", "kind", "code", "at", "hint"),
    [
        ("agentgateway.dev/v1alpha1", "AgentgatewayPolcy", "unknown-kind", (2, 7), "'AgentgatewayPolicy'"),
        ("agentgateway.dev/v1alpha1", "agentgatewaypolicy", "unknown-kind", (2, 7), "'AgentgatewayPolicy'"),
        ("agentgateway.dev/v1alpha1", "AgentgatewayBackends", "unknown-kind", (2, 7), "'AgentgatewayBackend'"),
        (
            "agentgateway.dev/v1alpha1",
            "Deployment",
            "unknown-kind",
            (2, 7),
            "AgentgatewayBackend, AgentgatewayParameters, AgentgatewayPolicy",
        ),
        (
            "enterpriseagentgateway.solo.io/v1alpha1",
            "EnterpriseAgentgatewayPloicy",
            "unknown-kind",
            (2, 7),
            "'EnterpriseAgentgatewayPolicy'",
        ),
        ("agentgateway.dev/v1alpha1", "EnterpriseAgentgatewayPolicy", "unknown-kind", (2, 7), "'AgentgatewayPolicy'"),
        ("gateway.networking.k8s.io/v1", "HttpRoute", "unknown-kind", (2, 7), "'HTTPRoute'"),
        ("networking.istio.io/v1", "ServiceEntires", "unknown-kind", (2, 7), "'ServiceEntry'"),
        ("v1", "Sercet", "unknown-kind", (2, 7), "'Secret'"),
        ("ratelimit.solo.io/v1alpha1", "RateLimitConfg", "unknown-kind", (2, 7), ""),
        ("extauth.solo.io/v1", "AuthConfigs", "unknown-kind", (2, 7), ""),
        ("agentgateway.dv/v1alpha1", "AgentgatewayPolicy", "unknown-group", (1, 13), "'agentgateway.dev'"),
        ("v1", "AgentgatewayPolicy", "unknown-group", (1, 13), "agentgateway.dev"),
        ("apps/v1", "AgentgatewayBackend", "unknown-group", (1, 13), "agentgateway.dev"),
        ("solo.io/v1", "EnterpriseAgentgatewayPolicy", "unknown-group", (1, 13), "enterpriseagentgateway.solo.io"),
        ("gateway.networking.k8s.io/v1", "AgentgatewayPolicies", "unknown-group", (1, 13), "agentgateway.dev"),
    ],
)
def test_what_may_be_a_misspelt_policy_is_never_skipped(
    api_version: str, kind: str, code: str, at: tuple[int, int], hint: str
) -> None:
    _, [finding] = resources_of(manifest(api_version, kind))

    assert (finding.code, finding.severity, place(finding)) == (code, Severity.ERROR, at)
    assert hint in finding.hint


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        ("ratelimit.solo.io/v1alpha1", "RateLimitConfig"),
        ("extauth.solo.io/v1", "AuthConfig"),
    ],
)
def test_a_kind_of_a_later_version_is_a_fault(api_version: str, kind: str) -> None:
    _, [finding] = resources_of(manifest(api_version, kind))

    assert (finding.code, finding.severity, place(finding)) == ("kind-not-available", Severity.ERROR, (2, 7))


@pytest.mark.parametrize(
    ("text", "field", "at"),
    [
        ("kind: Gateway\n", "apiVersion", (1, 1)),
        ("apiVersion: v1\n", "kind", (1, 1)),
        ("a: b\n", "apiVersion", (1, 1)),
        ("apiVersion: 1\nkind: Gateway\n", "apiVersion", (1, 13)),
        ("apiVersion: v1\nkind: [Gateway]\n", "kind", (2, 7)),
        ('apiVersion: v1\nkind: ""\n', "kind", (2, 7)),
        ("apiVersion:\nkind: Gateway\n", "apiVersion", (1, 12)),
    ],
)
def test_a_manifest_needs_a_version_and_a_kind(text: str, field: str, at: tuple[int, int]) -> None:
    _, [finding] = resources_of(text)

    assert (finding.code, place(finding)) == ("missing-field", at)
    assert repr(field) in finding.message


@pytest.mark.parametrize("text", [GATEWAY, SERVICE, BACKEND, ROUTE])
def test_an_extension_annotation_has_no_meaning_on_another_kind(text: str) -> None:
    annotated = text.replace("name: egress,", "name: egress, annotations: {egress-gateway.dev/on-error: deny},")
    annotated = annotated.replace("name: origin,", "name: origin, annotations: {egress-gateway.dev/on-error: deny},")
    annotated = annotated.replace("-route,", "-route, annotations: {egress-gateway.dev/on-error: deny},")
    annotated = annotated.replace("  labels:", "  annotations: {egress-gateway.dev/on-error: deny}\n  labels:")
    assert annotated != text

    assert codes(resources_of(annotated)[1]) == ["unknown-annotation"]


def test_an_unknown_extension_annotation_is_a_fault_and_others_are_left_alone() -> None:
    def policy(annotation: str) -> str:
        return authorization_policy("Deny", "true", metadata=f"annotations: {{{annotation}: x}}")

    _, [finding] = resources_of(policy("egress-gateway.dev/on-eror"))
    assert (finding.code, place(finding)) == ("unknown-annotation", (3, 57))
    assert resources_of(policy("example.org/on-eror"))[1] == []
    assert resources_of(policy("egress-gateway.dev/on-error"))[1] == []


def test_every_kind_has_a_frozen_model() -> None:
    assert all(model.model_config.get("frozen") for _, model in KINDS.values())
