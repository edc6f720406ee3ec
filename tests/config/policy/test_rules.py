from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.attributes import MAX_CACHED_PEERS, Peer, RequestAttributes, SpiffeId
from config.cel import compile_expression
from config.policy.authorization import Authorization, judge
from config.policy.decision import Decision, Outcome
from config.policy.rules import Action, Rule


def peer(namespace: str | None, service_account: str = "default") -> Peer:
    if namespace is None:
        return Peer(SpiffeId("cluster.local", "/workload"))
    path = f"/ns/{namespace}/sa/{service_account}"
    return Peer(SpiffeId("cluster.local", path, namespace, service_account))


PEERS = [peer("team-a"), peer("team-b", "builder"), peer(None)]
"""The last one has no `source.identity`: reading its fields is an error."""


def request(
    who: Peer, path: str = "/zen", method: str = "GET", headers: tuple[tuple[bytes, bytes], ...] = ()
) -> RequestAttributes:
    return RequestAttributes(who, method, "api.github.com", path, headers=headers)


def rule(text: str, action: Action = Action.ALLOW, name: str = "ns/policy#0", *, ignore_error: bool = False) -> Rule:
    return Rule(name, action, compile_expression(text, strict_headers=True), ignore_error)


TERMS = [
    'source.identity.namespace == "team-a"',
    'source.identity.serviceAccount in ["builder", "default"]',
    'source.spiffeId.startsWith("spiffe://cluster.local/ns/")',
    'request.path == "/zen"',
    'request.path.startsWith("/repos/")',
    '(request.path == "/zen" || request.path.startsWith("/repos/"))',
    'request.path in ["/zen", "/users/x"]',
    '!(request.path == "/zen")',
    'request.method == "GET"',
    'request.method in ["GET", "HEAD"]',
    'request.host == "api.github.com"',
    'request.host != "api.github.com"',
    'request.headers["x-team"] == "a"',
    '"x-team" in request.headers',
    "true",
    "false",
    "1 / 0 == 1",
    "jwt.sub == 'x'",
    "source.identity != null",
]
expressions = st.lists(st.sampled_from(TERMS), min_size=1, max_size=4).flatmap(
    lambda terms: st.sampled_from([" && ".join(terms), " || ".join(terms), f"!({' && '.join(terms)})"])
)
requests = st.builds(
    request,
    st.sampled_from(PEERS),
    st.sampled_from(["/zen", "/repos/a", "/users/x", "/repos", "/"]),
    st.sampled_from(["GET", "HEAD", "POST"]),
    st.sampled_from([(), ((b"x-team", b"a"),), ((b"x-team", b"b"),), ((b"x-team", b"a"), (b"x-team", b"b"))]),
)
rule_lists = st.lists(st.tuples(expressions, st.sampled_from(list(Action)), st.booleans()), max_size=6).map(
    lambda drawn: [
        rule(text, action, f"ns/policy#{index}", ignore_error=ignore)
        for index, (text, action, ignore) in enumerate(drawn)
    ]
)


def core(decision: Decision) -> tuple[bool, str, str | None]:
    return decision.allowed, decision.reason, decision.rule


@settings(deadline=None)
@given(rule_lists, st.lists(requests, min_size=1, max_size=4), st.booleans())
def test_the_fast_decision_is_the_explained_one(
    rules: list[Rule],
    asked: list[RequestAttributes],
    default_allowed: bool,  # noqa: FBT001  drawn
) -> None:
    authorization = Authorization.of(rules, default_allowed=default_allowed)

    for attributes in asked:  # several, so that views of callers are used again
        assert core(authorization.decide(attributes)) == core(authorization.explain(attributes))


@settings(deadline=None)
@given(rule_lists, requests)
def test_an_index_finds_what_asking_every_rule_finds(rules: list[Rule], attributes: RequestAttributes) -> None:
    authorization = Authorization.of(rules)
    asked = [each.evaluate(attributes) for each in authorization.rules]

    assert core(authorization.decide(attributes)) == core(judge(authorization.rules, asked, default_allowed=True))


@settings(deadline=None)
@given(rule_lists, rule_lists, requests)
def test_adding_deny_or_require_rules_never_opens_access(
    rules: list[Rule], more: list[Rule], attributes: RequestAttributes
) -> None:
    narrowing = [each for each in more if each.action is not Action.ALLOW]
    before = Authorization.of(rules).decide(attributes)
    after = Authorization.of([*rules, *narrowing]).decide(attributes)

    assert before.allowed or not after.allowed


def test_one_of_a_thousand_rules_is_found_by_its_path() -> None:
    rules = [rule(f'request.path == "/p{index}"', name=f"ns/policy#{index}") for index in range(1000)]

    decision = Authorization.of(rules).decide(request(PEERS[0], "/p777"))

    assert core(decision) == (True, "allow_matched", "ns/policy#777")


def test_of_two_rules_that_hold_the_first_is_named() -> None:
    rules = [
        rule('request.path.startsWith("/")', Action.DENY, "ns/policy#0"),
        rule('request.path == "/zen"', Action.DENY, "ns/policy#1"),
    ]

    assert Authorization.of(rules).decide(request(PEERS[0])).rule == "ns/policy#0"


def test_an_explanation_holds_every_term_with_its_text() -> None:
    authorization = Authorization.of([rule('request.method == "GET" && source.identity.namespace == "team-a"')])

    (evidence,) = authorization.explain(request(PEERS[2])).evidence

    assert [(term.text, term.outcome) for term in evidence.terms] == [
        ('request.method == "GET"', Outcome.MATCHED),
        ('source.identity.namespace == "team-a"', Outcome.ERROR),
    ]


def test_callers_beyond_the_cache_are_still_decided_right() -> None:
    authorization = Authorization.of([rule('source.identity.namespace == "team-7"')])
    callers = [peer(f"team-{index}") for index in range(MAX_CACHED_PEERS + 100)]

    allowed = [index for index, who in enumerate(callers * 2) if authorization.decide(request(who)).allowed]

    assert allowed == [7, 7 + len(callers)]


@pytest.fixture(scope="module")
def by_team() -> Authorization:
    return Authorization.of(
        [
            rule(
                f'source.identity.namespace == "team-{index}" && request.path == "/of/{index}"',
                name=f"ns/policy#{index}",
            )
            for index in range(50)
        ]
    )


def test_two_threads_never_see_each_others_caller(by_team: Authorization) -> None:
    callers = [peer(f"team-{index}") for index in range(50)]

    def ask(seed: int) -> int:
        chooser, wrong = random.Random(seed), 0  # noqa: S311  no secret depends on it
        for _ in range(5_000):
            caller, path = chooser.randrange(50), chooser.randrange(50)
            decision = by_team.decide(request(callers[caller], f"/of/{path}"))
            wrong += decision.allowed is not (caller == path)
        return wrong

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(ask, (1, 2))) == [0, 0]


def test_ten_thousand_interleaved_tasks_never_see_each_others_caller(by_team: Authorization) -> None:
    callers = [peer(f"team-{index}") for index in range(50)]

    async def ask(number: int) -> bool:
        attributes = request(callers[number % 50], f"/of/{(number // 50) % 50}")
        await asyncio.sleep(0)
        allowed = by_team.decide(attributes).allowed
        await asyncio.sleep(0)
        return allowed is (number % 50 == (number // 50) % 50) and by_team.decide(attributes).allowed is allowed

    async def all_of_them() -> list[bool]:
        return await asyncio.gather(*(ask(number) for number in range(10_000)))

    assert all(asyncio.run(all_of_them()))
