from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.cel import EvaluationError, Expression, compile_expression
from config.policy.authorization import Authorization
from config.policy.decision import Decision, Outcome, Reason, RuleResult, TermResult
from config.policy.rules import Action, Rule
from tests.config.examples import TEAM_B, request

REQUEST = request("/zen")
VALUES = {
    "T": "true",
    "F": "false",
    "E": "1 / 0 == 1",
    "string": "'yes'",
    "null": "null",
    "one": "1",
    "list": "[true]",
}
ACTIONS = {"A": Action.ALLOW, "D": Action.DENY, "R": Action.REQUIRE, "P": Action.DENY, "I": Action.DENY}


def rule(code: str, name: str = "ns/p#0") -> Rule:
    """Return the rule that `D:T` stands for: `P` is a Deny that reads the path, `I` one with `on-error: ignore`."""
    action, _, outcome = code.partition(":")
    text = VALUES.get(outcome)
    if action == "P" and text is not None:
        text = f'request.path == "/zen" ? {text} : true'
    return Rule(name, ACTIONS[action], compiled(text), ignore_error=action == "I")


@cache
def compiled(text: str | None) -> Expression | None:
    return None if text is None else compile_expression(text, strict_headers=True)


def rules(codes: str) -> list[Rule]:
    """Return the rules of `A:T D:F`; each is named after its code and its place."""
    return [rule(code, f"{code}#{index}") for index, code in enumerate(codes.split())]


def decide(codes: str, *, default_allowed: bool = True) -> Decision:
    return Authorization.of(rules(codes), default_allowed=default_allowed).decide(REQUEST)


def explain(codes: str, *, default_allowed: bool = True) -> Decision:
    return Authorization.of(rules(codes), default_allowed=default_allowed).explain(REQUEST)


@pytest.mark.parametrize(
    ("codes", "allowed"),
    [
        # The table of behaviour.md section 4.
        ("", True),
        ("A:T", True),
        ("A:F A:T", True),
        ("D:F", True),
        ("R:T", True),
        ("A:F", False),
        ("A:E", False),
        ("A:string", False),
        ("D:T A:T", False),
        ("R:T R:F", False),
        ("R:T A:F", False),
        ("R:E A:T", False),
        ("D:F A:F", False),
        ("D:E", False),
        ("I:E", True),
        # And what follows from its text.
        ("A:E A:T", True),
        ("A:T A:E", True),
        ("D:T", False),
        ("D:F D:T", False),
        ("D:E A:T", False),
        ("R:F", False),
        ("R:E", False),
        ("R:T A:T", True),
        ("R:F A:T", False),
        ("D:F R:T A:T", True),
        ("D:F R:T", True),
        ("A:null", False),
        ("A:one", False),
        ("A:list", False),
        ("R:string A:T", False),
        ("R:one", False),
        ("D:null", False),
        ("D:string A:T", False),
        ("D:one", False),
        ("I:T", False),
        ("I:F", True),
        ("I:null", True),
        ("I:E A:F", False),
        ("I:E D:E", False),
        ("P:T A:T", False),
        ("P:F A:T", True),
        ("P:E A:T", False),
        ("P:F", True),
    ],
)
def test_the_rules_of_every_level_decide_together(codes: str, *, allowed: bool) -> None:
    assert decide(codes).allowed is allowed
    assert decide(" ".join(reversed(codes.split()))).allowed is allowed


@pytest.mark.parametrize("default_allowed", [True, False])
def test_the_default_action_decides_where_there_is_no_rule(*, default_allowed: bool) -> None:
    assert decide("", default_allowed=default_allowed) == Decision(allowed=default_allowed, reason=Reason.NO_RULES)


@pytest.mark.parametrize(("codes", "allowed"), [("A:T", True), ("D:F", True), ("R:T", True), ("A:F", False)])
def test_the_default_action_does_not_matter_where_there_is_a_rule(codes: str, *, allowed: bool) -> None:
    assert decide(codes, default_allowed=False).allowed is allowed


