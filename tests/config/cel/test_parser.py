from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.cel import EvaluationError, ExpressionError, compile_expression, expression
from config.cel.ast import Call, Element, Entry, Index, ListLiteral, Literal, MapLiteral, Name, Position, Select
from config.cel.cost import MAX_COMPREHENSION_DEPTH, MAX_DEPTH, MAX_NODES
from config.cel.parser import MAX_EXPRESSION_CHARACTERS, RESERVED, parse
from config.cel.values import UInt
from tests.config.examples import literal

AT = Position()
A, B, ONE = Name(AT, "a"), Name(AT, "b"), Literal(AT, 1)


def refusal(text: str) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    return caught.value


def constant(text: str) -> Any:
    node = parse(text)
    assert isinstance(node, Literal), node
    return node.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("0", 0),
        ("42", 42),
        ("007", 7),
        ("-3", -3),
        ("0x1F", 31),
        ("0x1f", 31),
        ("-0x1f", -31),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("42u", UInt(42)),
        ("42U", UInt(42)),
        ("0xFFu", UInt(255)),
        ("18446744073709551615u", UInt(2**64 - 1)),
        ("1.5", 1.5),
        ("-1.5", -1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1E-3", 0.001),
        ("2.5e+2", 250.0),
        ('""', ""),
        ("''", ""),
        ('""""""', ""),
        ("''''''", ""),
        ('"it\'s"', "it's"),
        ("'a \"b\"'", 'a "b"'),
        ('"naïve 😀"', "naïve 😀"),
        ('"a # b // c"', "a # b // c"),
        # Escapes.
        (r'"\a\b\f\n\r\t\v"', "\a\b\f\n\r\t\v"),
        (r"""'\\\'\"\`\?'""", "\\'\"`?"),
        (r'"\x41\X41\x7f\xff"', "AA\x7f\xff"),
        (r'"\u0041\u00e9\u2028\uFFFF"', "A\xe9\u2028\uffff"),
        (r'"\U00000041\U0001F600\U0010FFFF"', "A😀\U0010ffff"),
        (r'"\101\000\377"', "A\0\xff"),
        (r'"\\n\\x41"', r"\n\x41"),
        (r'"\x411\u00412\1012"', "A1A2A2"),
        # Raw: a backslash is a backslash, also before the quote that ends the string.
        (r'r"\n\x41\q"', r"\n\x41\q"),
        (r"R'\d+'", r"\d+"),
        ('r"\\"', "\\"),
        ('r"""a\\"""', "a\\"),
        ("r'''a\nb\\n'''", "a\nb\\n"),
        # Triple quotes hold quotes and line ends.
        ('"""a "b" \'\'\' c"""', "a \"b\" ''' c"),
        ("'''a\nb\r\n\"\"\"'''", 'a\nb\r\n"""'),
        (r'"""a\"""b"""', 'a"""b'),
        ('"""\\x41"""', "A"),
        # Bytes: \x and octal escapes are bytes, what is written plainly is UTF-8.
        ('b""', b""),
        ('B"a"', b"a"),
        ('b"é"', "é".encode()),
        (r"b'\xff\X00\377\000'", b"\xff\x00\xff\x00"),
        (r"b'\n\\'", b"\n\\"),
        (r'br"\n"', rb"\n"),
        ('b"""a\n"b\\x01"""', b'a\n"b\x01'),
    ],
)
def test_a_literal_is_its_value(text: str, value: Any) -> None:
    found = constant(text)

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("9223372036854775808", "a number out of range"),
        ("-9223372036854775809", "a number out of range"),
        ("18446744073709551616u", "a number out of range"),
        ("0x10000000000000000", "a number out of range"),
        (r'"\q"', r"\q is no escape"),
        (r'"\x4"', r"\x is no escape"),
        (r'"\xg0"', r"\x is no escape"),
        (r'"\u12"', r"\u is no escape"),
        (r'"\U0001F60"', r"\U is no escape"),
        (r'"\8"', r"\8 is no escape"),
        (r'"\12"', r"\1 is no escape"),
        (r'"\400"', r"\4 is no escape"),
        (r'"\uD800"', "an escape that is no code point"),
        (r'"\U0000DFFF"', "an escape that is no code point"),
        (r'"\U00110000"', "an escape that is no code point"),
        (r'b"\u0041"', r"\u and \U have no meaning in bytes"),
        (r'b"\U00000041"', r"\u and \U have no meaning in bytes"),
        ('"""\\\n"""', "\\\n is no escape"),
    ],
)
def test_a_literal_that_has_no_value_is_refused_where_it_stands(text: str, message: str) -> None:
    error = refusal(f"a ==\n  {text}")

    assert (error.message, error.line, error.column) == (message, 2, 3)


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("", 1, 1),
        ("  ", 1, 3),
        ("a ==", 1, 5),
        ('"open', 1, 1),
        ("'a' '", 1, 5),
        ('"a\nb"', 1, 1),
        ("a &&\n&& b", 2, 1),
        ("(a", 1, 3),
        ("a)", 1, 2),
        ("rb'a'", 1, 3),
        ("`a`", 1, 1),
        ("a.``", 1, 3),
        ("a.`b'`", 1, 3),
        ("a[?b, c]", 1, 5),
        ("a = b", 1, 3),
        ("a;b", 1, 2),
        ("a.", 1, 3),
        ("1.exists(x, x)", 1, 3),
    ],
)
def test_a_syntax_error_has_its_place(text: str, line: int, column: int) -> None:
    error = refusal(text)

    assert (error.line, error.column) == (line, column)
    error.excerpt(text)


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [("", 1, 1), ("a ==", 1, 5), ("a &&\n (b || ", 2, 8), ("f(", 1, 3), ("[1,\n", 2, 1), ("'\u2028' == ", 1, 8)],
)
def test_an_expression_that_ends_too_early_says_so_at_its_end(text: str, line: int, column: int) -> None:
    error = refusal(text)

    assert (error.message, error.line, error.column) == ("the expression ends too early", line, column)


