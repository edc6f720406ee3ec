from __future__ import annotations

import pytest

from config.compiler.annotations import Enforcement, enforcement
from config.compiler.place import Place
from config.errors import Severity
from config.policy.decision import Reason
from tests.config.examples import (
    ON_GATEWAY,
    SETUP,
    authorization_policy,
    codes,
    only,
    request,
    resources_of,
    several,
    snapshot_of,
)

HOST = "api.example.org"
END = "2027-01-31T12:00:00Z"
END_SECONDS = 1801396800.0


def annotated(action: str, *expressions: str, name: str = "rules", **annotations: str) -> str:
    written = ", ".join(f"egress-gateway.dev/{key.replace('_', '-')}: '{value}'" for key, value in annotations.items())
    return authorization_policy(action, *expressions, name=name, metadata=f"annotations: {{{written}}}")


def read(action: str = "Deny", **annotations: str) -> tuple[Enforcement, list[str]]:
    resources, findings = resources_of(annotated(action, "true", **annotations))
    [policy] = resources.policies.values()
    return enforcement(Place(policy, resources, findings)), codes(findings)


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({}, Enforcement()),
        ({"mode": "enforce"}, Enforcement()),
        ({"mode": "shadow"}, Enforcement(shadow=True)),
        ({"on_error": "deny"}, Enforcement()),
        ({"on_error": "ignore"}, Enforcement(ignores_errors=True)),
        ({"expires_at": END}, Enforcement(expires=END_SECONDS)),
        ({"expires_at": "2027-01-31T13:00:00+01:00"}, Enforcement(expires=END_SECONDS)),
    ],
)
def test_annotations_say_how_a_policy_is_enforced(annotations: dict[str, str], expected: Enforcement) -> None:
    assert read(**annotations) == (expected, [])


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({"mode": "Shadow"}, Enforcement()),
        ({"mode": ""}, Enforcement()),
        ({"on_error": "allow"}, Enforcement()),
        ({"expires_at": "tomorrow"}, Enforcement(expires_clearly=False)),
        ({"expires_at": ""}, Enforcement(expires_clearly=False)),
        ({"expires_at": "2027-01-31T12:00:00"}, Enforcement(expires_clearly=False)),
        ({"expires_at": "2027-13-31T12:00:00Z"}, Enforcement(expires_clearly=False)),
    ],
)
def test_one_that_cannot_be_read_is_a_fault_and_means_the_stricter(
    annotations: dict[str, str], expected: Enforcement
) -> None:
    assert read(**annotations) == (expected, ["invalid-annotation"])


@pytest.mark.parametrize("action", ["Allow", "Require"])
def test_on_error_stands_on_a_deny(action: str) -> None:
    assert read(action, on_error="ignore") == (Enforcement(), ["invalid-annotation"])


def test_what_ends_is_in_force_until_its_last_moment() -> None:
    ends = Enforcement(expires=10.0)

    assert [ends.allows(now) for now in (9.9, 10.0)] == [True, False]
    assert [ends.restricts(now) for now in (9.9, 10.0)] == [True, False]
    unclear = Enforcement(expires_clearly=False)
    assert (unclear.allows(0.0), unclear.restricts(1e12)) == (False, True)


@pytest.mark.parametrize(
    ("policies", "before", "after"),
    [
        # The end of the last Allow never lets everybody in.
        ([annotated("Allow", "true", expires_at=END)], True, False),
        ([annotated("Allow", "true", expires_at=END), annotated("Allow", "true", name="other")], True, True),
        ([annotated("Allow", "true", expires_at=END), annotated("Allow", "false", name="other")], True, False),
        ([annotated("Allow", "false", expires_at=END)], False, False),
        ([annotated("Deny", "true", expires_at=END)], False, True),
        ([annotated("Deny", "true", expires_at=END), annotated("Allow", "false", name="other")], False, False),
        ([annotated("Require", "false", expires_at=END)], False, True),
    ],
)
def test_a_policy_goes_out_of_force(policies: list[str], *, before: bool, after: bool) -> None:
    for now, expected in ((END_SECONDS - 1, before), (END_SECONDS, after)):
        snapshot, findings = snapshot_of(several(SETUP, *policies), now=now)
        assert ("expired-policy" in codes(findings)) is (now == END_SECONDS)
        assert only(snapshot.exact[HOST]).authorization.decide(request()).allowed is expected
        assert snapshot.next_expiry == (END_SECONDS if now < END_SECONDS else None)


@pytest.mark.parametrize(("action", "allowed"), [("Allow", False), ("Deny", False), ("Require", True)])
def test_a_policy_whose_end_is_unclear_gives_nothing_and_still_denies(action: str, *, allowed: bool) -> None:
    snapshot, findings = snapshot_of(several(SETUP, annotated(action, "true", expires_at="soon")))

    assert findings[0].severity is Severity.ERROR
    assert only(snapshot.exact[HOST]).authorization.decide(request()).allowed is allowed


@pytest.mark.parametrize("end", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_an_end_at_the_edge_of_time_is_no_crash(end: str) -> None:
    snapshot, _ = snapshot_of(several(SETUP, annotated("Allow", "true", expires_at=end)), now=1.8e9)

    assert only(snapshot.exact[HOST]).authorization.decide(request()).allowed is end.startswith("9")


@pytest.mark.parametrize(
    ("policies", "shadow"),
    [
        ([("Deny", "true")], ("infra/p0#0",)),
        ([("Deny", "false")], ()),
        ([("Deny", "1 / 0 == 1")], ("infra/p0#0",)),
        ([("Require", "false")], ("infra/p0#0",)),
        ([("Require", "true")], ()),
        ([("Allow", "false")], ("infra/p0#0",)),
        ([("Allow", "true")], ()),
        ([("Allow", "false"), ("Allow", "true")], ()),
        ([("Allow", "false"), ("Allow", "false")], ("infra/p0#0", "infra/p1#0")),
    ],
)
def test_in_shadow_mode_a_policy_only_tells(policies: list[tuple[str, str]], shadow: tuple[str, ...]) -> None:
    texts = [annotated(action, text, name=f"p{at}", mode="shadow") for at, (action, text) in enumerate(policies)]
    snapshot, _ = snapshot_of(several(SETUP, *texts))
    route = only(snapshot.exact[HOST])

    assert route.authorization.decide(request()).reason is Reason.NO_RULES
    assert route.shadow is not None
    assert route.shadow.would_deny(request()) == shadow


@pytest.mark.parametrize(("enforced", "told"), [("true", ()), ("false", ("infra/shadow#0",))])
def test_an_allow_in_force_is_as_good_as_one_in_shadow_mode(enforced: str, told: tuple[str, ...]) -> None:
    texts = [annotated("Allow", enforced, name="real"), annotated("Allow", "false", name="shadow", mode="shadow")]
    snapshot, _ = snapshot_of(several(SETUP, *texts))
    route = only(snapshot.exact[HOST])

    assert route.shadow is not None
    assert route.shadow.would_deny(request()) == told
    assert route.authorization.decide(request()).allowed is (enforced == "true")


def test_a_block_in_shadow_mode_is_not_in_force_and_is_reported() -> None:
    text = f"""\
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayPolicy
metadata: {{name: slow, namespace: infra, annotations: {{egress-gateway.dev/mode: shadow}}}}
spec:
  targetRefs: [{ON_GATEWAY}]
  traffic: {{timeouts: {{request: 5s}}}}
"""
    snapshot, [finding] = snapshot_of(several(SETUP, text))

    assert (finding.code, finding.severity) == ("shadow-block", Severity.WARNING)
    assert only(snapshot.exact[HOST]).timeout is None