@pytest.mark.parametrize(
    ("codes", "allowed"),
    [("A:-", False), ("A:- A:T", True), ("R:- A:T", False), ("D:- A:T", False), ("D:-", False), ("I:- A:T", False)],
)
def test_what_does_not_compile_never_holds_but_always_denies(codes: str, *, allowed: bool) -> None:
    # `on-error: ignore` is about requests on which an expression fails, not about expressions that are none.
    assert decide(codes).allowed is allowed


def test_a_deny_that_fails_holds_unless_the_operator_says_otherwise() -> None:
    failing = Rule("ns/p#0", Action.DENY, compile_expression("1 / 0 == 1"))

    assert not Authorization.of([failing], default_allowed=True).decide(REQUEST).allowed


@pytest.mark.parametrize(
    ("codes", "reason", "named"),
    [
        ("D:F A:T", Reason.ALLOW_MATCHED, "A:T#1"),
        ("A:F A:T A:T", Reason.ALLOW_MATCHED, "A:T#1"),
        ("A:F A:E", Reason.NO_ALLOW_MATCHED, None),
        ("R:T D:F", Reason.NOTHING_DENIED, None),
        ("P:F", Reason.NOTHING_DENIED, None),
        ("R:T R:F R:E", Reason.REQUIRE_NOT_MET, "R:F#1"),
        ("A:T R:E", Reason.REQUIRE_NOT_MET, "R:E#1"),
        ("A:T R:F D:F D:T", Reason.DENY_MATCHED, "D:T#3"),
        ("R:F D:E", Reason.DENY_ERROR, "D:E#1"),
        ("D:null", Reason.DENY_ERROR, "D:null#0"),
        ("A:T P:T", Reason.DENY_MATCHED, "P:T#1"),
        # A Deny that reads the path is asked by a later layer, and is named as if it had been asked first.
        ("A:F P:T", Reason.DENY_MATCHED, "P:T#1"),
        ("R:F P:E", Reason.DENY_ERROR, "P:E#1"),
        ("R:F P:F", Reason.REQUIRE_NOT_MET, "R:F#0"),
        ("A:F P:F", Reason.NO_ALLOW_MATCHED, None),
    ],
)
def test_a_decision_names_the_rule_and_the_step_that_took_it(codes: str, reason: Reason, named: str | None) -> None:
    decision = decide(codes)

    assert (decision.reason, decision.rule) == (reason, named)


def test_an_explanation_carries_what_every_rule_said() -> None:
    decision = explain("A:E P:F A:string D:F R:T A:T A:T A:- D:null")

    assert decision.evidence == (
        RuleResult("D:F#3", Outcome.NOT_MATCHED),
        RuleResult("D:null#8", Outcome.ERROR, "a boolean was expected, not NoneType"),
        RuleResult("P:F#1", Outcome.NOT_MATCHED),
        RuleResult("R:T#4", Outcome.MATCHED),
        RuleResult("A:E#0", Outcome.ERROR, "division by zero"),
        RuleResult("A:string#2", Outcome.ERROR, "a boolean was expected, not str"),
        RuleResult("A:T#5", Outcome.MATCHED),
        RuleResult("A:T#6", Outcome.MATCHED),
        RuleResult("A:-#7", Outcome.ERROR, "the expression does not compile"),
    )
    assert explain("").evidence == ()