@pytest.mark.parametrize("text", ["9" * 5000, "9" * 5000 + "u", "0x" + "9" * 5000, "-" + "1" * 5000, "0" * 65])
def test_a_number_of_too_many_digits_is_out_of_range(text: str) -> None:
    assert refusal(text).message == "a number out of range"


def test_a_message_value_is_refused() -> None:
    assert "message values" in refusal("a.B{c: 1}").message


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("a.?b", Select(AT, A, "b", optional=True)),
        ("a.?b.c", Select(AT, Select(AT, A, "b", optional=True), "c")),
        ("a[?b]", Index(AT, A, B, optional=True)),
        ("a[b]", Index(AT, A, B)),
        ("[?a, b]", ListLiteral(AT, (Element(AT, A, optional=True), Element(AT, B)))),
        ("[a, ?b,]", ListLiteral(AT, (Element(AT, A), Element(AT, B, optional=True)))),
        ("[]", ListLiteral(AT, ())),
        ("{}", MapLiteral(AT, ())),
        ("{?a: b, 1: 1,}", MapLiteral(AT, (Entry(AT, A, B, optional=True), Entry(AT, ONE, ONE)))),
        ("a ? b : 1", Call(AT, "_?_:_", (A, B, ONE))),
        # Quoted fields.
        ("a.`b`", Select(AT, A, "b")),
        ("a.`x-b c.d/e_1`", Select(AT, A, "x-b c.d/e_1")),
        ("a.?`x-b`", Select(AT, A, "x-b", optional=True)),
        ("a.`in`", Select(AT, A, "in")),
        ("has(a.`x-b`)", Select(AT, A, "x-b", test=True)),
        # Roots.
        (".a", Name(AT, "a", rooted=True)),
        # What stands for a word only where a word may stand.
        ("a.true", None),
        ("a.trueish", Select(AT, A, "trueish")),
    ],
)
def test_the_syntax_gives_its_tree(text: str, node: Any) -> None:
    if node is None:
        refusal(text)
    else:
        assert parse(text) == node


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("a || b && c", "a || (b && c)"),
        ("a && b == c", "a && (b == c)"),
        ("!a == b", "(!a) == b"),
        ("a + b * c - d", "(a + (b * c)) - d"),
        ("a - b - c", "(a - b) - c"),
        ("a < b == c", "(a < b) == c"),
        ("a ? b : c ? d : e", "a ? b : (c ? d : e)"),
        ("a || b ? c : d", "(a || b) ? c : d"),
        ("a in b && c", "(a in b) && c"),
        ("-a.b[c]", "-((a.b)[c])"),
        ("a // a comment\n && b", "a && b"),
        ("a\t&&\r\nb", "a && b"),
    ],
)
def test_operators_bind_as_in_the_specification(text: str, same: str) -> None:
    assert parse(text) == parse(same)


