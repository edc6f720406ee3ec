"""Expressions made from the grammar, through the compiled form, cel-python's interpreter and Google's runtime.

The specification decides where they differ; `docs/cel.md` has the table of differences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cel_conformance.cases import Case, Expectation, same_value
from tests.cel_conformance.cel_expr import run_cel_expr
from tests.cel_conformance.cel_python import run_cel_python
from tests.cel_conformance.compiled import run_compiled

if TYPE_CHECKING:
    from tests.cel_conformance.results import Result

Text = st.SearchStrategy[str]

BINDINGS: dict[str, Any] = {
    "i": {"int": "7"},
    "s": {"string": "héllo"},
    "b": {"bool": True},
    "xs": {"list": [{"int": "1"}, {"int": "2"}]},
    "m": {"map": [[{"string": "a"}, {"int": "1"}], [{"string": "b"}, {"string": "x"}]]},
    "none": {"null": None},
}
TYPES = {"i": "int", "s": "string", "b": "bool", "xs": "list(int)", "m": "map(string, dyn)", "none": "dyn"}


def case(expression: str) -> Case:
    return Case("oracles", "", expression, expression, Expectation(), type_env=TYPES, bindings=BINDINGS)


def agree(one: Result, other: Result) -> bool:
    """Whether two results are the same value, or both an error, at whatever moment."""
    if one.value is None or other.value is None:
        return (one.error is None) == (other.error is None)
    return same_value(one.value, other.value)


ints: Text = st.deferred(
    lambda: int_leaves | binary(ints, ["+", "-", "*", "/", "%"], ints) | conditional(ints) | int_calls
)
strings: Text = st.deferred(lambda: string_leaves | binary(strings, ["+"], strings) | conditional(strings))
bools: Text = st.deferred(
    lambda: (
        bool_leaves
        | bools.map(lambda x: f"!({x})")
        | binary(bools, ["&&", "||"], bools)
        | binary(ints, ["<", "<=", ">", ">=", "==", "!="], ints)
        | binary(strings, ["<", "==", "!="], strings)
        | conditional(bools)
        | bool_calls
    )
)
lists: Text = st.deferred(
    lambda: (
        st.just("xs")
        | st.lists(ints, min_size=1, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.builds("{0}.map(x, {1})".format, lists, st.sampled_from(["x + 1", "x * i", "6 / (x - 1)"]))
        | st.builds("{0}.filter(x, {1})".format, lists, predicates)
    )
)
predicates: Text = st.sampled_from(["x > 1", "6 / (x - 1) > 1", "x in xs", "b && x == 2", "x == i || b"])
int_leaves: Text = st.sampled_from(
    ["0", "1", "-1", "2", "i", "9223372036854775807", "-9223372036854775808", "m.a", "m.c", "xs[1]", "xs[5]", "dyn(s)"]
)
int_calls: Text = (
    strings.map(lambda x: f"size({x})")
    | lists.map(lambda x: f"{x}.size()")
    | st.builds("{0}[{1}]".format, lists, ints)
    | strings.map(lambda x: f"int({x})")
)
string_leaves: Text = st.sampled_from(
    ["''", "'a'", "s", '"\\u00e9"', "m.b", "m['zz']", "string(i)", "string(b)", "r'\\d'"]
)
bool_leaves: Text = st.sampled_from(["true", "false", "b", "has(m.a)", "has(m.zz)", "(none == null)", "m.zz", "dyn(1)"])
bool_calls: Text = (
    st.builds("{0}.startsWith({1})".format, strings, strings)
    | st.builds("{0}.contains({1})".format, strings, strings)
    | st.builds("({0} in {1})".format, ints, lists)
    | st.builds("{0}.{1}(x, {2})".format, lists, st.sampled_from(["all", "exists", "exists_one"]), predicates)
)


def binary(left: Text, operators: list[str], right: Text) -> Text:
    return st.builds("({0} {1} {2})".format, left, st.sampled_from(operators), right)


def conditional(branch: Text) -> Text:
    return st.builds("({0} ? {1} : {2})".format, bools, branch, branch)


@settings(deadline=None, max_examples=300)
@given(bools | ints | strings | lists)
def test_the_compiled_form_agrees_with_googles_runtime(expression: str) -> None:
    ours, googles = run_compiled(case(expression)), run_cel_expr(case(expression))

    assert agree(ours, googles), f"{expression}: {ours} {googles}"


DIFFERENCES = {
    # expression: what cel-python, Google's runtime and the compiled form say; the last is the specification's
    "1 == 1.0": ("error", "error", "true"),
    "dyn(1) < 1.5": ("error", "true", "true"),
    "[1, 2, 3][dyn(1.0)]": ("error", "2", "2"),
    "{1: 'a'}[dyn(1u)]": ("error", "a", "a"),
    "timestamp(1)": ("error", "1970-01-01T00:00:01Z", "1970-01-01T00:00:01Z"),
    "duration('1s').getMilliseconds()": ("1000", "0", "0"),
    "{'a': 1}.transformMap(k, v, v + 1)": ("error", "error", "map"),
    "{0: 1, 0u: 2}[0.0]": ("error", "1", "error"),
}


def shown(result: Result) -> str:
    if result.value is None:
        return "error"
    ((tag, content),) = result.value.items()
    return "map" if tag == "map" else str(content).lower() if tag == "bool" else str(content)


@pytest.mark.parametrize("expression", DIFFERENCES)
def test_known_differences_are_the_listed_ones(expression: str) -> None:
    found = tuple(shown(run(case(expression))) for run in (run_cel_python, run_cel_expr, run_compiled))

    assert found == DIFFERENCES[expression]