def test_an_explanation_carries_every_top_level_term() -> None:
    texts = [
        'request.path == "/zen" &&  request.method == "POST" && jwt.sub == "a"',
        "request.host == \"&& ||\" || (true && false) ||\n'yes' == source.issuer",
        '!(request.path == "/zen" && true)',
    ]
    authorization = Authorization.of(
        Rule(f"ns/p#{index}", Action.ALLOW, compile_expression(text)) for index, text in enumerate(texts)
    )

    first, second, third = authorization.explain(REQUEST).evidence

    assert first == RuleResult(
        "ns/p#0",
        Outcome.NOT_MATCHED,
        terms=(
            TermResult('request.path == "/zen"', Outcome.MATCHED),
            TermResult('request.method == "POST"', Outcome.NOT_MATCHED),
            TermResult('jwt.sub == "a"', Outcome.ERROR, "a field of null"),
        ),
    )
    assert [(term.text, term.outcome) for term in second.terms] == [
        ('request.host == "&& ||"', Outcome.NOT_MATCHED),
        ("(true && false)", Outcome.NOT_MATCHED),
        ("'yes' == source.issuer", Outcome.NOT_MATCHED),
    ]
    assert third == RuleResult("ns/p#2", Outcome.NOT_MATCHED)


def test_a_decision_collects_no_evidence_and_says_why_its_rule_failed() -> None:
    decision = decide("D:F R:T A:E A:string A:T A:T")

    assert decision.evidence == ()
    assert decision.explanation == "allow_matched by A:T#4"
    assert decide("A:F").explanation == "no_allow_matched"
    assert decide("A:T D:E").explanation == "deny_error by D:E#1: division by zero"
    assert decide("R:null").explanation == "require_not_met by R:null#0: a boolean was expected, not NoneType"
    assert decide("P:-").explanation == "deny_error by P:-#0: the expression does not compile"


def test_authorize_leaves_the_rules_that_read_the_path_to_the_path_guard() -> None:
    authorization = Authorization.of(rules("A:T P:T"), default_allowed=True)

    assert authorization.authorize(REQUEST).allowed
    refusal = authorization.guard_path(REQUEST)
    assert refusal is not None
    assert (refusal.allowed, refusal.rule) == (False, "P:T#1")


@pytest.mark.parametrize(
    ("text", "reads_path"),
    [
        ('request.path == "/zen"', True),
        ('request.uri.contains("zen")', True),
        ('request.pathAndQuery == "/zen"', True),
        ('request["path"] == "/zen"', True),
        ('[request].exists(r, r.path == "/zen")', True),
        ('!(request.host == "a" && (request.method == "GET" || request.path.startsWith("/a")))', True),
        ('has(request.headers.x) && "x" in [request.path]', True),
        ('request.host == "/zen"', False),
        ('source.identity.namespace == "path"', False),
        ("true", False),
    ],
)
def test_a_rule_that_can_read_the_path_by_any_name_is_the_path_guards(text: str, *, reads_path: bool) -> None:
    denied = Rule("ns/p#0", Action.DENY, compile_expression(text, strict_headers=True))
    authorization = Authorization.of([denied], default_allowed=True)

    assert authorization.path_denies.rules == ((denied,) if reads_path else ())
    assert authorization.denies.rules == (() if reads_path else (denied,))


