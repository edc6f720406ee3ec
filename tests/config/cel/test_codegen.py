from __future__ import annotations

import ast
import builtins
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.cel import EvaluationError, ExpressionError, compile_expression
from config.cel.codegen import RUNTIME, Generator
from config.cel.environment import Environment, Field, Record
from config.cel.expression import compile_with
from config.cel.parser import RESERVED, parse
from config.cel.request import LENIENT, STRICT
from tests.config.examples import literal, request

REQUEST = request("/zen", headers=[(b"a", b"1"), (b"b", b"2")])


def value(text: str) -> Any:
    return compile_expression(text).evaluate(REQUEST)


def source_of(text: str) -> str:
    """Return the Python that is generated for an expression."""
    generator = Generator(LENIENT)
    code = generator.value(parse(text))
    lines = [(0, "def f(r):"), *generator.lines, (1, f"return {code.text}")]
    return "\n".join(f"{'    ' * depth}{line}" for depth, line in lines)


# What is refused at load


@pytest.mark.parametrize(
    ("text", "line", "column", "message", "hint"),
    [
        # Unknown variables, fields and functions.
        ('requst.path == "/a"', 1, 1, "unknown variable 'requst'", "did you mean 'request'?"),
        ('true &&\n  requst.path == "/a"', 2, 3, "unknown variable 'requst'", "did you mean 'request'?"),
        ("[1].all(x, y == 1)", 1, 12, "unknown variable 'y'", None),
        ("[1].all(x, true) && x == 1", 1, 21, "unknown variable 'x'", None),
        ("cel.bind(x, x, 1)", 1, 13, "unknown variable 'x'", None),
        ("[1].all(x, .x == 1)", 1, 13, "unknown variable 'x'", None),
        ("has(a.b)", 1, 5, "unknown variable 'a'", None),
        ("[x]", 1, 2, "unknown variable 'x'", None),
        ("{x: 1}", 1, 2, "unknown variable 'x'", None),
        ("coalesce(x, 1)", 1, 10, "unknown variable 'x'", None),
        ("true ? 1 : x", 1, 12, "unknown variable 'x'", None),
        ("__builtins__", 1, 1, "unknown variable '__builtins__'", None),
        ("r", 1, 1, "unknown variable 'r'", None),
        ("k1", 1, 1, "unknown variable 'k1'", None),
        ("request.paht", 1, 9, "unknown field of request 'paht'", "did you mean 'path'?"),
        ("true ||\n\n request.\n  paht == ''", 4, 3, "unknown field of request 'paht'", "did you mean 'path'?"),
        ('request["paht"]', 1, 9, "unknown field of request 'paht'", "did you mean 'path'?"),
        ("request.`paht`", 1, 9, "unknown field of request 'paht'", "did you mean 'path'?"),
        ("has(request.paht)", 1, 13, "unknown field of request 'paht'", "did you mean 'path'?"),
        ("source.spiffeID", 1, 8, "unknown field of source 'spiffeID'", "did you mean 'spiffeId'?"),
        ("source.identity.namspace", 1, 17, "unknown field of source.identity 'namspace'", "did you mean 'namespace'?"),
        ("backend.nam", 1, 9, "unknown field of backend 'nam'", "did you mean 'name'?"),
        ("request.__class__", 1, 9, "unknown field of request '__class__'", None),
        ('request.path.startWith("/a")', 1, 14, "unknown function 'startWith'", "did you mean 'startsWith'?"),
        ("sise(request.path)", 1, 1, "unknown function 'sise'", "did you mean 'size'?"),
        ("maths.greatest(1, 2)", 1, 7, "unknown function 'greatest'", "did you mean 'math.greatest'?"),
        ('__import__("os")', 1, 1, "unknown function '__import__'", None),
        ('eval("1")', 1, 1, "unknown function 'eval'", None),
        ("len([])", 1, 1, "unknown function 'len'", None),
        ("_fail('x')", 1, 1, "unknown function '_fail'", None),
        # The form of a call.
        ("startsWith(request.path, 'a')", 1, 1, "startsWith is called as x.startsWith()", None),
        ("[1].type()", 1, 5, "type is called as type(x)", None),
        ("size()", 1, 1, "there is no size()", None),
        ("request.path.startsWith()", 1, 14, "there is no string.startsWith()", "there is string.startsWith(string)"),
        ("request.path.startsWith('a', 'b')", 1, 14, "there is no string.startsWith(string, string)", None),
        ("default(1)", 1, 1, "default() takes a value and what stands in for it", None),
        ("default(1, 2, 3)", 1, 1, "default() takes a value and what stands in for it", None),
        ("request.path.default('')", 1, 14, "default() takes a value and what stands in for it", None),
        ("coalesce()", 1, 1, "coalesce() takes one or more values", None),
        ("request.path.coalesce()", 1, 14, "coalesce() takes one or more values", None),
        ("[1].exists(true)", 1, 5, "the macro exists does not take these arguments", None),
        ("[1].sortBy(x, x, x)", 1, 5, "the macro sortBy does not take these arguments", None),
        ("cel.bind(x, 1)", 1, 5, "the macro bind does not take these arguments", None),
        ("has()", 1, 1, "the macro has does not take these arguments", None),
        ("has(request)", 1, 1, "has() wants a selection such as a.b", None),
        ("has(request.?path)", 1, 1, "has() wants a selection such as a.b", None),
        ("[1].map(x.y, x)", 1, 9, "a plain variable name is needed here", None),
        ("[1].map(.x, x)", 1, 10, "a plain variable name is needed here", None),
        ("cel.bind(1, 2, 3)", 1, 10, "a plain variable name is needed here", None),
        ("[1].exists(x, x, true)", 1, 12, "the two variables have one name", None),
        # Types that cannot be.
        ("request.path == 5", 1, 1, "a string never equals an int", None),
        ("true && request.path != 5", 1, 9, "a string never equals an int", None),
        ("request.path == request.startTime", 1, 1, "a string never equals a timestamp", None),
        ("request.path == null", 1, 1, "a string never equals a null", None),
        ("source.port == '1'", 1, 1, "an int never equals a string", None),
        ("[1] == {}", 1, None, "a list never equals a map", None),
        ("type(1) == 'int'", 1, 1, "a type never equals a string", None),
        ("request.path < 1", 1, 1, "there is no string < int", None),
        ("'a' + 1", 1, 1, "there is no string + int", None),
        ("request.path + source.port", 1, 1, "there is no string + int", None),
        ("1.5 % 2.0", 1, 1, "there is no double % double", "there is int % int, uint % uint"),
        ("1 - 1u", 1, 1, "there is no int - uint", None),
        ("-true", 1, 1, "there is no -bool", "there is -double, -int"),
        ("!1", 1, 1, "there is no !int", "there is !bool"),
        ("!request.path", 1, 1, "there is no !string", None),
        ("request.path.startsWith(5)", 1, 14, "there is no string.startsWith(int)", None),
        ("int(true)", 1, 1, "there is no int(bool)", None),
        ("1 && true", 1, 1, "a bool is needed here, not an int", None),
        ("true ||\n request.path", 2, 2, "a bool is needed here, not a string", None),
        ("request.path ? 1 : 2", 1, 1, "a bool is needed here, not a string", None),
        ("[1].all(x, x)", 1, 12, "a bool is needed here, not an int", None),
        ("[1].filter(x, 'a')", 1, 15, "a bool is needed here, not a string", None),
        ("[1].exists_one(x, null)", 1, 19, "a bool is needed here, not a null", None),
        ("request.path.all(x, true)", 1, 1, "all() goes over a list or a map, not over a string", None),
        ("source.port.map(x, x)", 1, 1, "map() goes over a list or a map, not over an int", None),
        ("request.path.x", 1, 14, "a string has no field 'x'", None),
        ("request.path.?x", 1, 15, "a string has no field 'x'", None),
        ("[1].x", 1, 5, "a list has no field 'x'", None),
        ("[1].map(x, x.y)", 1, 14, "an int has no field 'y'", None),
        ("[request.path].all(x, x.y == 1)", 1, 25, "a string has no field 'y'", None),
        ("request.path[0]", 1, 1, "a string cannot be indexed", None),
        ("1u[0]", 1, 1, "a uint cannot be indexed", None),
        ("[1]['a']", 1, 5, "a list is indexed by an int, not by a string", None),
        ("'a' in 'abc'", 1, 8, "'in' wants a list or a map on its right, not a string", None),
        ("request.path in [1]", 1, 1, "a string is never in a list of int", None),
        ("1 in source.subjectAltNames", 1, 1, "an int is never in a list of string", None),
        ("[?1]", 1, 3, "an optional is needed after '?', not an int", None),
        ("{?'a': 1}", 1, 8, "an optional is needed after '?', not an int", None),
        ("{1.5: 1}", 1, 2, "a map key is a bool, int, uint or string, not a double", None),
        ("{[1]: 1}", 1, None, "a map key is a bool, int, uint or string, not a list", None),
        ("{'a': 1, 'b': 2, 'a': 3}", 1, 18, "the key stands twice in one map", None),
        ("{1: 1, 1u: 2}", 1, 8, "the key stands twice in one map", None),
        ("{true: 1, true: 2}", 1, 11, "the key stands twice in one map", None),
        ("request.path.matches('(')", 1, 22, "not an RE2 pattern: missing ): (", None),
        ("matches(request.path, '(?=a)')", 1, 23, "not an RE2 pattern: invalid perl operator: (?=", None),
        ("jwt.sub.matches('[')", 1, 17, "not an RE2 pattern: missing ]: [", None),
        # An error is one of the whole, wherever it stands.
        ("true || request.path == 5", 1, 9, "a string never equals an int", None),
        ("default(jwt.sub, request.path == 5)", 1, 18, "a string never equals an int", None),
        ("[].all(x, requst == 1)", 1, 11, "unknown variable 'requst'", "did you mean 'request'?"),
    ],
)
@pytest.mark.parametrize("strict_headers", [True, False])
def test_what_cannot_be_is_refused_at_load_at_its_place(  # noqa: PLR0913  columns of the table
    text: str, line: int, column: int | None, message: str, hint: str | None, *, strict_headers: bool
) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text, strict_headers=strict_headers)

    error = caught.value
    assert error.message == message
    assert error.line == line
    assert column is None or error.column == column
    assert hint is None or error.hint == hint
    error.excerpt(text)


