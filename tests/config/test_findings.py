"""Every code of a finding stands in the catalogue and on its page, and nothing else does."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from config.findings import CATALOGUE
from tests.codes import PAGE, page

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
ANNOUNCED = frozenset({"unreachable-rule"})
"""Codes that are in the catalogue before the code that reports them."""


class CodeCollector:
    """Reads Python for the codes that it gives to findings, directly or through functions that take a `code`."""

    def __init__(self, root: Path) -> None:
        self.trees = {
            path: ast.parse(path.read_text(encoding="utf-8"))
            for path in sorted((root / "config").rglob("*.py"))
            if (root / "config" / "cel") not in path.parents  # expressions' errors become findings elsewhere
        }
        self.takers = {"Finding": 0} | {
            node.name: position
            for tree in self.trees.values()
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef)
            for position, name in enumerate(argument.arg for argument in node.args.args if argument.arg != "self")
            if name == "code"
        }
        """Functions to the position of their code."""

    def calls(self) -> Iterator[tuple[str, ast.expr]]:
        """Yield where a code is given, and what stands there."""
        for path, tree in self.trees.items():
            called = set()
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and (name := _name(node.func)) in self.takers:
                    called.add(node.func)
                    position = self.takers[name]
                    given = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
                    for value in _alternatives((given or node.args[position:])[0]):
                        yield f"{path.name}:{node.lineno}", value
            for node in ast.walk(tree):  # a method that is handed on could be given any code
                if not isinstance(node, ast.Attribute) or node.attr not in self.takers or node in called:
                    continue
                if path.parent.name == "compiler" and re.search(r"place|self$", ast.unparse(node.value)):
                    yield f"{path.name}:{node.lineno}", node

    def codes(self) -> set[str]:
        return {str(value.value) for _, value in self.calls() if isinstance(value, ast.Constant)}

    def unclear(self) -> list[str]:
        """Return the places that give neither a literal code, nor the one they were given themselves."""
        return [
            place
            for place, value in self.calls()
            if not isinstance(value, ast.Constant)
            and ast.unparse(value) not in {"code", "detail['type']"}  # the latter is what `fault` was given
        ]


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _alternatives(value: ast.expr) -> Iterator[ast.expr]:
    if isinstance(value, ast.IfExp):
        yield from _alternatives(value.body)
        yield from _alternatives(value.orelse)
    else:
        yield value


@pytest.fixture(scope="module")
def collector() -> CodeCollector:
    return CodeCollector(ROOT)


def test_every_code_is_a_literal_where_it_is_given(collector: CodeCollector) -> None:
    assert collector.unclear() == []


def test_every_code_that_is_used_stands_in_the_catalogue(collector: CodeCollector) -> None:
    assert sorted(collector.codes() - set(CATALOGUE)) == []


def test_every_code_of_the_catalogue_is_used(collector: CodeCollector) -> None:
    assert sorted(set(CATALOGUE) - collector.codes() - ANNOUNCED) == []


def test_a_code_is_a_slug_with_a_meaning_and_a_remedy_in_sentences() -> None:
    assert list(CATALOGUE) == sorted(CATALOGUE)
    for code, explanation in CATALOGUE.items():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
        for sentence in (explanation.meaning, explanation.remedy):
            assert re.fullmatch(r"[A-Z`][^|\n]*\.", sentence), code


def test_the_page_lists_the_catalogue() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run make fields"