HEADER_FORMS = [
    'request.headers.x == "1"',
    'request.headers["x"] == "1"',
    'request.headers["X"] == "1"',
    'request["headers"]["x"] == "1"',
    '"1" == request.headers.x',
    'request.headers.x != "2"',
    '!(request.headers.x != "1")',
    "has(request.headers.x)",
    "!(!has(request.headers.x))",
    '"x" in request.headers',
    '"X" in request.headers',
    'request.headers.x in ["1", "2"]',
    'request.headers.x in {"1": true}',
    'request.headers.x.startsWith("1")',
    'request.headers.x.endsWith("1")',
    'request.headers.x.contains("1")',
    'request.headers.x.matches("^1$")',
    "size(request.headers.x) == 1",
    "int(request.headers.x) == 1",
    'request.headers.x + "" == "1"',
    '[request.headers.x] == ["1"]',
    'request.headers == {"x": "1"}',
    "size(request.headers) == 1 && request.headers.size() == 1",
    'request.headers[?"x"].orValue("") == "1"',
    'request.headers[?"X"].orValue("") == "1"',
    'request.headers.?x.orValue("") == "1"',
    "request.headers.?x.hasValue()",
    'request.headers.?x == optional.of("1")',
    'request.headers.?x.optMap(v, v == "1").orValue(false)',
    'request.headers.?x.value() == "1"',
    'optional.of(request.headers).x.orValue("") == "1"',
    '[?request.headers.?x] == ["1"]',
    'request.?headers.x.orValue("") == "1"',
    'default(request.headers.x, "") == "1"',
    'default(request.headers.x == "1" || jwt.sub == "a", false)',
    'default(["x", "y"].exists(n, n == "x" ? request.headers.x == "1" : jwt.sub == "a"), false)',
    'coalesce(request.headers.x, "") == "1"',
    'coalesce(request.headers.x == "1" || jwt.sub == "a", false)',
    'coalesce(jwt.sub == "a" || request.headers.x == "1", false)',
    'coalesce(!(jwt.sub == "a" && request.headers.x != "1"), false)',
    'coalesce(coalesce(jwt.sub, request.headers.x), "") == "1"',
    'request.headers.x == "1" && request.host == "api.example.org"',
    'request.headers.x == "1" || false',
    'request.headers.x == "1" ? true : false',
    '["x"].exists(n, request.headers[n] == "1")',
    '["x"].all(n, request.headers[n] == "1")',
    '["x"].exists_one(n, request.headers[n] == "1")',
    'request.headers.exists(n, n == "x")',
    'request.headers.exists(n, v, n == "x" && v == "1")',
    'request.headers.map(n, n) == ["x"]',
    'request.headers.filterKeys(n, n == "x").size() == 1',
    'request.headers.mapValues(v, v) == {"x": "1"}',
    'request.headers.merge({}) == {"x": "1"}',
    'request.headers.with(h, h.x == "1")',
    'cel.bind(h, request.headers, h.x == "1")',
    'cel.bind(v, request.headers.x, v == "1")',
    'toJson(request.headers) == "{\\"x\\":\\"1\\"}"',
    'request.path == "/zen" && request.headers.x == "1"',
    'source.identity.namespace == "team-a" && request.headers.x == "1"',
]


@pytest.mark.parametrize("text", HEADER_FORMS)
@pytest.mark.parametrize("values", [(b"1",), (b"1", b"1"), (b"1", b"2"), (b"2", b"1"), (b"", b"1"), (b"1", b"", b"2")])
def test_a_deny_cannot_be_slipped_by_repeating_the_header(text: str, values: tuple[bytes, ...]) -> None:
    authorization = Authorization.of([Rule("ns/p#0", Action.DENY, compiled(text))])
    asked = request("/zen", headers=[(b"x", value) for value in values])

    assert not authorization.decide(asked).allowed
    assert not authorization.explain(asked).allowed
    if values == (b"1",):  # the rule means what it says
        assert authorization.decide(asked).reason is Reason.DENY_MATCHED


@pytest.mark.parametrize("text", HEADER_FORMS)
def test_an_allow_is_not_reached_by_repeating_a_header_that_has_another_value(text: str) -> None:
    authorization = Authorization.of([Rule("ns/p#0", Action.ALLOW, compiled(text))])
    asked = request("/zen", headers=[(b"x", b"0"), (b"x", b"3")])
    told_by_presence = text.startswith(("has(", "!(!has(", '"x" in', '"X" in'))

    assert authorization.decide(asked).allowed is told_by_presence


def test_real_expressions_decide_by_caller_and_path() -> None:
    authorization = Authorization.of(
        [
            Rule("ns/a#0", Action.ALLOW, compile_expression('source.identity.namespace == "team-a"')),
            Rule("ns/d#0", Action.DENY, compile_expression('!request.path.startsWith("/repos/")')),
        ],
        default_allowed=True,
    )

    assert authorization.decide(request("/repos/x")).rule == "ns/a#0"
    assert authorization.decide(request("/users/x")).rule == "ns/d#0"
    assert authorization.decide(request("/repos/x", caller=TEAM_B)).reason is Reason.NO_ALLOW_MATCHED
    # A SPIFFE ID of another form has no namespace: a field of null is an error, and an Allow does not hold.
    assert not authorization.decide(request("/repos/x", caller="spiffe://cluster.local/vm/team-a")).allowed


