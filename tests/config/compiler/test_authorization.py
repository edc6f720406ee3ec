from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from config.compiler.annotations import enforcement
from config.compiler.authorization import compile_network_rules, compile_rules
from config.compiler.place import Place
from config.compiler.transformations import compile_transformation
from config.errors import Severity
from config.policy.authorization import Authorization
from config.policy.decision import Outcome
from config.policy.headers import FRAMING_AND_HOP_BY_HOP
from config.policy.rules import Action, Rule
from tests.config.examples import authorization_policy, codes, place, request, resources_of, transformation_policy

if TYPE_CHECKING:
    from config.errors import Finding
    from config.policy.headers import HeaderRewrite


def rules(text: str) -> tuple[tuple[Rule, ...], list[Finding]]:
    resources, findings = resources_of(text)
    [policy] = resources.policies.values()
    place = Place(policy, resources, findings)
    ignores_errors = enforcement(place).ignores_errors
    traffic = policy.model.spec.traffic
    assert traffic is not None
    assert traffic.authorization is not None
    here = place.at("spec", "traffic", "authorization")
    return compile_rules(here, traffic.authorization, ignores_errors=ignores_errors), findings


def network_rules(action: str, *expressions: str) -> tuple[tuple[Rule, ...], list[Finding]]:
    text = authorization_policy(action, *expressions).replace("  traffic:", "  frontend:")
    resources, findings = resources_of(text.replace("authorization:", "networkAuthorization:"))
    [policy] = resources.policies.values()
    frontend = policy.model.spec.frontend
    assert frontend is not None
    assert frontend.network_authorization is not None
    place = Place(policy, resources, findings, ("spec", "frontend", "networkAuthorization"))
    return compile_network_rules(place, frontend.network_authorization), findings


def headers(block: str) -> tuple[HeaderRewrite, list[Finding]]:
    resources, findings = resources_of(transformation_policy(block))
    [policy] = resources.policies.values()
    traffic = policy.model.spec.traffic
    assert traffic is not None
    assert traffic.transformation is not None
    place = Place(policy, resources, findings, ("spec", "traffic", "transformation"))
    rewrite = compile_transformation(place, traffic.transformation).plain_request
    assert rewrite is not None
    return rewrite, findings


@pytest.mark.parametrize("action", list(Action))
def test_every_expression_is_a_rule_of_its_own(action: Action) -> None:
    compiled, findings = rules(authorization_policy(action, "true", 'request.method == "BREW"', name="some"))

    assert findings == []
    assert [(rule.name, rule.action, rule.ignore_error) for rule in compiled] == [
        ("infra/some#0", action, False),
        ("infra/some#1", action, False),
    ]
    assert [rule.expression.evaluate(request()) for rule in compiled if rule.expression] == [True, False]


def test_the_action_is_allow_where_none_is_written() -> None:
    compiled, _ = rules(authorization_policy("Deny", "true").replace("      action: Deny\n", ""))

    assert [rule.action for rule in compiled] == [Action.ALLOW]


def test_rules_read_repeated_headers_as_errors_and_header_values_do_not() -> None:
    twice = request(headers=[(b"a", b"1"), (b"a", b"2")])
    [rule], _ = rules(authorization_policy("Deny", 'size(request.headers["a"]) == 5'))
    rewrite, _ = headers("{set: [{name: n, value: 'string(size(request.headers[\"a\"]))'}]}")

    assert rule.evaluate(twice).outcome is Outcome.ERROR
    assert not Authorization.of([rule]).decide(twice).allowed
    assert rewrite.apply([], twice) == [(b"n", b"2")]


def test_an_expression_that_does_not_compile_is_a_fault_with_place_and_caret_and_a_rule_all_the_same() -> None:
    compiled, [finding] = rules(authorization_policy("Deny", "true", "requst.path == 1"))

    assert (finding.code, place(finding)) == ("invalid-expression", (12, 14))
    assert "'requst'" in finding.message
    assert finding.hint == "did you mean 'request'?"
    assert finding.excerpt == "requst.path == 1\n^"
    assert [rule.expression is None for rule in compiled] == [False, True]


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("false", "it is never true"),
        ("null == env && request.path == '/a' && '/b' == request.path", "request.path cannot have two values"),
        ("1 / 0 == 1", "it always fails: division by zero"),
        ("request.path", "it gives a string, never true"),
    ],
)
def test_a_rule_that_can_never_be_true_is_a_warning_and_a_rule_all_the_same(
    action: Action, text: str, why: str
) -> None:
    compiled, [finding] = rules(authorization_policy(action, "true", text))

    assert (finding.code, finding.severity, place(finding)) == ("pointless-rule", Severity.WARNING, (12, 13))
    effect = {"Allow": "allows nobody", "Deny": "denies everybody if it fails", "Require": "refuses everybody"}
    assert f"{effect[action]}: " in finding.message
    assert finding.message.endswith(why)
    assert compiled[1].expression is not None
    assert compiled[1].expression.text == text


def test_what_a_header_value_gives_is_no_rule() -> None:
    assert headers("{set: [{name: n, value: 'false'}]}")[1] == []