@pytest.mark.parametrize("function", ["&&", "||"])
def test_a_chain_is_one_call_and_its_terms_know_their_text(function: str) -> None:
    text = f"a {function} (b{function}c)  {function} x.y == 1"
    tree = parse(text)

    assert isinstance(tree, Call)
    assert len(tree.arguments) == 3
    assert [text[slice(*(term.position.span or ()))].strip() for term in tree.arguments] == [
        "a",
        f"(b{function}c)",
        "x.y == 1",
    ]


@pytest.mark.parametrize("word", sorted(RESERVED - {"in"}))
def test_a_reserved_word_names_no_variable_but_may_name_a_field(word: str) -> None:
    error = refusal(f"a ==\n {word}")

    assert (error.message, error.line, error.column) == (f"{word!r} is a reserved word", 2, 2)
    assert refusal(f"[1].all({word}, true)").message == f"{word!r} is a reserved word"
    assert parse(f"a.{word}") == Select(AT, A, word)


def test_in_is_an_operator_wherever_no_field_is_named() -> None:
    refusal("in")
    refusal("in == 1")
    assert parse("a.in") == Select(AT, A, "in")


# Limits


def test_an_expression_has_a_greatest_length() -> None:
    text = "1".ljust(MAX_EXPRESSION_CHARACTERS)

    assert parse(text) == ONE
    error = refusal(text + " ")
    assert (error.message, error.line, error.column) == (f"longer than {MAX_EXPRESSION_CHARACTERS} characters", 1, 1)


