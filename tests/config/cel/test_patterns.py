from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.cel.errors import EvaluationError
from config.cel.overloads import LIBRARY
from config.cel.patterns import replace_first
from config.cel.values import NONE, Optional


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
        ("regex.extractAll", ("a" * 10_001, "a")),
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
