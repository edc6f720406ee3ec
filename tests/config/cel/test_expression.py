"""The rules of `config.cel` that hold whatever stands behind its three names."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.attributes import Downstream, Peer, RequestAttributes
from config.cel import EvaluationError, ExpressionError, compile_expression
from config.cel.analysis import conjunction, conjuncts
from config.policy.identity import parse_spiffe_id
from tests.config.examples import TEAM_A, TEAM_B, request

if TYPE_CHECKING:
    from config.attributes import RawHeaders

REQUEST = RequestAttributes(
    peer=Peer(parse_spiffe_id(TEAM_A), (TEAM_A,), "CN=mesh CA", "CN=team-a", "PEM"),
    method="POST",
    host="api.github.com",
    path="/repos/octocat",
    query="q=1",
    headers=[(b"accept", b"*/*"), (b"x-twice", b"one"), (b"x-twice", b"two"), (b"x-bytes", b"caf\xc3\xa9 \xff")],
    raw_host="API.github.com:80",
    downstream=Downstream("10.0.0.7", 40000, "10.0.0.1", 8443),
    start_time=1.5,
    gateway="infra/egress",
    route="infra/github",
    backend="infra/origin",
)


def value(text: str, attributes: RequestAttributes = REQUEST, *, strict_headers: bool = False) -> Any:
    return compile_expression(text, strict_headers=strict_headers).evaluate(attributes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("request.method", "POST"),
        ("request.host", "api.github.com"),
        ("request.rawHost", "API.github.com:80"),
        ("request.scheme", "https"),
        ("request.path", "/repos/octocat"),
        ("request.pathAndQuery", "/repos/octocat?q=1"),
        ("request.uri", "https://api.github.com/repos/octocat?q=1"),
        ("request.version", "HTTP/1.1"),
        ("request.headers.accept", "*/*"),
        ('request.headers["accept"]', "*/*"),
        ('request.headers["x-twice"]', ["one", "two"]),
        ('request.headers["x-bytes"]', "café \ufffd"),
        ('request.startTime == timestamp("1970-01-01T00:00:01.5Z")', True),
        ("source.address", "10.0.0.7"),
        ("source.rawAddress", "10.0.0.7"),
        ("source.port", 40000),
        ("source.spiffeId", TEAM_A),
        ("source.identity.trustDomain", "cluster.local"),
        ("source.identity.namespace", "team-a"),
        ("source.identity.serviceAccount", "team-a"),
        ("source.subjectAltNames", [TEAM_A]),
        ("source.issuer", "CN=mesh CA"),
        ("source.subject", "CN=team-a"),
        ("source.certificate", "PEM"),
        ("destination.address", "10.0.0.1"),
        ("destination.port", 8443),
        ("destination.hostname", "api.github.com"),
        ("backend.name", "infra/origin"),
        ("proxy.gateway", "infra/egress"),
        ("proxy.route", "infra/github"),
        ("jwt", None),
        ("extauthz", None),
        ("metadata", None),
    ],
)
def test_every_attribute_is_read_by_its_name(text: str, expected: Any) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", True),
        ("1 + 2", 3),
        ("7 / 2", 3),
        ("-7 / 2", -3),
        ("1.5", 1.5),
        ("2u", 2),
        ('b"a"', b"a"),
        ('"a" + "b"', "ab"),
        ("null", None),
        ("[1, [true, null]]", [1, [True, None]]),
        ('{"a": {"b": 1}}', {"a": {"b": 1}}),
        ('size("héllo")', 5),
        ('"abc".matches("^a.c$")', True),
        ('"b" in ["a", "b"]', True),
        ("[1, 2, 3].filter(x, x > 1).map(x, x * 2)", [4, 6]),
        ("[1, 2].exists(x, x == 2) && [1, 2].all(x, x > 0)", True),
        ('request.path.startsWith("/repos/") ? "in" : "out"', "in"),
        ("has(request.headers.accept)", True),
        ("has(request.headers.cookie)", False),
    ],
)
def test_a_value_is_plain_python_data(text: str, expected: Any) -> None:
    found = value(text)

    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true || 1 / 0 == 1", True),
        ("1 / 0 == 1 || true", True),
        ("false && 1 / 0 == 1", False),
        ("1 / 0 == 1 && false", False),
    ],
)
def test_and_and_or_absorb_errors(text: str, *, expected: bool) -> None:
    assert value(text) is expected


@pytest.mark.parametrize(
    "text",
    [
        "1 / 0",
        "1 % 0",
        "9223372036854775807 + 1",
        "-9223372036854775808 - 1",
        'request.headers["cookie"] == "a"',
        'request.headers["cookie"] != "a"',
        '!(request.headers["cookie"] == "a")',
        'jwt.sub == "a"',
        'jwt.sub != "a"',
        '{"a": 1}["b"]',
        "[1][5]",
        'dyn("a") + 1',
        "!dyn(1)",
        "-dyn(true)",
        'int("x")',
        'timestamp("yesterday")',
        'request.path.matches(dyn("("))',
        'request.path.matches(source.issuer + "(")',
        "dyn(request.path) < 1",
        "dyn(1) && true",
        "dyn(1) ? true : true",
        "jwt.sub.length",
        "dyn(1).name",
        "[1][dyn(true)]",
        'request.headers[dyn(1)] == "a"',
        "1 in dyn(1)",
        "dyn(1).exists(x, true)",
        "{dyn(1.5): 1}",
        '{dyn("a"): 1, "a": 2}',
        "[?dyn(1)]",
        "1 / 0 == 1 || false",
        "1 / 0 == 1 && true",
        "1 / 0 == 1 ? true : true",
        "[1 / 0]",
        '{"a": 1 / 0}',
        "[1, 0].all(x, 1 / x > 0)",
        "string(b'\\xff')",
    ],
)
def test_what_has_no_value_is_an_evaluation_error(text: str) -> None:
    with pytest.raises(EvaluationError):
        value(text)


@pytest.mark.parametrize("field", ["trustDomain", "namespace", "serviceAccount"])
def test_the_identity_of_another_spiffe_form_is_null_and_its_fields_are_errors(field: str) -> None:
    attributes = request(caller="spiffe://cluster.local/vm/team-a")

    assert value("source.identity", attributes) is None
    assert value("source.spiffeId", attributes) == "spiffe://cluster.local/vm/team-a"
    for operator in ("==", "!="):
        with pytest.raises(EvaluationError):
            value(f'source.identity.{field} {operator} "team-a"', attributes)


@pytest.mark.parametrize(
    "text",
    [
        'request.headers["x-twice"] == "one"',
        'request.headers["x-twice"] != "one"',
        '!(request.headers["x-twice"] == "one")',
        'request.headers["x-twice"] in ["one"]',
        '!(request.headers["x-twice"] in ["one"])',
        'request.headers["x-twice"] == null',
        'size(request.headers["x-twice"]) > 0',
        'request.headers["x-twice"] == request.headers["x-twice"]',
        'request.headers["x-twice"].startsWith("o")',
        'request.headers.exists(name, request.headers[name] == "nothing")',
        '[request.headers["x-twice"]] != ["one"]',
        'request.headers[?"x-twice"].orValue("") == "one"',
        "request.headers.?`x-twice`.hasValue()",
        'default(request.headers["x-twice"], "") == "one"',
        'coalesce(request.headers["x-twice"], "") == "one"',
        'coalesce(request.headers["x-twice"] == "one" || jwt.sub == "a", false)',
        'default(request.headers["x-twice"] == "one" || jwt.sub == "a", false)',
        'default(jwt.sub == "a" || request.headers["x-twice"] == "one", false)',
        'default([1, 2].exists(i, i == 1 ? request.headers["x-twice"] == "one" : jwt.sub == "a"), false)',
        'coalesce(request.headers, {}) == {"x-twice": "one"}',
        'cel.bind(h, request.headers, h["x-twice"] == "one")',
        "request.headers",
        "request",
    ],
)
def test_a_repeated_header_is_an_error_in_an_authorization_rule(text: str) -> None:
    # Sending a header twice must not turn the string that a Deny compares into a list, and slip it.
    with pytest.raises(EvaluationError):
        value(text, strict_headers=True)


def test_a_repeated_header_never_counts_as_absent() -> None:
    attributes = request(headers=[(b"debug", b"1"), (b"debug", b"2")])

    assert value("has(request.headers.debug)", attributes, strict_headers=True) is True
    assert value("has(request.headers.debug)", attributes) is True
    assert value("has(request.headers.other)", attributes, strict_headers=True) is False


@pytest.mark.parametrize("strict_headers", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        'request.headers["X-Foo"] == "1"',
        'request.headers["x-foo"] == "1"',
        'request["headers"]["X-FOO"] == "1"',
        'request.headers[?"X-Foo"].orValue("") == "1"',
        'request.headers.?`X-Foo`.orValue("") == "1"',
        'request.headers.`X-Foo` == "1"',
        "has(request.headers.`X-Foo`)",
        '"X-Foo" in request.headers',
        'request.headers["X-" + "Foo"] == "1"',
    ],
)
def test_a_header_is_found_in_whichever_case_it_is_written(text: str, *, strict_headers: bool) -> None:
    assert value(text, request(headers=[(b"x-foo", b"1")]), strict_headers=strict_headers) is True


@pytest.mark.parametrize("name", ["x-twice", "missing"])
def test_presence_is_told_of_a_repeated_header_too(name: str) -> None:
    present = name == "x-twice"

    for strict_headers in (True, False):
        assert value(f'"{name}" in request.headers', strict_headers=strict_headers) is present
        assert value(f"has(request.headers.`{name}`)", strict_headers=strict_headers) is present


def test_an_expression_cannot_change_the_headers_that_the_next_one_reads() -> None:
    attributes = request(headers=[(b"a", b"1"), (b"b", b"1"), (b"b", b"2")])
    changing = compile_expression('request.headers.merge({"a": "x", "c": "y"}).b + ["z"]')

    assert changing.evaluate(attributes) == ["1", "2", "z"]
    found = compile_expression("request.headers.b").function(attributes)
    found.append("grown")
    assert value("request.headers", attributes) == {"a": "1", "b": ["1", "2"]}


def test_strict_and_lenient_readings_of_one_request_do_not_mix() -> None:
    lenient, strict = (compile_expression('request.headers["x-twice"]', strict_headers=s) for s in (False, True))

    for _ in range(2):
        assert lenient.evaluate(REQUEST) == ["one", "two"]
        with pytest.raises(EvaluationError):
            strict.evaluate(REQUEST)


def test_an_evaluation_error_says_nothing_of_the_request() -> None:
    attributes = request(headers=[(b"authorization", b"Bearer s3cret")])

    with pytest.raises(EvaluationError) as caught:
        value('request.headers["authorization"] + 1', attributes)

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("true", set()),
        ("request.path", {"request.path"}),
        ("request", {"request"}),
        ('request["path"]', {"request.path"}),
        ('request.headers["x"] + request.headers.y', {"request.headers"}),
        ("source.identity.namespace == request.host", {"source.identity", "request.host"}),
        ("has(source.identity.namespace)", {"source.identity"}),
        ('["a"].exists(x, x == request.uri)', {"request.uri"}),
        ('extauthz.user == "a"', {"extauthz.user"}),
        ("extauthz == null", {"extauthz"}),
        ("(((request))).path", {"request.path"}),
        ("size(request.pathAndQuery) > 3 ? request.method : string(source.port)", None),
    ],
)
def test_an_expression_knows_what_it_reads(text: str, reads: set[str] | None) -> None:
    expected = {"request.pathAndQuery", "request.method", "source.port"} if reads is None else reads

    assert compile_expression(text).reads == expected


@pytest.mark.parametrize(
    ("text", "column", "name", "nearest"),
    [
        ('requst.path == "/a"', 1, "requst", "request"),
        ('request.host == "a" && request.paht == "/a"', 32, "paht", "path"),
        ('source.identity.namspace == "a"', 17, "namspace", "namespace"),
        ("source.spiffeID", 8, "spiffeID", "spiffeId"),
        ('request.path.startWith("/a")', 14, "startWith", "startsWith"),
        ("foo", 1, "foo", None),
    ],
)
def test_an_unknown_name_is_refused_at_load_with_its_place_and_the_nearest_one(
    text: str, column: int, name: str, nearest: str | None
) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text)

    error = caught.value
    assert (error.line, error.column) == (1, column)
    assert repr(name) in error.message
    assert nearest is None or error.hint == f"did you mean {nearest!r}?"
    assert error.excerpt(text) == f"{text}\n{' ' * (column - 1)}^"


def test_the_place_of_an_error_counts_lines() -> None:
    text = 'request.host == "a" &&\n  requst.path == "/a"'

    with pytest.raises(ExpressionError) as caught:
        compile_expression(text)

    assert (caught.value.line, caught.value.column) == (2, 3)
    assert caught.value.excerpt(text) == '  requst.path == "/a"\n  ^'


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "request.path ==",
        'source.identity.namespace == "team-a" &&',
        "a b",
        "(",
        ")",
        '"open',
        "1 +* 2",
        "a = 1",
        "#",
    ],
)
def test_what_is_no_expression_is_refused_at_load(text: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text)

    assert caught.value.line >= 1
    assert caught.value.column >= 1
    caught.value.excerpt(text)


@pytest.mark.parametrize(
    "text", ["(" * 3000 + "1" + ")" * 3000, "!" * 5000 + "true", "[" * 3000 + "]" * 3000, '"' + "a" * 20_000 + '"']
)
def test_an_expression_that_is_too_large_is_refused_at_load(text: str) -> None:
    with pytest.raises(ExpressionError):
        compile_expression(text)


def test_two_threads_with_two_identities_never_get_each_others_answers() -> None:
    # cel-python's CompiledRunner passes results through module globals.
    expression = compile_expression("source.identity.namespace")

    def ask(caller: str) -> Any:
        return expression.evaluate(request(caller=caller))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, [TEAM_A, TEAM_B] * 150))

    assert answers == ["team-a", "team-b"] * 150


@pytest.mark.parametrize(
    ("text", "doubt"),
    [
        ("true", ""),
        ("!false", ""),
        ("[1, 2].exists(x, x == 2)", ""),
        ("1 / 0 == 1 || true", ""),
        ("false", "it is never true"),
        ('"a" == "b"', "it is never true"),
        ("[1].all(x, x > 1)", "it is never true"),
        ("coalesce(1, null)", "it is never true"),
        ("1 / 0 == 1", "it always fails: division by zero"),
        ('"x" in {"a": 1}["b"]', "it always fails: no such key or index"),
        ("dyn(1) && true", "it is never true"),
        ("request.path", "it gives a string, never true"),
        ("1", "it gives an int, never true"),
        ("2u", "it gives a uint, never true"),
        ("null", "it gives a null, never true"),
        ("[true]", "it gives a list, never true"),
        ("request", "it gives a map, never true"),
        ("request.startTime", "it gives a timestamp, never true"),
        ('request.path == "/a" && request.path == "/b"', "it can never be true: request.path cannot have two values"),
        (
            'request.host in ["a", "b"] && request.path == "/a" && "c" == request.host',
            "it can never be true: request.host cannot have two values",
        ),
        (
            'source.identity.namespace == "a" && source.identity.namespace == "b"',
            "it can never be true: source.identity.namespace cannot have two values",
        ),
        ('request.path == "/a" && request.path == "/a"', ""),
        ('request.path == "/a" || request.path == "/b"', ""),
        ('request.path.startsWith("/a") && request.path == "/b"', ""),
        ('request.path in ["/a", "/b"] && request.path == "/b"', ""),
        # What depends on the request, on the caller or on chance is not tried.
        ("request.path == request.host", ""),
        ('extauthz.sub == "a"', "it always fails: a field of null"),
        ('request.path == "/zen" && extauthz.sub == "a"', "it always fails: a field of null"),
        ('default(extauthz.sub, "a") == "a"', ""),
        ("source.identity == null", ""),
        ('uuid() == ""', ""),
        ("random() > 1.0", ""),
        ("request.headers.x", ""),
    ],
)
@pytest.mark.parametrize("strict_headers", [True, False])
def test_a_doubt_is_what_plainly_can_never_be_true(text: str, doubt: str, *, strict_headers: bool) -> None:
    assert compile_expression(text, strict_headers=strict_headers).doubt == doubt


@pytest.mark.parametrize("text", ["[1, [2]]", '{"a": [1]}', "[1].map(x, x)", '{"a": 1}.mapValues(v, v)'])
def test_a_value_is_made_anew_for_every_request(text: str) -> None:
    expression = compile_expression(text)
    first = expression.function(REQUEST)
    before = repr(first)
    first.clear()

    assert repr(expression.function(REQUEST)) == before


@given(
    st.lists(
        st.sampled_from(
            [
                "request",
                "source",
                ".path",
                ".headers",
                '["x"]',
                " == ",
                " && ",
                "!",
                "(",
                ")",
                '"a"',
                "1",
                "[",
                "]",
                "jwt",
            ]
        ),
        max_size=8,
    ).map("".join)
)
def test_any_text_is_either_refused_at_load_or_evaluates_or_fails_with_the_error_that_policies_expect(
    text: str,
) -> None:
    headers: RawHeaders = [(b"x", b"1"), (b"x", b"2")]
    try:
        compile_expression(text, strict_headers=True).evaluate(request("/a", headers=headers))
    except (ExpressionError, EvaluationError):
        return


def test_a_part_that_has_every_term_is_not_compiled_again() -> None:
    text = 'source.identity.namespace == "a" && request.method == "GET"'
    expression = compile_expression(text)
    first, second = conjuncts(expression.tree)

    assert expression.part(conjunction((first, second))) is expression.function
    assert expression.part(first) is not expression.function
    assert expression.part(conjunction((second, first))) is not expression.function
    one = compile_expression("1")
    assert one.part(conjunction(())) is not one.function
    assert one.part(conjunction(()))(None) is True