@pytest.mark.parametrize(
    ("within", "beyond"),
    [
        ("!" * (MAX_DEPTH - 1) + "true", "!" * MAX_DEPTH + "true"),
        ("a" + ".b" * (MAX_DEPTH - 1), "a" + ".b" * MAX_DEPTH),
        ("a" + "[0]" * (MAX_DEPTH - 1), "a" + "[0]" * MAX_DEPTH),
        ("1" + " + 1" * (MAX_DEPTH - 1), "1" + " + 1" * MAX_DEPTH),
        # A list and its element are two levels.
        ("[" * (MAX_DEPTH // 2) + "]" * (MAX_DEPTH // 2), "[" * (MAX_DEPTH // 2 + 1) + "]" * (MAX_DEPTH // 2 + 1)),
        ("a" + ".f()" * (MAX_DEPTH - 1), "a" + ".f()" * MAX_DEPTH),
    ],
)
def test_an_expression_has_a_greatest_depth(within: str, beyond: str) -> None:
    parse(within)
    error = refusal(f"true &&\n{beyond}")

    assert error.message == f"nested more than {MAX_DEPTH} levels deep"
    assert error.line == 2
    assert error.column >= 1


def test_the_place_of_a_depth_is_where_it_is_too_deep() -> None:
    error = refusal("!" * MAX_DEPTH + "true")

    assert (error.line, error.column) == (1, MAX_DEPTH + 1)


def test_parentheses_and_chains_are_no_depth() -> None:
    parse("(" * 40 + "1" + ")" * 40)
    assert len(list(parse(" && ".join(["a"] * 500)).children())) == 500
    assert len(list(parse(" || ".join(["a"] * 500)).children())) == 500


def test_an_expression_has_a_greatest_number_of_terms() -> None:
    # A list is one term, each of its elements two.
    count = (MAX_NODES - 1) // 2

    parse(f"[{', '.join(['1'] * count)}]")
    error = refusal(f"[{', '.join(['1'] * (count + 1))}]")
    assert (error.message, error.line) == (f"more than {MAX_NODES} terms", 1)
    assert error.column >= 1


def nested(depth: int) -> str:
    text = "1"
    for _ in range(depth):
        text = f"[1].map(x, {text})"
    return text


def test_comprehensions_have_a_greatest_nesting() -> None:
    parse(nested(MAX_COMPREHENSION_DEPTH))
    error = refusal(nested(MAX_COMPREHENSION_DEPTH + 1))

    assert error.message == f"more than {MAX_COMPREHENSION_DEPTH} comprehensions within each other"
    assert (error.line, error.column) == (1, len("[1].map(x, ") * MAX_COMPREHENSION_DEPTH + len("[1].") + 1)


@pytest.mark.parametrize("macro", ["all(x, {})", "exists(x, {})", "filter(x, {})", "transformMap(k, v, {})"])
def test_every_comprehension_counts(macro: str) -> None:
    text = "true"
    for _ in range(MAX_COMPREHENSION_DEPTH + 1):
        text = f"[1].{macro.format(text)}"

    assert "comprehensions within each other" in refusal(text).message


def test_one_comprehension_after_the_other_is_no_nesting() -> None:
    parse("[1]" + ".map(x, x)" * (2 * MAX_COMPREHENSION_DEPTH))


def test_generated_code_has_a_greatest_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expression, "MAX_SOURCE_CHARACTERS", 1000)

    compile_expression('request.path == "a"')
    with pytest.raises(ExpressionError, match="the expression is too large") as caught:
        compile_expression(" || ".join(f'request.headers.x{index} == "a"' for index in range(30)))
    assert (caught.value.line, caught.value.column) == (1, 1)


# Properties


@given(st.text(max_size=30))
def test_a_string_reads_back_from_any_way_to_write_it(text: str) -> None:
    assert constant(literal(text)) == text
    assert constant('"' + "".join(f"\\u{ord(c):04X}" if ord(c) < 2**16 else c for c in text) + '"') == text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "\\r").replace("\n", "\\n")
    assert constant(f'"{escaped}"') == text
    if "'''" not in text and not text.endswith("'"):
        assert constant(f"r'''{text}'''") == text


@given(st.binary(max_size=30))
def test_bytes_read_back(value: bytes) -> None:
    assert constant(literal(value)) == value
    assert constant("b'" + "".join(f"\\{byte:03o}" for byte in value) + "'") == value


@given(st.integers(-(2**64), 2**65))
def test_an_integer_is_its_value_or_refused(number: int) -> None:
    for text in (str(number), f"{'-' * (number < 0)}0x{abs(number):x}"):
        if -(2**63) <= number < 2**63:
            assert constant(text) == number
        else:
            refusal(text)
    if 0 <= number < 2**64:
        assert constant(f"{number}u") == number


@given(st.text(alphabet="a1.?[]{}()`\"'\\ \n+-!&|=<>:,xinru#/", max_size=24))
def test_any_text_parses_or_is_refused_at_a_place(text: str) -> None:
    error = None
    try:
        parse(text)
    except ExpressionError as refused:
        error = refused
    if error is not None:
        assert min(error.line, error.column) >= 1
        assert error.excerpt(text).endswith("^")


@given(st.text(alphabet="request.path[]()\"'\\ &|=!?:{}+1", max_size=24))
def test_any_text_compiles_or_is_refused(text: str) -> None:
    try:
        compile_expression(text).evaluate(None)  # type: ignore[arg-type]
    except (ExpressionError, EvaluationError):
        return
