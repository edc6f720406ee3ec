from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.attributes import Downstream
from config.cel import EvaluationError, compile_expression
from config.cel.analysis import (
    Keys,
    conjunction,
    conjuncts,
    contradiction,
    depends_on_peer_only,
    disjuncts,
    is_constant,
    keys_of,
    reads,
)
from config.cel.parser import parse
from tests.config.examples import TEAM_A, TEAM_B, literal, request


def exact(attribute: str, *values: str) -> Keys:
    return Keys(attribute, exact=frozenset(values))


def prefixes(attribute: str, *values: str) -> Keys:
    return Keys(attribute, prefixes=frozenset(values))


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ('request.path == "/a"', exact("request.path", "/a")),
        ('"/a" == request.path', exact("request.path", "/a")),
        ('.request.path == "/a"', exact("request.path", "/a")),
        ('request.path in ["/a", "/b"]', exact("request.path", "/a", "/b")),
        ("request.path in []", exact("request.path")),
        ('request.path.startsWith("/a")', prefixes("request.path", "/a")),
        ('request.path.startsWith("")', prefixes("request.path", "")),
        ('source.identity.namespace == "a"', exact("source.identity.namespace", "a")),
        ('request.path == "/a" || request.path == "/b"', exact("request.path", "/a", "/b")),
        (
            'request.path == "/a" || request.path.startsWith("/b") || request.path in ["/c"]',
            Keys("request.path", frozenset({"/a", "/c"}), frozenset({"/b"})),
        ),
        ('(request.path == "/a" || (request.path == "/b"))', exact("request.path", "/a", "/b")),
        # Everything else may be true of any value.
        ("true", None),
        ("request.path", None),
        ("request.path == request.host", None),
        ("request.path == jwt.path", None),
        ('request.path != "/a"', None),
        ('!(request.path == "/a")', None),
        ('request.path < "/a"', None),
        ('request.path.endsWith("/a")', None),
        ('request.path.contains("/a")', None),
        ('request.path.matches("^/a$")', None),
        ('"/a".startsWith(request.path)', None),
        ('"/a" in [request.path]', None),
        ("request.path in [request.host]", None),
        ('request.path in ["/a", request.host]', None),
        ('request.path in [?optional.of("/a")]', None),
        ('request.path in {"/a": 1}', None),
        ('request.path + "" == "/a"', None),
        ('request["path"] == "/a"', None),
        ('request.?path == optional.of("/a")', None),
        ('has(request.path) == "/a" in ["/a"]', None),
        ('request.headers["x"] == "/a"', None),
        ('request.path == "/a" || request.host == "b"', None),
        ('request.path == "/a" || true', None),
        ('request.path == "/a" ? true : false', None),
        ('cel.bind(request, {"path": "/a"}, request.path == "/a")', None),
        ('[{"path": "/a"}].exists(request, request.path == "/a")', None),
        ("request.startTime == timestamp(1)", None),
        ("source.port == 1", None),
    ],
)
def test_keys_are_what_a_term_needs_its_attribute_to_be(text: str, keys: Keys | None) -> None:
    assert keys_of(parse(text)) == keys


@pytest.mark.parametrize(
    ("text", "attribute"),
    [
        ('request.path == "/a" && request.path == "/b"', "request.path"),
        ('request.path == "/a" && true && "/b" == request.path', "request.path"),
        ('request.path in ["/a", "/b"] && request.path in ["/c"]', "request.path"),
        ('request.path in ["/a", "/b"] && request.path in ["/b", "/c"] && request.path == "/a"', "request.path"),
        ('(request.host == "a" || request.host == "b") && request.host == "c"', "request.host"),
        ("request.path in []", "request.path"),
        ('source.identity.namespace == "a" && source.identity.namespace == "b"', "source.identity.namespace"),
        ('request.path == "/a" && request.host == "/b"', None),
        ('request.path == "/a" && request.path == "/a"', None),
        ('request.path in ["/a", "/b"] && request.path in ["/b", "/c"]', None),
        ('request.path == "/a" && request.path.startsWith("/b")', None),
        ('request.path == "/a" && (request.path.startsWith("/b") || request.path == "/c")', None),
        ('request.path == "/a" || request.path == "/b"', None),
        ('request.path == "/a" && request.path != "/a"', None),
        ('!(request.path == "/a" && request.path == "/b")', None),
        ("true", None),
    ],
)
def test_a_contradiction_is_one_attribute_with_two_values(text: str, attribute: str | None) -> None:
    assert contradiction(parse(text)) == attribute


