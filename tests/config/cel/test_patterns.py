import contextlib
import random
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.cel import ExpressionError, compile_expression
from config.cel.errors import EvaluationError
from config.cel.overloads import LIBRARY
from config.cel.patterns import MAX_TOTAL_WORK, replace_first, searcher
from config.cel.values import NONE, Optional
from tests.config.examples import request


def call(name: str, *arguments: Any) -> Any:
    return LIBRARY.dispatcher(name, is_method=False)(*arguments)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("hello world hello", "hello", "hi"), "hi world hi"),
        (("banana", "a", "x", 0), "banana"),
        (("banana", "a", "x", 1), "bxnana"),
        (("banana", "a", "x", 2), "bxnxna"),
        (("banana", "a", "x", -12), "bxnxnx"),
        (("foo bar", "(fo)o (ba)r", r"\2 \1"), "ba fo"),
        (("foo", "o", r"\\\0"), r"f\o\o"),
        (("abc", "", "-"), "-a-b-c-"),
        (("baaac", "a*", "x"), "xbxcx"),
        (("a©b", "©", "é"), "aéb"),
        (("xy", "(a)?x", r"[\1]"), "[]y"),
        (("none", "z", r"\9"), "none"),
    ],
)
def test_all_matches_are_replaced(arguments: tuple[Any, ...], expected: str) -> None:
    assert call("regex.replace", *arguments) == expected


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("regex.replace", ("test", "(.)", r"\2")),
        ("regex.replace", ("test", "(", "x")),
        ("regex.replace", ("id=123", r"id=(?P<value>\d+)", r"value: \values")),
        ("regex.replace", ("test", ".", "\\")),
        ("regex.replace", ("test", ".", "\\٣")),
        ("regex.replace", ("x" * 2048, "x", "y" * 1024)),
        ("regex.replace", ("x" * 600_000, "(x+)", r"\1\1")),
        ("regex.replace", ("\ud800", "x", "y")),
        ("regex.replace", ("x", "\ud800", "y")),
        ("regex.extract", ("a@b", "(.*)@([^.]*)")),
        ("regex.extractAll", ("a@b", "(.*)@([^.]*)")),
        ("regex.extractAll", ("a" * 1_001, "a")),
        ("regex.extract", ("a", "(?<=b)a")),
        ("regexReplace", ("a", "(", "b")),
        ("regexReplace", ("x" * 600_000, "(x+)", "$1$1")),
    ],
)
def test_a_bad_pattern_or_replacement_is_an_error(name: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(EvaluationError):
        call(name, *arguments)


@pytest.mark.parametrize(
    ("text", "pattern", "expected"),
    [
        ("hello world", "hello(.*)", " world"),
        ("item-A, item-B", r"item-(\w+)", "A"),
        ("HELLO", "hello", None),
        ("hello", "l+", "ll"),
        ("hello", "(x)?h", None),
        ("hello", "", ""),
    ],
)
def test_the_first_match_or_its_group_is_extracted(text: str, pattern: str, expected: str | None) -> None:
    wanted = NONE if expected is None else Optional(present=True, content=expected)

    assert call("regex.extract", text, pattern) == wanted


@pytest.mark.parametrize(
    ("text", "pattern", "expected"),
    [
        ("id:123, id:456", r"id:\d+", ["id:123", "id:456"]),
        ("id:123, id:", r"id:(\d*)", ["123"]),
        ("id", "assa", []),
        ("baaac", "a*", ["", "aaa", ""]),
    ],
)
def test_all_matches_are_extracted(text: str, pattern: str, expected: list[str]) -> None:
    assert call("regex.extractAll", text, pattern) == expected


@pytest.mark.parametrize(
    ("text", "pattern", "replacement", "expected"),
    [
        ("/id/1234/data", "/id/[0-9]*/", "/id/{id}/", "/id/{id}/data"),
        ("blah id=1234 bar", "id=(.+?) ", "[$1] ", "blah [1234] bar"),
        ("a a a", "a", "b", "b a a"),
        ("ab", "(?P<first>a)(b)", "$first-${2}-$0", "a-b-ab"),
        ("ab", "(a)", "$1x|${1}x", "|axb"),
        ("ab", "(a)", "$$1", "$1b"),
        ("ab", "(a)", "$9${nope}$", "$b"),
        ("ab", "(a)|(z)", "[$2]", "[]b"),
        ("ab", "a", "${", "${b"),
        ("ab", "a", "$99999999999999999999", "b"),
        ("ab", "z", "x", "ab"),
    ],
)
def test_the_gateway_replaces_the_first_match_only(text: str, pattern: str, replacement: str, expected: str) -> None:
    assert call("regexReplace", text, pattern, replacement) == expected
    assert LIBRARY.dispatcher("regexReplace", is_method=True)(text, pattern, replacement) == expected


@given(st.text(alphabet="ab$\\{}1 é", max_size=8))
def test_a_replacement_whose_dollars_are_doubled_stands_as_it_is(replacement: str) -> None:
    assert replace_first("<x>", "x", replacement.replace("$", "$$")) == f"<{replacement}>"


@given(st.text(alphabet="ab$\\{}1 é", max_size=8))
def test_a_replacement_whose_backslashes_are_doubled_stands_as_it_is(replacement: str) -> None:
    assert call("regex.replace", "<x>", "x", replacement.replace("\\", "\\\\")) == f"<{replacement}>"


def test_a_thousand_matches_are_extracted_at_most() -> None:
    assert len(call("regex.extractAll", "a" * 1_000, "a")) == 1_000
    with pytest.raises(EvaluationError, match="result too large"):
        call("regex.extractAll", "a" * 1_001, "a")


TEXT = "".join(random.Random(1).choices("ab", k=65_536))  # noqa: S311  a text that RE2's automaton cannot keep up with
SLOW = "[ab]*a[ab]{%d}x"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("matches", (TEXT, SLOW % 900)),
        ("regex.extract", (TEXT, SLOW % 900)),
        ("regex.extractAll", (TEXT, SLOW % 900)),
        ("regex.replace", (TEXT, SLOW % 900, "")),
        ("regexReplace", (TEXT, SLOW % 900, "")),
        ("regex.replace", (TEXT, "a.*x|a", "")),  # each of its matches reads the text to its end
        ("regex.replace", ("a" * 65_536, "(x)?a", r"\1" * 32_768)),
        ("regexReplace", ("a", "a", "${" * 32_768)),
    ],
)
def test_a_search_takes_little_time_or_is_refused(name: str, arguments: tuple[str, ...]) -> None:
    start = time.process_time()
    with contextlib.suppress(EvaluationError):
        call(name, *arguments)

    assert time.process_time() - start < 2


