from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from config.errors import Severity
from config.policy import rules
from tests.config.examples import (
    GATEWAY,
    ON_GATEWAY,
    ON_ROUTE,
    ON_RULE,
    ON_SERVICE,
    SERVICE,
    SETUP,
    TEAM_A,
    authorization_policy,
    only,
    request,
    several,
    snapshot_of,
)

if TYPE_CHECKING:
    from config.attributes import RequestAttributes
    from config.policy.authorization import Authorization

HOSTS = [f"host-{number}.example.org" for number in range(5)]
OTHER = "other.example.org"
HOST = "api.example.org"
ON_LISTENER = ON_GATEWAY.replace("}", ", sectionName: mesh}")
ALLOWS = [f'source.identity.namespace == "team-{letter}"' for letter in "abcdef"]


def services(*hosts: str) -> str:
    """Write one service for each host, named `s0`, `s1`, ..."""
    return several(
        GATEWAY,
        *(
            SERVICE.replace("name: origin", f"name: s{number}").replace("api.example.org", host)
            for number, host in enumerate(hosts)
        ),
    )


def authorizations(text: str, *, default_action: str = "allow") -> list[Authorization]:
    snapshot, _ = snapshot_of(text, default_action=default_action)
    return [only(host).authorization for host in snapshot.exact.values()]


def on(*services: str) -> str:
    return ", ".join(ON_SERVICE.replace("name: origin", f"name: {service}") for service in services)


def test_hosts_below_one_gateway_share_its_authorization() -> None:
    first, *others = authorizations(several(services(*HOSTS), authorization_policy("Allow", *ALLOWS)))

    assert len(first.rules) == len(ALLOWS)
    assert len(others) == len(HOSTS) - 1
    assert all(other is first for other in others)


def test_hosts_with_a_policy_each_share_what_they_have_in_common_by_name() -> None:
    both = authorization_policy("Deny", 'request.path == "/x"', name="both", target=on("s1", "s2"))
    plain, one, two, *_ = authorizations(several(services(*HOSTS), authorization_policy("Allow", *ALLOWS), both))

    assert one is two
    assert one is not plain
    assert one.path_denies.rules
    assert not plain.path_denies.rules


def test_hosts_without_rules_share_the_default() -> None:
    first, *others = authorizations(services(*HOSTS), default_action="deny")

    assert not first.default_allowed
    assert all(other is first for other in others)


def test_the_view_of_a_caller_is_made_once_for_all_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    for_peer = rules._for_peer

    def counting(item: Any, attributes: RequestAttributes) -> Any:
        asked.append(item.rule.name)
        return for_peer(item, attributes)

    monkeypatch.setattr(rules, "_for_peer", counting)
    snapshot, _ = snapshot_of(several(services(*HOSTS), authorization_policy("Allow", *ALLOWS)))
    caller = request(caller=TEAM_A).peer

    for host in HOSTS:
        attributes = request(host=host)
        attributes.peer = caller
        found = snapshot.find(host)
        assert found is not None
        assert only(found).authorization.decide(attributes).allowed

    assert len(asked) == len(ALLOWS)


def test_a_denied_route_keeps_the_rules_of_the_others_behind_its_own() -> None:
    dangling = authorization_policy("Deny", "false", name="dangling", target=on("s1", "nowhere"))
    text = several(services(*HOSTS), authorization_policy("Allow", *ALLOWS), dangling)
    first, *others = authorizations(text.replace("name: nowhere", "name: s2, namespace: elsewhere"))

    # The second target cannot be resolved, so what it names is denied; the others are as they were.
    [denied] = [other for other in others if "unusable-manifest" in other.rules[0].name]
    assert not denied.decide(request(host=HOSTS[2])).allowed
    assert denied.decide(request(host=HOSTS[2])).rule == "infra/s2#unusable-manifest"
    assert denied.rules[1:] == first.rules
    assert denied.allows is first.allows


def traffic(name: str, block: str, target: str = ON_GATEWAY, metadata: str = "", strategy: str = "") -> str:
    return f"""\
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayPolicy
metadata: {{name: {name}, namespace: infra, {metadata}}}
spec:
  targetRefs: [{target}]
  {f"strategy: {{inheritance: {strategy}}}" if strategy else "traffic: " + block}
  {"traffic: " + block if strategy else ""}
"""