@pytest.mark.parametrize(("value", "ignored"), [("ignore", True), ("deny", False)])
def test_on_error_says_whether_a_failing_deny_holds(value: str, *, ignored: bool) -> None:
    annotation = f"annotations: {{egress-gateway.dev/on-error: {value}}}"
    compiled, findings = rules(authorization_policy("Deny", "true", 'request.method == "BREW"', metadata=annotation))

    assert findings == []
    assert [rule.ignore_error for rule in compiled] == [ignored, ignored]


@pytest.mark.parametrize(
    ("action", "value"),
    [("Deny", "Ignore"), ("Deny", "''"), ("Allow", "ignore"), ("Allow", "deny"), ("Require", "ignore")],
)
def test_on_error_is_deny_or_ignore_and_stands_on_a_deny_only(action: str, value: str) -> None:
    annotation = f"annotations: {{egress-gateway.dev/on-error: {value}}}"
    compiled, [finding] = rules(authorization_policy(action, "true", metadata=annotation))

    assert (finding.code, place(finding)) == ("invalid-annotation", (3, 86))
    assert [rule.ignore_error for rule in compiled] == [False]


@pytest.mark.parametrize("action", list(Action))
def test_a_rule_cannot_read_the_answer(action: Action) -> None:
    compiled, [finding] = rules(authorization_policy(action, "response.code == 200"))

    assert (finding.code, finding.severity) == ("invalid-expression", Severity.ERROR)
    assert [rule.expression for rule in compiled] == [None]


@pytest.mark.parametrize(
    "text",
    [
        'source.identity.namespace.startsWith("team-")',
        'source.spiffeId == "spiffe://cluster.local/x" || source.address == "192.0.2.1"',
        "destination.port == 15008 && destination.address != source.rawAddress",
        "true",
    ],
)
def test_a_network_rule_sees_the_connection(text: str) -> None:
    compiled, findings = network_rules("Allow", text)

    assert codes(findings) == []
    assert [rule.expression is not None for rule in compiled] == [True]


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize(
    "text",
    [
        'request.method == "GET"',
        'source.address == "192.0.2.1" || request.path == "/"',
        'jwt.sub == "a"',
        "proxy.gateway == 'infra/egress'",
        # No connection has a host: a Deny that compares it would never hold.
        'destination.hostname == "api.example.org"',
        "destination == destination",
    ],
)
def test_a_network_rule_that_reads_a_request_is_a_fault_and_fails_closed(action: Action, text: str) -> None:
    compiled, findings = network_rules(action, text)

    assert "invalid-expression" in codes(findings)
    assert [rule.expression for rule in compiled] == [None]
    assert not Authorization.of(compiled).decide(request()).allowed


def test_header_names_are_compared_in_lower_case() -> None:
    rewrite, findings = headers(
        "{add: [{name: X-A, value: '\"1\"'}], set: [{name: X-B, value: '\"2\"'}], remove: [X-C]}"
    )

    assert findings == []
    assert ([h.name for h in rewrite.add], [h.name for h in rewrite.set], rewrite.remove) == (
        [b"x-a"],
        [b"x-b"],
        (b"x-c",),
    )


def test_a_value_that_does_not_compile_is_a_fault_and_removes_the_header() -> None:
    rewrite, [finding] = headers("{set: [{name: x-a, value: 'nonsense('}]}")

    assert (finding.code, place(finding)) == ("invalid-expression", (8, 52))
    assert rewrite.apply([(b"x-a", b"spoofed")], request()) == []


@pytest.mark.parametrize("name", [name.decode() for name in sorted(FRAMING_AND_HOP_BY_HOP)])
@pytest.mark.parametrize(
    ("block", "at"),
    [
        ("{{add: [{{name: {}, value: '\"1\"'}}]}}", (8, 30)),
        ("{{set: [{{name: {}, value: '\"1\"'}}]}}", (8, 30)),
        ("{{remove: [{}]}}", (8, 26)),
    ],
)
def test_a_header_that_frames_the_message_is_a_fault_and_is_not_written(
    block: str, at: tuple[int, int], name: str
) -> None:
    rewrite, [finding] = headers(block.format(name.title()))

    assert (finding.code, place(finding)) == ("forbidden-header", at)
    assert (rewrite.add, rewrite.set, rewrite.remove) == ((), (), ())


@pytest.mark.parametrize("name", ["", "a b", "a:b", "ä", "a\\r", "(a)", "a" * 257])
@pytest.mark.parametrize("block", ['{{set: [{{name: "{}", value: "1"}}]}}', '{{remove: ["{}"]}}'])
def test_a_header_name_is_a_token(block: str, name: str) -> None:
    resources, findings = resources_of(transformation_policy(block.format(name)))

    assert codes(findings) == ["invalid-value"]
    assert resources.policies == {}


@pytest.mark.parametrize("block", ["add", "set", "remove"])
def test_a_block_has_at_most_16_entries(block: str) -> None:
    def entries(count: int) -> Any:
        entry = "a" if block == "remove" else "{name: a, value: 'true'}"
        return transformation_policy(f"{{{block}: [{', '.join([entry] * count)}]}}")

    assert resources_of(entries(16))[1] == []
    assert codes(resources_of(entries(17))[1]) == ["invalid-value"]
