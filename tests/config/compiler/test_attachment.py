from __future__ import annotations

import pytest

from config.compiler.attachment import Level, attach_policies
from config.errors import Severity
from tests.config.examples import (
    ON_GATEWAY,
    ON_ROUTE,
    ON_RULE,
    ON_SERVICE,
    SETUP,
    authorization_policy,
    codes,
    place,
    resources_of,
    several,
)


@pytest.mark.parametrize(
    ("target", "level", "name"),
    [
        (ON_GATEWAY, Level.GATEWAY, "infra/egress"),
        (ON_SERVICE, Level.SERVICE_ENTRY, "infra/origin"),
        (ON_ROUTE, Level.ROUTE, "infra/origin-route"),
        (ON_RULE, Level.RULE, "infra/origin-route#main"),
        (ON_GATEWAY.replace("}", ", namespace: infra}"), Level.GATEWAY, "infra/egress"),
    ],
)
def test_a_policy_attaches_to_a_gateway_service_route_or_rule(target: str, level: Level, name: str) -> None:
    resources, _ = resources_of(several(SETUP, authorization_policy("Allow", "true", target=target)))

    [attachment], unresolved, findings = attach_policies(resources)

    assert (attachment.level, attachment.target, attachment.policy.name) == (level, name, "infra/rules")
    assert findings == []
    assert unresolved == set()


def test_the_levels_go_from_weak_to_strong() -> None:
    assert sorted(Level) == [
        Level.GATEWAY,
        Level.LISTENER,
        Level.SERVICE_ENTRY,
        Level.ROUTE,
        Level.RULE,
        Level.SERVICE,
        Level.BACKEND,
    ]


def test_the_group_of_a_target_is_gateway_api_where_none_is_written() -> None:
    target = "{kind: Gateway, name: egress}"
    resources, _ = resources_of(several(SETUP, authorization_policy("Allow", "true", target=target)))

    assert [attachment.target for attachment in attach_policies(resources)[0]] == ["infra/egress"]


@pytest.mark.parametrize(
    ("target", "code", "unresolved"),
    [
        (ON_GATEWAY.replace("egress", "egres"), "dangling-reference", ""),
        (ON_SERVICE.replace("origin", "orign"), "dangling-reference", ""),
        (ON_ROUTE.replace("origin-route", "origin"), "dangling-reference", ""),
        (ON_RULE.replace("main", "mian"), "dangling-reference", "infra/origin-route"),
        (ON_GATEWAY.replace("}", ", sectionName: mehs}"), "dangling-reference", "infra/egress"),
        (ON_SERVICE.replace("}", ", sectionName: main}"), "invalid-target", "infra/origin"),
        (ON_GATEWAY.replace("kind: Gateway", "kind: Gatway"), "invalid-target", "infra/egress"),
        (ON_SERVICE.replace("networking.istio.io", "''"), "invalid-target", "infra/origin"),
        ("{group: '', kind: Service, name: origin}", "invalid-target", "infra/origin"),
        ("{group: agentgateway.dev, kind: AgentgatewayBackend, name: origin}", "invalid-target", "infra/origin"),
        (ON_GATEWAY.replace("}", ", namespace: other}"), "invalid-target", "infra/egress"),
    ],
)
def test_a_target_that_does_not_exist_or_cannot_be_one_is_a_fault(target: str, code: str, unresolved: str) -> None:
    resources, _ = resources_of(several(SETUP, authorization_policy("Allow", "true", target=target)))

    attachments, left_over, [finding] = attach_policies(resources)

    assert attachments == []
    assert (finding.code, finding.severity) == (code, Severity.ERROR)
    assert place(finding) == (SETUP.count("\n") + 6, 16)
    assert left_over == {unresolved}


def test_a_target_is_looked_up_in_the_policys_own_namespace() -> None:
    text = authorization_policy("Allow", "true").replace("namespace: infra", "namespace: other")
    resources, _ = resources_of(several(SETUP, text))

    attachments, _, findings = attach_policies(resources)

    assert attachments == []
    assert codes(findings) == ["dangling-reference"]


def test_a_policy_has_one_kind_of_target() -> None:
    text = authorization_policy("Allow", "true", target=f"{ON_GATEWAY}, {ON_ROUTE}")
    resources, [finding] = resources_of(several(SETUP, text))

    assert (finding.code, finding.severity) == ("mixed-targets", Severity.ERROR)
    assert place(finding) == (SETUP.count("\n") + 6, 15)
    assert resources.policies == {}


def test_several_targets_of_one_kind_are_all_attached_and_every_fault_is_listed() -> None:
    missing = ON_GATEWAY.replace("egress", "a"), ON_GATEWAY.replace("egress", "b")
    text = authorization_policy("Allow", "true", target=f"{missing[0]}, {ON_GATEWAY}, {missing[1]}")
    resources, _ = resources_of(several(SETUP, text))

    attachments, unresolved, findings = attach_policies(resources)

    assert [attachment.target for attachment in attachments] == ["infra/egress"]
    assert codes(findings) == ["dangling-reference"] * 2
    assert unresolved == {""}


ON_LISTENER = ON_GATEWAY.replace("}", ", sectionName: mesh}")
ON_BACKEND = "{group: agentgateway.dev, kind: AgentgatewayBackend, name: origin}"
ON_PLAIN_SERVICE = "{group: '', kind: Service, name: idp}"
ON_PORT = ON_PLAIN_SERVICE.replace("}", ", sectionName: '80'}")
PLAIN_SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: idp, namespace: infra, labels: {tier: inner}}
spec: {ports: [{port: 80}]}
"""


def backend_policy(target: str, block: str = "{tls: {}}", *, targets: str = "targetRefs") -> str:
    return f"""\
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayPolicy
metadata: {{name: settings, namespace: infra}}
spec:
  {targets}: [{target}]
  backend: {block}