@pytest.mark.parametrize(
    "text",
    [
        "1 == 1.0",
        "1 == 1u",
        "1u < 1.5",
        "1 in [1.0, 2u]",
        "jwt == 5",
        "jwt.sub == 5",
        "request.headers.a == 5",
        "dyn(1) == 'a'",
        "[1, 'a'] == [2]",
        "request.path in ['a', 1]",
        "{true: 1, 1: 2} == {}",
        "[dyn(1)].all(x, x)",
        "source.identity == null",
        "(true ? 1 : 'a') == 'a'",
        "optional.of(1) == optional.of('a')",
        "type(1) == int && type('a') == string && type(null) == null_type",
        "request.headers.all(name, name != '')",
    ],
)
def test_what_may_be_is_left_to_the_request(text: str) -> None:
    compile_expression(text)


# What an operator writes is never code


NASTY = [
    '"',
    "'",
    "\\",
    '"""',
    "'''",
    "{}",
    "{0}",
    "{r}",
    "{{",
    "%s",
    "\n",
    "\r\n    raise SystemExit",
    "\u2028",
    "\x00",
    "\ufeff",
    "__import__('os').system('true')",
    '") or __import__("os") or ("',
    "'); fail('x'); ('",
    "\\'); fail('x') #",
    "\\N{BULLET}",
    "# comment",
    "\U0001f600",
]


