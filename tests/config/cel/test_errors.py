import pytest

from config.cel import ExpressionError, compile_expression


@pytest.mark.parametrize(
    ("text", "line", "column", "excerpt"),
    [
        ("ab", 1, 2, "ab\n ^"),
        ("ab", 1, 3, "ab\n  ^"),
        ("a\n\tb\tc", 2, 4, "\tb\tc\n\t \t^"),
        ("a\r\nbc\r\n", 2, 2, "bc\n ^"),
        ("a\fb\x85c\u2028d", 1, 7, "a\ufffdb\ufffdc\ufffdd\n      ^"),
        ("\x1b[2J", 1, 1, "\ufffd[2J\n^"),
        ("", 1, 1, "\n^"),
        ("a", 7, 3, "a\n  ^"),
    ],
)
def test_the_caret_stands_under_the_place(text: str, line: int, column: int, excerpt: str) -> None:
    assert ExpressionError("wrong", line=line, column=column).excerpt(text) == excerpt


def test_lines_are_counted_as_the_parser_counts_them() -> None:
    text = '"\u2028" == "a" &&\n\tnope'
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text)

    assert caught.value.excerpt(text) == "\tnope\n\t^"


def test_an_unknown_function_that_is_near_no_other_is_not_answered_with_all_of_them() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression("qqqqqqqq(1)")

    assert caught.value.hint == "docs/cel.md lists them"
