from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.cel.errors import EvaluationError
from config.cel.limits import MAX_RESULT_CHARACTERS
from config.cel.overloads import LIBRARY
from config.cel.strings import quote

TEXTS = st.text(alphabet="abc ©λT😀", max_size=12)
BIG = "x" * MAX_RESULT_CHARACTERS


def method(name: str, *arguments: Any) -> Any:
    return LIBRARY.dispatcher(name, is_method=True)(*arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("charAt", ("tacocat", 3), "o"),
        ("charAt", ("tacocat", 7), ""),
        ("charAt", ("©λT", 1), "λ"),
        ("indexOf", ("tacocat", ""), 0),
        ("indexOf", ("tacocat", "none"), -1),
        ("indexOf", ("tacocat", "", 3), 3),
        ("indexOf", ("tacocat", "a", 3), 5),
        ("indexOf", ("tacocat", "a", 7), -1),
        ("indexOf", ("ta©o©λT", "©λT", 3), 4),
        ("lastIndexOf", ("tacocat", ""), 7),
        ("lastIndexOf", ("", "@@"), -1),
        ("lastIndexOf", ("tacocat", "", 3), 3),
        ("lastIndexOf", ("tacocat", "a", 3), 1),
        ("lastIndexOf", ("bananananana", "nana", 7), 6),
        ("lastIndexOf", ("hello wello", "ello", 7), 7),
        ("join", (["x", "y"],), "xy"),
        ("join", (["x", "y"], "-"), "x-y"),
        ("join", ([], "-"), ""),
        ("lowerAscii", ("TacoCÆt Xii",), "tacocÆt xii"),
        ("lowerAscii", ("\u212a",), "\u212a"),
        ("upperAscii", ("tacoCλt ß",), "TACOCλT ß"),
        ("replace", ("{0} days {0}", "{0}", "2"), "2 days 2"),
        ("replace", ("hello hello", "he", "we", 1), "wello hello"),
        ("replace", ("hello hello", "he", "we", 0), "hello hello"),
        ("replace", ("hello hello", "he", "we", -1), "wello wello"),
        ("replace", ("abc", "", "_"), "_a_b_c_"),
        ("replace", ("abc", "", "_", 2), "_a_bc"),
        ("split", ("hello world", " "), ["hello", "world"]),
        ("split", ("", ","), [""]),
        ("split", ("abc", ""), ["a", "b", "c"]),
        ("split", ("", ""), []),
        ("split", ("a b c", " ", 0), []),
        ("split", ("a b c", " ", 1), ["a b c"]),
        ("split", ("a b c", " ", 2), ["a", "b c"]),
        ("split", ("a b c", " ", -1), ["a", "b", "c"]),
        ("split", ("abc", "", 2), ["a", "bc"]),
        ("split", ("abc", "", 9), ["a", "b", "c"]),
        ("substring", ("tacocat", 7), ""),
        ("substring", ("ta©o©λT", 2, 6), "©o©λ"),
        ("substring", ("tacocat", 4, 4), ""),
        ("trim", (" \f\n\r\t\vtext\u0085\u00a0\u1680\u2028\u3000 ",), "text"),
        ("trim", ("\u180etext\u200b\ufeff",), "\u180etext\u200b\ufeff"),
        ("trim", ("\x1ctext\x1f",), "\x1ctext\x1f"),
        ("reverse", ("a©😀",), "😀©a"),
    ],
)
def test_positions_are_code_points(name: str, arguments: tuple[Any, ...], expected: object) -> None:
    assert method(name, *arguments) == expected


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("charAt", ("tacocat", 8)),
        ("charAt", ("tacocat", -1)),
        ("indexOf", ("tacocat", "a", 30)),
        ("indexOf", ("tacocat", "", -1)),
        ("lastIndexOf", ("tacocat", "a", 30)),
        ("lastIndexOf", ("tacocat", "a", -1)),
        ("substring", ("tacocat", 40)),
        ("substring", ("tacocat", -1)),
        ("substring", ("tacocat", 1, 50)),
        ("substring", ("tacocat", 4, 3)),
        ("substring", ("tacocat", 0, -1)),
        ("join", (["x", 1],)),
        ("charAt", ("tacocat", True)),
        ("substring", ("tacocat", 1.0)),
        ("split", (42, "2")),
        ("replace", ("42", "2", "1", 1, False)),
    ],
)
def test_an_index_out_of_range_and_a_wrong_type_are_errors(name: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(EvaluationError):
        method(name, *arguments)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("join", ([BIG, "x"],)),
        ("join", (["", ""], BIG + "x")),
        ("replace", ("x" * 2048, "x", "y" * 1024)),
        ("replace", (BIG, "", "y", 1)),
    ],
)
def test_a_result_beyond_a_mebibyte_is_refused(name: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(EvaluationError, match="result too large"):
        method(name, *arguments)


def test_a_large_text_may_shrink_to_the_limit() -> None:
    assert method("replace", BIG + "aa", "a", "") == BIG


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ('a "b" \a\b\f\n\r\t\v\\', r'"a \"b\" \a\b\f\n\r\t\v\\"'),
        ("printable😀'", '"printable😀\'"'),
        ("half \ud83d pair", '"half \ufffd pair"'),
        ("", '""'),
    ],
)
def test_a_quoted_text_shows_its_escapes(text: str, quoted: str) -> None:
    assert quote(text) == quoted


@given(TEXTS)
def test_reversed_twice_is_the_same(text: str) -> None:
    assert method("reverse", method("reverse", text)) == text


@given(TEXTS, st.integers(-2, 14), st.integers(-2, 14))
def test_a_substring_is_a_slice_where_its_ends_are_in_range(text: str, start: int, end: int) -> None:
    if 0 <= start <= end <= len(text):
        assert method("substring", text, start, end) == text[start:end]
    else:
        with pytest.raises(EvaluationError):
            method("substring", text, start, end)


@given(TEXTS, st.text(alphabet="ab ©", max_size=2), st.integers(-2, 6))
def test_what_is_split_joins_again(text: str, separator: str, limit: int) -> None:
    parts = method("split", text, separator, limit)

    assert limit == 0 or method("join", parts, separator) == text
    assert limit < 0 or len(parts) <= limit
    assert limit >= 0 or parts == method("split", text, separator)


@given(TEXTS, st.text(alphabet="ab ©", max_size=2), st.text(alphabet="ab", max_size=3))
def test_a_replacement_of_all_has_the_length_that_was_reckoned(text: str, old: str, new: str) -> None:
    assert len(method("replace", text, old, new)) == len(text) + text.count(old) * (len(new) - len(old))


@given(TEXTS, st.text(alphabet="ab ©", max_size=2))
def test_a_position_found_holds_the_part(text: str, part: str) -> None:
    for name in ("indexOf", "lastIndexOf"):
        position = method(name, text, part)
        assert (position >= 0) is (part in text)
        assert position < 0 or method("substring", text, position, position + len(part)) == part


@pytest.mark.parametrize("separator", [",", ""])
def test_a_text_is_split_into_a_thousand_parts_at_most(separator: str) -> None:
    text = separator.join("x" * 1_000)

    assert len(method("split", text, separator)) == 1_000
    for arguments in ((), (-1,), (1_001,)):
        with pytest.raises(EvaluationError, match="result too large"):
            method("split", text + separator + "x", separator, *arguments)
    assert len(method("split", text + separator + "x", separator, 1_000)) == 1_000
