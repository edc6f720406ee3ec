from __future__ import annotations

from typing import TYPE_CHECKING, Any

from config.policy import rules
from tests.config.examples import (
    GATEWAY,
    ON_SERVICE,
    SERVICE,
    TEAM_A,
    authorization_policy,
    only,
    request,
    several,
    snapshot_of,
)

if TYPE_CHECKING:
    import pytest

    from config.attributes import RequestAttributes
    from config.policy.authorization import Authorization

HOSTS = [f"host-{number}.example.org" for number in range(5)]
OTHER = "other.example.org"
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