CODES = st.sampled_from([f"{action}:{value}" for action in ACTIONS for value in [*VALUES, "-"]])
CODE_LISTS = st.lists(CODES, max_size=6)


def allowed_by(codes: list[str], *, default_allowed: bool) -> bool:
    return decide(" ".join(codes), default_allowed=default_allowed).allowed


@given(CODE_LISTS, st.sampled_from(["D", "P", "I"]), st.sampled_from([*VALUES, "-"]), st.data())
def test_adding_a_deny_rule_never_opens_access(codes: list[str], action: str, value: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(codes)))
    before = allowed_by(codes, default_allowed=True)

    assert before or not allowed_by([*codes[:at], f"{action}:{value}", *codes[at:]], default_allowed=True)


@given(CODE_LISTS, st.sampled_from([*VALUES, "-"]), st.data())
def test_adding_a_require_rule_never_opens_access(codes: list[str], value: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(codes)))
    before = allowed_by(codes, default_allowed=True)

    assert before or not allowed_by([*codes[:at], f"R:{value}", *codes[at:]], default_allowed=True)


@given(CODE_LISTS, st.data())
def test_a_failing_evaluation_never_opens_access(codes: list[str], data: st.DataObject) -> None:
    if not codes:
        return
    at = data.draw(st.integers(0, len(codes) - 1))
    failure = data.draw(st.sampled_from(["E", "null", "string", "one", "-"]))
    action = codes[at].partition(":")[0]
    if action == "I":  # the operator asked for it
        action = "D"
    failed = [*codes[:at], f"{action}:{failure}", *codes[at + 1 :]]
    # Whatever the rule would have said, with a failure in its place nobody passes who would not pass without one.
    healthy = [allowed_by([*codes[:at], f"{action}:{value}", *codes[at + 1 :]], default_allowed=True) for value in "TF"]

    assert allowed_by(failed, default_allowed=True) is all(healthy)


@given(CODE_LISTS, st.booleans())
def test_the_order_of_rules_does_not_matter(codes: list[str], default_allowed: bool) -> None:  # noqa: FBT001
    expected = allowed_by(codes, default_allowed=default_allowed)

    assert allowed_by(sorted(codes), default_allowed=default_allowed) is expected
    assert allowed_by(codes[::-1], default_allowed=default_allowed) is expected


@given(CODE_LISTS, st.booleans())
def test_authorize_then_guard_path_decides_as_all_rules_together_do(codes: list[str], default_allowed: bool) -> None:  # noqa: FBT001
    drawn = rules(" ".join(codes))
    authorization = Authorization.of(drawn, default_allowed=default_allowed)
    first = authorization.authorize(REQUEST)
    layered = (authorization.guard_path(REQUEST) or first) if first.allowed else first

    assert layered == authorization.decide(REQUEST)
    assert layered.allowed is by_the_book(drawn, default_allowed=default_allowed)
    explained = authorization.explain(REQUEST)
    assert layered == dataclasses.replace(explained, evidence=())
    assert [result.rule for result in explained.evidence] == [rule.name for rule in authorization.rules]


def by_the_book(drawn: list[Rule], *, default_allowed: bool) -> bool:
    """Decide word for word as behaviour.md section 4 says."""

    def says(rule: Rule) -> Any:
        try:
            return rule.expression.evaluate(REQUEST) if rule.expression else EvaluationError
        except EvaluationError:
            return EvaluationError

    if not drawn:
        return default_allowed
    denies = [r for r in drawn if r.action is Action.DENY]
    if any(says(r) is not False and (says(r) is True or not (r.ignore_error and r.expression)) for r in denies):
        return False
    if any(says(r) is not True for r in drawn if r.action is Action.REQUIRE):
        return False
    allows = [says(r) is True for r in drawn if r.action is Action.ALLOW]
    return any(allows) or not allows