@pytest.mark.parametrize("text", NASTY)
def test_a_nasty_string_is_a_string(text: str) -> None:
    written = literal(text)

    assert value(written) == text
    assert value(f"[{written}, {written}]") == [text, text]
    assert value(f"{{{written}: {written}}}") == {text: text}
    assert value(f"{written} in [{written}, 'other']") is True
    assert value(f"{written} + 'x' + {written}") == f"{text}x{text}"
    assert value(f"cel.bind(x, {written}, x.contains({written}) && x == {written})") is True
    assert value(f"default(jwt.sub, {written})") == text
    assert value(f"coalesce(null, {written})") == text
    assert value(f"{{{written}: 7}}[{written}]") == 7
    assert value(f"request.headers[?{written}].orValue({written})") == text
    assert value(f"jwt == null ? {written} : {written}") == text
    assert value(f"['a'].map(x, x + {written})") == [f"a{text}"]
    with pytest.raises(EvaluationError, match="no such header"):
        value(f"request.headers[{written}] == 'a'")
    with pytest.raises(ExpressionError, match="unknown field of request"):
        value(f"request[{written}]")


def shape(source: str) -> tuple[str, list[Any]]:
    """Return the Python tree of a source with its strings taken out, and them."""
    tree = ast.parse(source)
    strings = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            strings.append(node.value)
            node.value = ""
    return ast.dump(tree), strings