"""


@pytest.mark.parametrize(
    ("target", "level", "name"),
    [
        (ON_GATEWAY, Level.GATEWAY, "infra/egress"),
        (ON_LISTENER, Level.LISTENER, "infra/egress#mesh"),
        (ON_SERVICE, Level.SERVICE_ENTRY, "infra/origin"),
        (ON_ROUTE, Level.ROUTE, "infra/origin-route"),
        (ON_RULE, Level.RULE, "infra/origin-route#main"),
        (ON_PLAIN_SERVICE, Level.SERVICE, "infra/idp"),
        (ON_PORT, Level.SERVICE, "infra/idp#80"),
        (ON_BACKEND, Level.BACKEND, "infra/origin"),
    ],
)
def test_a_backend_policy_attaches_at_every_level(target: str, level: Level, name: str) -> None:
    resources, _ = resources_of(several(SETUP, PLAIN_SERVICE, backend_policy(target)))

    [attachment], unresolved, findings = attach_policies(resources)

    assert (attachment.level, attachment.target) == (level, name)
    assert (unresolved, findings) == (set(), [])


@pytest.mark.parametrize(
    ("block", "unresolved"),
    [
        # Without it the origin would be called in plain text, or past its proxy.
        ("{tls: {}}", {""}),
        ("{tunnel: {url: 'http://proxy.test:3128'}}", {""}),
        ("{tcp: {connectTimeout: 1s}}", set()),
        ("{health: {}}", set()),
        ("{health: {}, tls: {}}", {""}),
    ],
)
def test_a_backend_policy_that_points_nowhere_denies_what_its_absence_would_open(
    block: str, unresolved: set[str]
) -> None:
    resources, faults = resources_of(several(SETUP, backend_policy(ON_BACKEND.replace("origin", "orign"), block)))

    _, left_over, findings = attach_policies(resources)

    assert codes(faults + findings) == ["dangling-reference"]
    assert left_over == unresolved


def selecting(kind: str, group: str, labels: str, section: str = "") -> str:
    return authorization_policy("Deny", "true", target="X").replace(
        "targetRefs: [X]", f"targetSelectors: [{{group: '{group}', kind: {kind}, matchLabels: {{{labels}}}{section}}}]"
    )


WAYPOINT = "istio.io/use-waypoint: egress"


@pytest.mark.parametrize(
    ("selector", "targets", "code", "unresolved"),
    [
        (selecting("ServiceEntry", "networking.istio.io", WAYPOINT), ["infra/origin"], None, set()),
        (selecting("ServiceEntry", "networking.istio.io", f"{WAYPOINT}, a: b"), [], "unmatched-selector", set()),
        (selecting("Gateway", "gateway.networking.k8s.io", "a: b"), [], "unmatched-selector", set()),
        (selecting("Service", "", "tier: inner"), [], "invalid-target", {""}),
        (selecting("Pod", "", "tier: inner"), [], "invalid-target", {""}),
        (
            selecting("ServiceEntry", "networking.istio.io", WAYPOINT, ", sectionName: http"),
            [],
            "invalid-target",
            {""},
        ),
    ],
)
def test_a_selector_selects_by_labels_in_its_own_namespace(
    selector: str, targets: list[str], code: str | None, unresolved: set[str]
) -> None:
    resources, faults = resources_of(several(SETUP, PLAIN_SERVICE, selector))

    attachments, left_over, findings = attach_policies(resources)

    assert [attachment.target for attachment in attachments] == targets
    assert codes(faults + findings) == ([code] if code else [])
    assert left_over == unresolved


def test_a_selector_selects_nothing_of_another_namespace() -> None:
    text = selecting("ServiceEntry", "networking.istio.io", WAYPOINT).replace("namespace: infra", "namespace: evil")
    resources, _ = resources_of(several(SETUP, text))

    attachments, _, findings = attach_policies(resources)

    assert (attachments, codes(findings)) == ([], ["unmatched-selector"])


def test_a_selector_that_may_mean_what_was_refused_denies_everything() -> None:
    text = selecting("ServiceEntry", "networking.istio.io", "a: b")
    resources, _ = resources_of(several(SETUP.replace("protocol: HTTP}]", "protocol: HTPT}]"), text))

    assert attach_policies(resources)[1] == {""}


@pytest.mark.parametrize("targets", ["refs", "selectors"])
def test_rules_on_connections_stand_on_the_whole_gateway(targets: str) -> None:
    """A listener's would not be asked: it must not look as if it were."""
    labelled = SETUP.replace("metadata: {name: egress,", "metadata: {name: egress, labels: {a: b},")
    text = authorization_policy("Deny", "true", target=ON_LISTENER)
    if targets == "selectors":
        text = selecting("Gateway", "gateway.networking.k8s.io", "a: b", ", sectionName: mesh")
    text = text.replace("  traffic:", "  frontend:").replace("authorization:", "networkAuthorization:")
    resources, faults = resources_of(several(labelled, text))

    attachments, unresolved, findings = attach_policies(resources)

    assert attachments == []
    assert codes(faults + findings) == ["invalid-target"]
    assert unresolved == ({""} if targets == "selectors" else {"infra/egress"})