@pytest.mark.parametrize(
    ("text", "of_peer"),
    [
        ('source.identity.namespace == "a"', True),
        ("source.identity != null", True),
        ('source.spiffeId.startsWith("spiffe://")', True),
        ('source.subjectAltNames.exists(name, name == "a")', True),
        ('source.issuer == source.subject && source.certificate != ""', True),
        ("has(source.identity.namespace)", True),
        ("cel.bind(x, source.spiffeId, x == x)", True),
        ('[source.spiffeId].exists(request, request == "a")', True),
        # What another request of the same caller may change.
        ("source.address == '10.0.0.1'", False),
        ("source.rawAddress == '10.0.0.1'", False),
        ("source.port == 1", False),
        ("source == null", False),
        ('source["spiffeId"] == "a"', True),
        ("source.spiffeId == request.host", False),
        ('source.identity.namespace == request.headers["x"]', False),
        ('source.identity.namespace == "a" && jwt.sub == "a"', False),
        ("[source].exists(s, s.spiffeId == 'a')", False),
        # Neither is what has nothing to do with the caller, nor chance.
        ("true", False),
        ("source.spiffeId == uuid()", False),
        ("source.spiffeId != '' && random() < 0.5", False),
        ("[random()].exists(x, source.spiffeId == 'a' && x < 0.5)", False),
        # A variable of a comprehension hides the caller, its root does not.
        ('[{"spiffeId": request.host}].exists(source, source.spiffeId == "a")', False),
        ("[1].exists(request, .source.spiffeId == 'a')", True),
        ("[1].exists(source, .request.path == 'a')", False),
    ],
)
def test_what_depends_on_the_caller_only_is_told_from_what_does_not(text: str, *, of_peer: bool) -> None:
    assert depends_on_peer_only(parse(text)) is of_peer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2", set()),
        ("request", {"request"}),
        ("request.path", {"request.path"}),
        ("request.?path", {"request.path"}),
        ("request.headers.x.y", {"request.headers"}),
        ('request["path"]', {"request.path"}),
        ("request[?source.port]", {"request", "source.port"}),
        ("has(request.headers.x)", {"request.headers"}),
        ("has(request.path)", {"request.path"}),
        ("[request.path, request.host]", {"request.path", "request.host"}),
        ("{request.path: request.host}", {"request.path", "request.host"}),
        ("request.path ? request.host : request.method", {"request.path", "request.host", "request.method"}),
        ("[1].all(x, x == request.path)", {"request.path"}),
        ("request.headers.all(x, x == 'a')", {"request.headers"}),
        ("[1].all(request, request.path == 1)", set()),
        ("[1].all(request, .request.path == 1)", {"request.path"}),
        ("[1].all(request, [request].all(x, x.path == 1)) && request.host == 'a'", {"request.host"}),
        ("request.path.with(request, request == 'a')", {"request.path"}),
        ("cel.bind(request, source.port, request.path)", {"source.port"}),
        ("cel.bind(r, request, r.path)", {"request"}),
        ("[request].exists(r, r.path == 'a')", {"request"}),
        ("request.headers.transformMap(k, request, request)", {"request.headers"}),
        ("[3].sortBy(x, x + source.port)", {"source.port"}),
        ("optional.of(1).optMap(x, x + source.port)", {"source.port", "optional"}),
        ("default(request.path, source.issuer)", {"request.path", "source.issuer"}),
    ],
)
def test_reads_are_the_attributes_that_a_tree_names(text: str, expected: set[str]) -> None:
    # A namespace, as of `optional.of`, may be named too: what reads more than it does is only judged later.
    assert set(reads(parse(text))) - {"optional"} == expected - {"optional"}


@pytest.mark.parametrize(
    ("text", "constant"),
    [
        ("true", True),
        ("[1, 2].exists(x, x == 1)", True),
        ("1 / 0 == 1", True),
        ("request.path == ''", False),
        ("extauthz == null", True),
        ("uuid() == ''", False),
        ("[1].exists(x, random() < 0.5)", False),
    ],
)
def test_a_constant_reads_nothing_and_leaves_nothing_to_chance(text: str, *, constant: bool) -> None:
    assert is_constant(parse(text)) is constant


def test_terms_are_taken_apart_and_put_together_again() -> None:
    both, either, one = parse("a && b && (c || d)"), parse("a || b || (c && d)"), parse("!(a && b)")

    assert len(conjuncts(both)) == len(disjuncts(either)) == 3
    assert conjuncts(one) == disjuncts(one) == (one,)
    assert disjuncts(both) == (both,)
    assert conjuncts(either) == (either,)
    assert conjunction(conjuncts(both)) == both
    assert conjunction((one,)) == one
    assert conjunction(()) == parse("true")


VALUES = st.sampled_from(["/a", "/b", "/a/b", ""])
COMPARISONS = st.one_of(
    VALUES.map(lambda v: f'request.path == "{v}"'),
    VALUES.map(lambda v: f'"{v}" == request.path'),
    VALUES.map(lambda v: f'request.path.startsWith("{v}")'),
    st.lists(VALUES, max_size=2).map(lambda values: f"request.path in {literal(values)}"),
)
OTHERS = st.sampled_from(
    [
        "true",
        "1 / 0 == 1",
        'request.host == "api.example.org"',
        'request.host == "b"',
        'source.identity.namespace == "team-a"',
        'source.spiffeId.endsWith("b")',
        "source.identity != null",
        "source.port == 7",
    ]
)
EXPRESSIONS = st.lists(st.lists(COMPARISONS | OTHERS, min_size=1, max_size=3), min_size=1, max_size=3).map(
    lambda groups: " && ".join(f"({' || '.join(group)})" for group in groups)
)


def true_of(text: str, path: str, **values: Any) -> bool:
    try:
        return compile_expression(text).evaluate(request(path, **values)) is True
    except EvaluationError:
        return False


@given(EXPRESSIONS, VALUES)
def test_a_term_is_true_only_of_its_keys(text: str, path: str) -> None:
    for term in conjuncts(parse(text)):
        keys = keys_of(term)
        if keys is None or keys.attribute != "request.path":
            continue
        if path not in keys.exact and not any(path.startswith(prefix) for prefix in keys.prefixes):
            assert not true_of(text, path)


@given(EXPRESSIONS, VALUES)
def test_a_contradiction_is_never_true(text: str, path: str) -> None:
    if contradiction(parse(text)):
        assert not true_of(text, path)


@given(EXPRESSIONS, st.sampled_from([TEAM_A, TEAM_B]))
def test_what_depends_on_the_caller_only_is_one_for_all_requests(text: str, caller: str) -> None:
    if depends_on_peer_only(parse(text)):
        answers = {
            true_of(text, path, caller=caller, downstream=Downstream(port=port), host=host)
            for path, port, host in [("/a", 7, "b"), ("", 8, "api.example.org")]
        }
        assert len(answers) == 1
