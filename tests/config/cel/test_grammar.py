from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import lark
import pytest

from config.cel import grammar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXTS = [
    'source.identity.namespace == "team-a" && request.path.startsWith("/repos/")',
    'a.?b[?c].`d-e` ? [1, ?x, 2.5e3] : {"k": true, ?"l": -1u,}',
    "!has(a.b) || r'\\' + '''x\n''' in [b\"\\x00\", null] // end",
    "x.map(y, y % 2 == 0 ? -y : .z(1)) - 0x1F / 3 <= T{f: 1}.g",
]
FAULTS = ["", "a &&", "a = b", "f(", "'open", "a b", "1 +* 2", "[1,,2]", "{a}", "a..b", "\x00", "if", "a ? b"]


@pytest.fixture
def fresh_parser() -> Iterator[None]:
    grammar.parser.cache_clear()
    yield
    grammar.parser.cache_clear()


def outcome(parser: lark.Lark, text: str) -> Any:
    """Return the tree with its places, or where and why there is none."""
    try:
        tree = parser.parse(text)
    except lark.exceptions.UnexpectedInput as error:
        return type(error), error.line, error.column, error.pos_in_stream
    return tree, [(node.data, vars(node.meta)) for node in tree.iter_subtrees()]


@pytest.mark.usefixtures("fresh_parser")
def test_the_stored_tables_are_those_of_the_grammar(monkeypatch: pytest.MonkeyPatch) -> None:
    text = grammar.grammar()
    if grammar.TABLES.read_bytes().partition(b"\n")[0] + b"\n" != grammar._fingerprint(text):
        pytest.skip("the tables were made for another release of lark or cel-python: see `make tables`")
    built = grammar.build(text)

    def refuse(_: str) -> lark.Lark:
        raise AssertionError("the stored tables were to be used")

    monkeypatch.setattr(grammar, "build", refuse)
    stored = grammar.parser()

    assert [rule.origin.name for rule in stored.rules] == [rule.origin.name for rule in built.rules]
    assert all(isinstance(outcome(stored, text)[0], lark.Tree) for text in TEXTS)
    assert [outcome(stored, text) for text in [*TEXTS, *FAULTS]] == [outcome(built, text) for text in [*TEXTS, *FAULTS]]


@pytest.mark.parametrize("content", [None, b"", b"lark 0.1 0123\nno tables"])
@pytest.mark.usefixtures("fresh_parser")
def test_tables_of_something_else_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    tables = tmp_path / "tables"
    if content is not None:
        tables.write_bytes(content)
    monkeypatch.setattr(grammar, "TABLES", tables)

    assert isinstance(grammar.parser().parse("a + 1"), lark.Tree)


@pytest.mark.usefixtures("fresh_parser")
def test_tables_that_were_saved_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammar, "TABLES", tmp_path / "tables")
    grammar.save_tables()
    monkeypatch.delattr(grammar, "build")

    assert isinstance(grammar.parser().parse("a + 1"), lark.Tree)


@pytest.mark.parametrize("text", ["", "expr : IDENT\n", None])
def test_a_grammar_that_the_amendments_were_not_made_for_is_refused(
    monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    amended = grammar._source().replace("STRING_LIT     : /[rR]", "STRING_LITERAL : /[rR]") if text is None else text
    monkeypatch.setattr(grammar, "_source", lambda: amended)

    with pytest.raises(RuntimeError, match="cel-python's grammar has changed"):
        grammar.grammar()


def test_without_cel_python_nothing_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    with pytest.raises(RuntimeError, match="not installed"):
        grammar.grammar()


def test_to_compile_an_expression_does_not_import_cel_python() -> None:
    code = "import sys; from config.cel import compile_expression; compile_expression('1 + 1'); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = run.stdout.split()

    assert "lark" in modules
    assert "celpy" not in modules