@given(st.text(max_size=40) | st.sampled_from(NASTY))
def test_any_string_constant_is_one_constant_of_the_code(text: str) -> None:
    template = "[{0}, request.path + {0}, {{{0}: request.headers[{0}]}}, default(jwt.a, {0}), request.host == {0}]"
    expected, _ = shape(source_of(template.format('"plain"')))

    found, strings = shape(source_of(template.format(literal(text))))

    assert found == expected
    assert strings.count(text) >= 4
    assert value(literal(text)) == text
    assert value(f"{literal(text)} == request.path") is (text == "/zen")


@given(st.binary(max_size=40))
def test_any_bytes_constant_round_trips(content: bytes) -> None:
    assert value(literal(content)) == content
    assert value(f"{literal(content)} == {literal(content)}") is True


@given(st.from_regex(r"[a-zA-Z0-9_./ -]+", fullmatch=True))
def test_any_quoted_field_is_a_string_of_the_code(name: str) -> None:
    assert value(f"{{{literal(name)}: 7}}.`{name}`") == 7
    assert value(f"has({{{literal(name)}: 7}}.`{name}`)") is True
    assert value(f"{{{literal(name)}: 7}}.?`{name}`.orValue(1)") == 7


NAMES = st.from_regex(r"[_a-zA-Z][_a-zA-Z0-9]{0,9}", fullmatch=True).filter(
    lambda name: name not in RESERVED | {"true", "false", "null"}
)
OF_PYTHON = ["__import__", "__builtins__", "r", "t1", "v1", "k1", "e1", "fail", "len", "list", "dict", "type"]
OF_PYTHON += ["None", "True", "lambda", "class", "def", "EvaluationError", "caught", "expression", "elements", "equal"]


@given(NAMES | st.sampled_from(OF_PYTHON))
def test_a_variable_of_an_expression_never_reaches_the_code(name: str) -> None:
    texts = [
        "[1, 2].map({0}, {0} + 1)",
        "[1, 2].map({0}, [3].map(other, {0} + other))",
        "[1].exists({0}, {0} == 2 || 1 / {0} == 1)",
        "cel.bind({0}, request.path, {0} + {0})",
        "{{'k': 1}}.transformMap({0}, other, {0} + 'x')",
        "optional.of(1).optMap({0}, {0} + 1).value()",
        "[2, 1].sortBy({0}, -{0})",
        "[1].filter({0}, {0} == 1).size() + size(request.path)",
    ]
    if name == "other":
        return
    for text in texts:
        assert source_of(text.format(name)) == source_of(text.format("innocent"))
        assert value(text.format(name)) == value(text.format("innocent"))


@pytest.mark.parametrize("strict_headers", [True, False])
@pytest.mark.parametrize("text", ["true", '[1].all(x, x in [1]) && request.headers.a.matches("1")', "uuid()"])
def test_generated_code_can_name_nothing_of_python_but_five_functions(text: str, *, strict_headers: bool) -> None:
    function = compile_expression(text, strict_headers=strict_headers).function
    names = function.__globals__
    runtime = (STRICT if strict_headers else LENIENT).runtime

    assert names["__builtins__"] == {name: getattr(builtins, name) for name in ("abs", "dict", "len", "list", "type")}
    others = {name for name in names if not (name.startswith("k") and name[1:].isdigit())}
    assert others == {"__builtins__", "expression", *RUNTIME, *runtime}
    assert function.__closure__ is None
    assert function.__defaults__ is None


def test_two_expressions_share_no_namespace() -> None:
    first, second = (compile_expression(text).function for text in ('"a".matches("a")', '"b".matches("b")'))

    assert first.__globals__ is not second.__globals__
    assert (first(None), second(None)) == (True, True)


# Errors


