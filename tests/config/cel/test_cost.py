"""What an evaluation may cost: it fails where its steps are used up, and nothing large is built or compared."""

from __future__ import annotations

import pytest

from config.attributes import Peer, RequestAttributes, SpiffeId
from config.cel import EvaluationError, compile_expression
from config.cel.cost import STEPS

PEER = Peer(SpiffeId("cluster.local", "/ns/a/sa/b", "a", "b"))
REQUEST = RequestAttributes(
    PEER,
    "GET",
    "api.example.org",
    "/" + "a" * 8000,
    query="&".join(f"a={n}&b={n}x" for n in range(800)),
    headers=[(f"x-{n}".encode(), b"v" * 300) for n in range(100)],
)


@pytest.mark.parametrize(
    "text",
    [
        "request.headers.exists(a, request.headers.exists(b, toJson(request.headers) == a))",
        "request.headers.all(a, request.headers.all(b, request.headers.all(c, c != 'none')))",
        "lists.range(9000).all(i, request.path.replace('a', 'b').replace('b', 'c').size() > 1)",
        "lists.range(10000).map(i, bytes(request.path)).size() > 1",
        "[1, 2, 3, 4, 5].map(x, lists.range(3000)).flatten().map(y, lists.range(10)).size() > 1",
        "request.pathAndQuery.query('a').all(x, request.pathAndQuery.query('b').all(y, x != y))",
    ],
)
def test_an_evaluation_that_takes_too_many_steps_fails(text: str) -> None:
    with pytest.raises(EvaluationError, match=r"too many steps|too large"):
        compile_expression(text).evaluate(REQUEST)


@pytest.mark.parametrize(
    "text",
    [
        "request.headers.all(a, request.headers.exists(b, a == b))",
        f"lists.range({STEPS}).all(x, x >= 0)",
        "request.path.split('/').exists(s, s in ['zen', 'repos']) || true",
        "request.headers['x-1'].split(',').all(r, r.trim() != 'admin')",
        "[1, 2].map(x, [3, 4].map(y, [5, 6].map(z, x + y + z))) == [[[9, 10], [10, 11]], [[10, 11], [11, 12]]]",
    ],
)
def test_what_policies_do_is_within_the_budget(text: str) -> None:
    assert compile_expression(text).evaluate(REQUEST) is True


def test_the_budget_is_that_of_one_evaluation() -> None:
    expression = compile_expression(f"lists.range({STEPS}).all(x, x >= 0)")

    assert [expression.evaluate(REQUEST) for _ in range(3)] == [True] * 3


def test_a_step_too_many_is_an_error_like_any_other() -> None:
    too_many = "lists.range(9000).all(x, lists.range(9000).all(y, y >= 0))"

    assert compile_expression(f"{too_many} || true").evaluate(REQUEST) is True


@pytest.mark.parametrize("value", ["request.path", "bytes(request.path)", "lists.range(100)"])
def test_doubling_a_value_ends_at_the_largest_result(value: str) -> None:
    text = value
    for n in range(12):
        text = f"cel.bind(x{n}, {text}, x{n} + x{n})"

    with pytest.raises(EvaluationError, match="too large"):
        compile_expression(text).evaluate(REQUEST)


def test_lists_that_share_parts_are_not_walked_without_end() -> None:
    text = "x40 == x40"
    for n in range(40, 0, -1):
        text = f"cel.bind(x{n}, [x{n - 1}, x{n - 1}], {text})"
    shared = compile_expression(f"cel.bind(x0, [1], {text})")

    with pytest.raises(EvaluationError, match="too large"):
        shared.evaluate(REQUEST)
