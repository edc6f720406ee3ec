from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.cel import compile_expression
from config.policy.rules import Action, Rule
from middleware.context import Connection, RequestContext
from middleware.errors import AuthorizationDeniedError, InvalidRequestError
from middleware.rewritten_path import judge
from tests.config.examples import request
from tests.support.asgi import Call
from tests.support.routes import Origin, Served, route_of, snapshot_of

GUARD = Rule("test/guard#0", Action.DENY, compile_expression('request.pathAndQuery.contains("secret")'))
ERROR = Rule("test/error#0", Action.DENY, compile_expression("request.path.size() / 0 == 1"))


def context(*rules: Rule) -> RequestContext:
    route = route_of(*rules)
    result = RequestContext(snapshot_of(route), Connection(), {})
    result.route, result.attributes, result.target = route, request("/asked"), "/asked"
    return result


@pytest.mark.parametrize(("target", "canonical"), [("/a", "/a"), ("/%61?x=%61", "/a?x=%61"), ("/a?", "/a?")])
def test_a_rewritten_target_goes_to_the_origin_in_its_canonical_spelling(target: str, canonical: str) -> None:
    record = context(GUARD)
    judge(record, target)

    assert record.target == canonical
    assert record.attributes is not None
    assert record.attributes.path == "/asked"


@pytest.mark.parametrize("target", ["/secret", "/s%65cret", "/x?secret"])
def test_a_rewritten_path_that_a_deny_refuses_is_refused(target: str) -> None:
    record = context(GUARD)

    with pytest.raises(AuthorizationDeniedError):
        judge(record, target)

    assert record.target == "/asked"
    assert record.decision is not None
    assert record.decision.rule == "test/guard#0"


def test_a_deny_that_fails_on_the_rewritten_path_refuses_it() -> None:
    with pytest.raises(AuthorizationDeniedError):
        judge(context(ERROR), "/x")


@pytest.mark.parametrize(
    "target", ["", "a", "?a", "/a/../b", "/a/%2e%2e/b", "//a", "/a\r\nb", "/a b", "/\xe4", "/\ud800", "/a?b\nc", "/a?#"]
)
def test_an_ambiguous_target_is_refused(target: str) -> None:
    record = context()

    with pytest.raises(InvalidRequestError):
        judge(record, target)

    assert record.target == "/asked"


@given(st.lists(st.sampled_from(["/", "a", "..", "%2e", "%61", "?", ";", "#", " ", "secret", "%"])).map("".join))
def test_what_is_judged_is_what_is_sent_and_passes_again(target: str) -> None:
    record = context(GUARD)
    try:
        judge(record, target)
    except (AuthorizationDeniedError, InvalidRequestError):
        assert record.target == "/asked"
        return
    sent = record.target
    judge(record, sent)

    assert record.target == sent
    assert "secret" not in sent


def test_the_layers_pass_a_target_that_nothing_rewrites() -> None:
    origin = Origin()
    call = Call(Served(route_of(GUARD), origin), target=b"/%61")
    call.body(b"")
    asyncio.run(call.run())

    assert origin.contexts[0].target == "/a"