FAILS = "(1 / 0 == 1)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("E || true", True),
        ("true || E", True),
        ("E || E || true || E", True),
        ("E || request.path == '/zen'", True),
        ("request.path == '/zen' || E", True),
        ("E || jwt.a == 1 || true", True),
        ("E || false", None),
        ("false || E", None),
        ("E || E", None),
        ("E && false", False),
        ("false && E", False),
        ("E && E && false && E", False),
        ("E && request.path == '/a'", False),
        ("E && true", None),
        ("true && E", None),
        ("!(E)", None),
        ("!(E && false)", True),
        ("!(E || true)", False),
        ("(E && false) || true", True),
        ("(E || true) && (E && false)", False),
        ("(E && true) || true", True),
        ("(E || false) && false", False),
        ("cel.bind(x, E, true) || true", True),
        ("cel.bind(x, E, true) && false", False),
        ("cel.bind(x, E, true)", None),
        ("dyn(1) || true", True),
        ("true || dyn(1)", True),
        ("dyn(1) && false", False),
        ("dyn(1) || false", None),
        ("[1].map(x, 1 / 0) == [1] || true", True),
        ("{dyn('a'): 1, 'a': 2} == {} || true", True),
        ("[dyn(1)].exists(v, [?v] == [1] || 1 / v == 1)", True),
        ("[dyn(1)].exists(v, {?'a': v} == {} || 1 / v == 1)", True),
        ("{1.5: 1}.a == 1 || true", "load"),
        ("source.identity.namespace == 'b' && E", False),
        ("request.headers.missing == 'a' || request.headers.a == '1'", True),
        ("request.headers.a == '1' || request.headers.missing == 'a'", True),
        ("request.headers.missing == 'a' && request.headers.a == '2'", False),
        ("request.headers.missing == 'a' && request.headers.a == '1'", None),
        # Only the chosen branch counts.
        ("true ? true : E", True),
        ("false ? E : true", True),
        ("true ? E : true", None),
        ("E ? true : true", None),
        ("(E ? true : true) || true", True),
        ("request.path == '/zen' ? true : [1].map(x, 1 / 0) == []", True),
        ("request.path != '/zen' ? [1].map(x, 1 / 0) == [] : true", True),
        # One element that decides outweighs the errors of the others.
        ("[0, 1].exists(x, 1 / x == 1)", True),
        ("[1, 0].exists(x, 1 / x == 1)", True),
        ("[0, 2].exists(x, 1 / x == 1)", None),
        ("[2, 0].exists(x, 1 / x == 1)", None),
        ("[0, 2].all(x, 1 / x == 1)", False),
        ("[2, 0].all(x, 1 / x == 1)", False),
        ("[0, 1].all(x, 1 / x == 1)", None),
        ("[1, 0].all(x, 1 / x == 1)", None),
        ("[0, 1].exists(i, x, 1 / x == 1)", True),
        ("[0, 1].all(i, x, 1 / x == 1)", None),
        ("{'a': 0, 'b': 1}.exists(k, v, 1 / v == 1)", True),
        ("[dyn(1), true].exists(x, x)", True),
        ("[dyn(1), false].all(x, x)", False),
        ("[[0], [1]].exists(x, x.all(y, 1 / y == 1))", True),
        ("[[0, 2], [1]].all(x, x.all(y, 1 / y == 1))", False),
        ("[].exists(x, E)", False),
        ("[].all(x, E)", True),
        ("dyn(1).exists(x, true) || true", True),
        # Of these any error is one of the whole.
        ("[0, 1].exists_one(x, 1 / x == 1)", None),
        ("[1, 0].exists_one(x, 1 / x == 1)", None),
        ("[0, 1].filter(x, 1 / x == 1) == []", None),
        ("[0, 1].map(x, 1 / x) == []", None),
        ("[0, 1].map(x, x == 1, 1 / x) == [1]", True),
    ],
)
def test_errors_are_absorbed_where_the_rest_decides(text: str, expected: bool | str | None) -> None:  # noqa: FBT001  a column
    text = text.replace("E", FAILS)
    if expected == "load":
        with pytest.raises(ExpressionError):
            compile_expression(text)
    elif expected is None:
        with pytest.raises(EvaluationError):
            value(text)
    else:
        assert value(text) is expected