@pytest.mark.parametrize(
    ("targets", "winner"),
    [
        ([ON_GATEWAY], ON_GATEWAY),
        ([ON_LISTENER, ON_GATEWAY], ON_LISTENER),
        ([ON_GATEWAY, ON_SERVICE, ON_LISTENER], ON_SERVICE),
        ([ON_ROUTE, ON_SERVICE, ON_GATEWAY], ON_ROUTE),
        ([ON_GATEWAY, ON_RULE, ON_ROUTE], ON_RULE),
    ],
)
def test_the_strongest_levels_field_replaces_the_others_as_a_whole(targets: list[str], winner: str) -> None:
    policies = [traffic(f"p{at}", f"{{timeouts: {{request: {at + 1}s}}}}", target) for at, target in enumerate(targets)]
    snapshot, findings = snapshot_of(several(SETUP, *policies))

    assert findings == []
    assert only(snapshot.exact[HOST]).timeout == targets.index(winner) + 1


def test_levels_that_set_different_fields_do_not_touch_one_another() -> None:
    policies = [
        traffic("a", "{timeouts: {request: 1s}, hostRewrite: {mode: None}}"),
        traffic("b", "{timeouts: {request: 2s}}", ON_ROUTE),
    ]
    snapshot, findings = snapshot_of(several(SETUP, *policies))

    assert findings == []
    route = only(snapshot.exact[HOST])
    assert (route.timeout, route.host_rewrite) == (2.0, False)


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_policies_that_set_one_field_on_one_target_the_older_is_in_force(order: int) -> None:
    ages = [("c", 3), ("a", 1), ("b", 2)][::order]
    policies = [
        traffic(name, f"{{timeouts: {{request: {age}s}}}}", metadata=f"creationTimestamp: 2026-01-0{age}T00:00:00Z")
        for name, age in ages
    ]
    snapshot, findings = snapshot_of(several(SETUP, *policies))

    assert only(snapshot.exact[HOST]).timeout == 1
    assert [(finding.code, finding.severity) for finding in findings] == [("policy-conflict", Severity.WARNING)] * 2
    assert [finding.message.split()[0] for finding in findings] == ["infra/b", "infra/c"]
    assert all("infra/a is in force" in finding.message for finding in findings)


def test_without_an_age_the_first_name_is_in_force_and_comes_after_every_age() -> None:
    policies = [traffic(name, f"{{timeouts: {{request: {at}s}}}}") for at, name in enumerate("cab", 1)]
    aged = traffic("z", "{timeouts: {request: 9s}}", metadata="creationTimestamp: 2026-01-01T00:00:00Z")

    assert only(snapshot_of(several(SETUP, *policies))[0].exact[HOST]).timeout == 2
    assert only(snapshot_of(several(SETUP, *policies, aged))[0].exact[HOST]).timeout == 9


INLINE = SETUP.replace("    - name: main\n", "    - name: main\n      timeouts: {request: 7s}\n")


@pytest.mark.parametrize(("strategy", "expected"), [("", 7), ("Default", 7), ("Override", 1)])
def test_what_stands_in_a_rule_is_the_strongest_unless_a_policy_overrides_it(strategy: str, expected: int) -> None:
    policy = traffic("a", "{timeouts: {request: 1s}}", strategy=strategy)
    snapshot, findings = snapshot_of(several(INLINE, policy, traffic("b", "{timeouts: {request: 2s}}", ON_RULE)))

    assert findings == []
    assert only(snapshot.exact[HOST]).timeout == expected


RULES = "{{authorization: {{action: {}, policy: {{matchExpressions: ['{}']}}}}}}"


@pytest.mark.parametrize(
    ("strategy", "metadata", "names"),
    [
        ("Default", "", ["infra/weak#0", "infra/strong#0"]),
        ("Override", "", ["infra/weak#0"]),
        # What only tells must not let anybody in.
        ("Override", "annotations: {egress-gateway.dev/mode: shadow}", ["infra/strong#0"]),
        ("Override", "annotations: {egress-gateway.dev/expires-at: '2020-01-01T00:00:00Z'}", ["infra/strong#0"]),
    ],
)
def test_an_overriding_policy_leaves_out_the_rules_below_it_while_it_is_in_force(
    strategy: str, metadata: str, names: list[str]
) -> None:
    weak = traffic("weak", RULES.format("Deny", 'request.method == "PUT"'), metadata=metadata, strategy=strategy)
    strong = traffic("strong", RULES.format("Deny", 'request.method == "POST"'), ON_ROUTE)
    snapshot, _ = snapshot_of(several(SETUP, weak, strong))

    assert [rule.name for rule in only(snapshot.exact[HOST]).authorization.rules] == names


def test_the_end_of_an_overriding_allow_does_not_let_the_rules_below_it_in() -> None:
    ended = "annotations: {egress-gateway.dev/expires-at: '2020-01-01T00:00:00Z'}"
    weak = traffic("weak", RULES.format("Allow", "true"), metadata=ended, strategy="Override")
    strong = traffic("strong", RULES.format("Allow", "true"), ON_ROUTE)
    snapshot, _ = snapshot_of(several(SETUP, weak, strong))

    assert not only(snapshot.exact[HOST]).authorization.decide(request()).allowed