def test_the_work_of_a_search_is_bounded_by_pattern_and_text() -> None:
    search = searcher(SLOW % 900)

    assert search("a" * 1_000 + "x")
    for text in (TEXT, "é" * 15_000):
        with pytest.raises(EvaluationError, match="too long for its pattern"):
            search(text)


def test_the_work_of_all_searches_is_bounded() -> None:
    assert call("regex.replace", "a" * 4_096, "a", "b") == "b" * 4_096
    with pytest.raises(EvaluationError, match="too many matches"):
        call("regex.replace", "a" * int(MAX_TOTAL_WORK**0.5), "a", "b")


@pytest.mark.parametrize("receiver", ["request.path", "request.headers.x", "'text'"])
def test_a_constant_pattern_may_be_larger_than_one_that_is_put_together(receiver: str) -> None:
    attributes = request("/a", headers=[(b"x", b"text")])

    assert not compile_expression(f"{receiver}.matches(r'^\\p{{L}}{{7}}$')").evaluate(attributes)
    with pytest.raises(EvaluationError, match="too large"):
        compile_expression(f"{receiver}.matches(r'^' + r'\\p{{L}}$')").evaluate(attributes)


def test_a_constant_pattern_that_is_too_large_is_refused_at_load() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(r"request.headers.x.matches(r'\p{L}{12}')")

    assert caught.value.message == "a pattern that is too large"


def test_a_constant_pattern_is_searched_in_strings_only() -> None:
    with pytest.raises(EvaluationError):
        compile_expression("dyn(1).matches('a')").evaluate(request("/"))