TERMS = {
    "true": True,
    "false": False,
    "(1 / 0 == 1)": None,
    "(jwt.sub == 'a')": None,
    "(request.path == '/zen')": True,
    "(request.path == '/a')": False,
    "[0, 1].exists(x, 1 / x == 1)": True,
    "[0, 1].all(x, 1 / x == 1)": None,
    "cel.bind(x, 1 / 0, true)": None,
    "(request.headers.a == '1')": True,
    "(request.headers.c == '1')": None,
    "dyn(false)": False,
    "dyn(1)": None,
    "default(jwt.sub, true)": True,
}
TREES = st.recursive(
    st.sampled_from(list(TERMS.items())),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["&&", "||"]), st.lists(inner, min_size=2, max_size=4)).map(
            lambda drawn: combined(*drawn)
        ),
        inner.map(lambda term: (f"!({term[0]})", None if term[1] is None else not term[1])),
        st.tuples(inner, inner, inner).map(
            lambda terms: (
                f"({terms[0][0]} ? {terms[1][0]} : {terms[2][0]})",
                None if terms[0][1] is None else terms[1][1] if terms[0][1] else terms[2][1],
            )
        ),
    ),
    max_leaves=8,
)


def combined(operator: str, terms: list[tuple[str, bool | None]]) -> tuple[str, bool | None]:
    decisive = operator == "||"
    results = [result for _, result in terms]
    known = decisive if decisive in results else None if None in results else not decisive
    return f"({f' {operator} '.join(text for text, _ in terms)})", known


@given(TREES)
def test_logic_has_three_values(tree: tuple[str, bool | None]) -> None:
    text, expected = tree
    text = f"{text} && true"  # a bare dyn term becomes a bool or an error
    if expected is None:
        with pytest.raises(EvaluationError):
            value(text)
    else:
        assert value(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # `default`: null and what is not there.
        ("default(1, 2)", 1),
        ("default(null, 2)", 2),
        ("default(false, true)", False),
        ('default("", "a")', ""),
        ("default(jwt, 2)", 2),
        ("default(jwt.sub, 2)", 2),
        ("default(jwt.sub.name, 2)", 2),
        ("default(request.headers.missing, 'a')", "a"),
        ("default(request.headers['missing'], 'a')", "a"),
        ("default(request.headers.a, 'b')", "1"),
        ("default({'a': 1}.b, 2)", 2),
        ("default({'a': 1}['b'], 2)", 2),
        ("default([1][5], 2)", 2),
        ("default(source.identity.namespace, 'none')", "team-a"),
        ("default(jwt.sub, default(jwt.name, 3))", 3),
        ("default(jwt.sub == 'a', false)", False),
        ("default(jwt.sub, null)", None),
        ("default(1, 1 / 0)", 1),
        ("default([1, 2].map(x, jwt.sub), 4)", 4),
        # Any other error stays one.
        ("default(1 / 0, 2)", EvaluationError),
        ("default(int('x'), 2)", EvaluationError),
        ("default(dyn(1).a, 2)", EvaluationError),
        ("default(fail(), 2)", EvaluationError),
        ("default(9223372036854775807 + source.port + 1, 2)", EvaluationError),
        ("default(null, 1 / 0)", EvaluationError),
        ("default(jwt.sub, jwt.name)", EvaluationError),
        # `coalesce`: the first that is neither null nor an error.
        ("coalesce(1)", 1),
        ("coalesce(null, 2)", 2),
        ("coalesce(1 / 0, 2)", 2),
        ("coalesce(1 / 0, null, 3, 4)", 3),
        ("coalesce(1, 1 / 0)", 1),
        ("coalesce(false, true)", False),
        ("coalesce(jwt.sub, request.headers.missing, request.headers.a)", "1"),
        ("coalesce([0].map(x, 1 / x), 5)", 5),
        # None of them: null if there was one, else the last error.
        ("coalesce(null)", None),
        ("coalesce(1 / 0, null)", None),
        ("coalesce(null, 1 / 0)", None),
        ("coalesce(1 / 0)", EvaluationError),
        ("coalesce(1 / 0, int('x'))", EvaluationError),
        ("coalesce(1 / 0, coalesce(2 / 0, 3))", 3),
    ],
)
def test_default_and_coalesce_stand_in(text: str, expected: Any) -> None:
    if expected is EvaluationError:
        with pytest.raises(EvaluationError):
            value(text)
        with pytest.raises(EvaluationError):
            value(f"{text} == 1 || false")
        assert value(f"{text} == 1 || true") is True
    else:
        assert value(text) == expected
        assert type(value(text)) is type(expected)


def test_the_last_error_is_the_one_of_coalesce() -> None:
    with pytest.raises(EvaluationError, match="not an int"):
        value("coalesce(1 / 0, int('x'))")
    with pytest.raises(EvaluationError, match="division by zero"):
        value("coalesce(int('x'), 1 / 0)")


# Macros


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[1, 2].map(x, x * 10)", [10, 20]),
        ("[1, 2].map(x, x > 1, x * 10)", [20]),
        ("{'a': 1}.map(k, k)", ["a"]),
        ("{true: 1}.map(k, k)", [True]),
        ("[].map(x, x)", []),
        ("[1, 2].filter(x, x > 1)", [2]),
        ("{'a': 1, 'b': 2}.filter(k, k != 'a')", ["b"]),
        ("[1, 2, 2].exists_one(x, x == 2)", False),
        ("[1, 2].existsOne(x, x == 2)", True),
        ("{'a': 1}.exists(k, k == 'a')", True),
        ("{'a': 1}.all(k, k == 'b')", False),
        # Two variables: index and element, key and value.
        ("[5, 6].all(i, v, v == i + 5)", True),
        ("[5, 6].exists(i, v, i == 1 && v == 6)", True),
        ("[5, 6].exists_one(i, v, i < 2)", False),
        ("[5, 6].existsOne(i, v, i == v - 5 && i == 0)", True),
        ("{'a': 1, 'b': 2}.all(k, v, k == 'a' || v == 2)", True),
        ("{true: 1}.exists(k, v, k && v == 1)", True),
        ("[5, 6].transformList(i, v, i * v)", [0, 6]),
        ("[5, 6].transformList(i, v, i > 0, v)", [6]),
        ("{'a': 1}.transformList(k, v, k + string(v))", ["a1"]),
        ("[5, 6].transformMap(i, v, v * 2)", {0: 10, 1: 12}),
        ("{'a': 1, 'b': 2}.transformMap(k, v, v > 1, k)", {"b": "b"}),
        ("{true: 1}.transformMap(k, v, v + 1)", {True: 2}),
        ("{'a': 1, 'b': 2}.transformMapEntry(k, v, {v: k})", {1: "a", 2: "b"}),
        ("{'a': 1, 'b': 2}.transformMapEntry(k, v, v > 1, {v: k})", {2: "b"}),
        ("['x'].transformMapEntry(i, v, {v: i})", {"x": 0}),
        # What AgentGateway adds.
        ("{'a': 1, 'b': 2}.mapValues(v, v * 10)", {"a": 10, "b": 20}),
        ("{'a': 1, 'b': 2}.filterKeys(k, k == 'b')", {"b": 2}),
        ("request.headers.mapValues(v, v + '!')", {"a": "1!", "b": "2!"}),
        ("request.headers.filterKeys(k, k.startsWith('a'))", {"a": "1"}),
        ("'abc'.with(x, x + x)", "abcabc"),
        ("request.path.with(p, p.startsWith('/') ? p.size() : 0)", 4),
        ("(1 + 1).with(x, x * x)", 4),
        # Lists and bindings.
        ("[3, 1, 2].sortBy(x, x)", [1, 2, 3]),
        ("[3, 1, 2].sortBy(x, -x)", [3, 2, 1]),
        ("['bb', 'a'].sortBy(x, size(x))", ["a", "bb"]),
        ("[[2, 1], [3]].sortBy(x, x.sortBy(y, y)[0])", [[2, 1], [3]]),
        ("[].sortBy(x, x)", []),
        ("cel.bind(x, 1 + 1, x * x)", 4),
        ("cel.bind(x, 1, cel.bind(x, x + 1, x))", 2),
        ("cel.bind(x, 1, cel.bind(y, x + 1, [x, y]))", [1, 2]),
        ("cel.bind(request, 1, request)", 1),
        ("cel.bind(request, 1, .request.path)", "/zen"),
        ("cel.bind(s, source, s.identity.namespace)", "team-a"),
        # Optionals.
        ("optional.of(1).optMap(x, x + 1).value()", 2),
        ("optional.of(1).optMap(x, x + 1).hasValue()", True),
        ("optional.none().optMap(x, x + 1).hasValue()", False),
        ("optional.none().optMap(x, 1 / 0).hasValue()", False),
        ("optional.of(2).optFlatMap(x, optional.of(x * 2)).value()", 4),
        ("optional.of(2).optFlatMap(x, optional.none()).hasValue()", False),
        ("optional.of(1).optMap(x, optional.of(2).optMap(y, x + y).value()).value()", 3),
        ("optional.of(optional.of(1)).optFlatMap(x, x.optMap(x, x + 1)).value()", 2),
        ("request.headers[?'a'].optMap(a, a + '!').orValue('none')", "1!"),
        ("request.headers.?missing.optMap(a, a + '!').orValue('none')", "none"),
        ("{'a': {'b': 1}}.?a.b.orValue(2)", 1),
        ("{'a': {'b': 1}}.?a.c.orValue(2)", 2),
        ("{'a': [5]}.?a[?0].orValue(2)", 5),
        ("{'a': [5]}[?'b'][0].orValue(2)", 2),
        ("[1][?5].orValue(2)", 2),
        ("[?optional.of(1), ?optional.none(), 3]", [1, 3]),
        ("{?'a': optional.of(1), ?'b': optional.none(), 'c': 3}", {"a": 1, "c": 3}),
        ("has({'a': 1}.a) && !has({'a': 1}.b)", True),
        # Variables hide those outside, and their end is the end of the macro.
        ("[1].map(x, [2].map(x, x) + [x])", [[2, 1]]),
        ("[1, 2].map(x, [3].map(y, x + y)[0])", [4, 5]),
        ("[1].map(request, request)", [1]),
        ("[1].map(request, .request.path)", ["/zen"]),
        ("[1].map(x, x).map(y, y) + [1].map(x, x)", [1, 1]),
        ("['a'].map(math, math + 'b')", ["ab"]),
        ("[1].map(x, math.abs(-x))", [1]),
    ],
)
def test_a_macro_binds_its_variables(text: str, expected: Any) -> None:
    found = value(text)

    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    "text",
    [
        "['a', 'a'].transformMapEntry(i, v, {v: i})",
        "[1].transformMapEntry(i, v, dyn(v))",
        "{'a': 1}.transformMap(k, v, 1 / 0)",
        "[dyn(1), 'a'].sortBy(x, x)",
        "jwt.mapValues(v, v)",
        "optional.none().value()",
        "cel.bind(x, 1 / 0, 1)",
        "dyn(1).with(x, x.a)",
        "[1].map(math, math.abs(-1))",
        "dyn(1).optMap(x, x)",
        "{'a': 1}.sortBy(k, k)",
    ],
)
def test_a_macro_fails_where_its_values_do_not_fit(text: str) -> None:
    with pytest.raises((EvaluationError, ExpressionError)):
        value(text)


def test_a_bound_value_is_computed_once() -> None:
    assert value("cel.bind(x, uuid(), x == x)") is True
    assert value("uuid().with(x, x == x)") is True
    assert value("optional.of(uuid()).optMap(x, x == x).value()") is True
    assert value("uuid() == uuid()") is False
    assert value("[uuid(), uuid()].sortBy(x, x).size()") == 2


def test_code_of_another_environment_reads_its_fields() -> None:
    inner = Record("a.b", {"c": Field("int", "{0}['c']")}, nullable=True)
    environment = Environment(
        {
            "a": Field("record", "{0}", Record("a", {"b": Field("record", "{0}['b']", inner)})),
            "dotted.name": Field("string", "join({0})"),
        },
        {"join": lambda r: "".join(sorted(r))},
    )

    def run(text: str, attributes: Any) -> Any:
        return compile_with(Generator(environment), parse(text))[0](attributes)

    assert run("a.b.c + 1", {"b": {"c": 1}}) == 2
    assert run("a", {"b": {"c": 1}}) == {"b": {"c": 1}}
    assert run("dotted.name", {"b": 1, "a": 1}) == "ab"
    assert run("has(a.b.c)", {"b": {"c": 1}}) is True
    assert run("a.b == null", {"b": None}) is True
    assert run("default(a.b.c, 3)", {"b": None}) == 3
    with pytest.raises(EvaluationError, match=r"a\.b is null"):
        run("a.b.c", {"b": None})
    with pytest.raises(ExpressionError, match="unknown field of a 'd'"):
        run("a.d", {})
