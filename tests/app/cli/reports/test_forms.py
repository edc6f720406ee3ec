from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.reports.github import escape_data, escape_property, github_lines
from app.cli.reports.machine import json_text
from app.cli.reports.report import Report
from app.cli.reports.sarif import sarif_text, uri_of
from app.cli.reports.text import MAX_LINE_CHARACTERS, text_lines, underlined
from config.errors import Finding, Location, Severity
from config.excerpts import SourceLine, SourceLines
from config.loading import Examined

if TYPE_CHECKING:
    from pathlib import Path

SETTING = Finding("invalid-setting", "EGRESS_X: no", hint="see docs")
FIRST = Finding("unknown-field", "it is odd", Location("d/a.yaml", 2, 5), severity=Severity.WARNING)
SECOND = Finding("invalid-expression", "wrong", Location("d/a.yaml", 10, 1), excerpt="a &&\n    ^")
REPORT = Report.of(Examined(None, (SECOND, FIRST, SETTING, FIRST), 3))


def test_findings_come_once_and_in_order() -> None:
    assert REPORT.findings == (SETTING, FIRST, SECOND)
    assert REPORT.summary == "2 errors, 1 warning in 3 files"


def test_json_is_one_object() -> None:
    data = json.loads(json_text(REPORT))

    assert data["summary"]["errors"] == 2
    assert [(found["file"], found["line"], found["column"]) for found in data["findings"]] == [
        (None, None, None),
        ("d/a.yaml", 2, 5),
        ("d/a.yaml", 10, 1),
    ]
    assert ["excerpt" in found for found in data["findings"]] == [False, False, True]


def test_sarif_has_what_its_schema_requires() -> None:
    log = json.loads(sarif_text(REPORT))

    assert (log["version"], len(log["runs"])) == ("2.1.0", 1)
    [run] = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert run["tool"]["driver"]["name"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    assert all(rule["shortDescription"]["text"] and rule["help"]["text"] for rule in rules)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in {"none", "note", "warning", "error"}
        assert result["message"]["text"]
        for place in result.get("locations", []):
            check_place(place["physicalLocation"])


def check_place(place: dict[str, Any]) -> None:
    assert place["region"]["startLine"] >= 1
    assert place["region"]["startColumn"] >= 1
    assert not place["artifactLocation"]["uri"].startswith(("/", "file:"))


@pytest.mark.parametrize(
    ("file", "uri"),
    [
        ("d/a.yaml", "d/a.yaml"),
        ("/d/a b.yaml", "file:///d/a%20b.yaml"),
        ("a:b%.yaml", "a%3Ab%25.yaml"),
        ("ä", "%C3%A4"),
    ],
)
def test_a_uri_is_relative_where_the_path_is(file: str, uri: str) -> None:
    assert uri_of(file) == uri


def test_workflow_commands_name_the_place() -> None:
    assert list(github_lines(REPORT)) == [
        "::error title=invalid-setting::EGRESS_X: no; see docs",
        "::warning file=d/a.yaml,line=2,col=5,title=unknown-field::it is odd",
        "::error file=d/a.yaml,line=10,col=1,title=invalid-expression::wrong",
        "2 errors, 1 warning in 3 files",
    ]


@given(st.text(st.sampled_from("%\r\n:,a0AD25\u2028\x1b"), max_size=30))
def test_a_workflow_command_is_one_line_that_the_runner_reads_back(text: str) -> None:
    data, value = escape_data(text), escape_property(text)

    assert len(data.splitlines()) <= 1
    assert not re.search(r"[\r\n:,]", value)
    meant = "".join(character if character in "\r\n" or character.isprintable() else "\ufffd" for character in text)
    undone = data.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")
    assert undone == meant
    read = value.replace("%0D", "\r").replace("%0A", "\n").replace("%3A", ":").replace("%2C", ",").replace("%25", "%")
    assert read == meant


def test_text_shows_the_line_with_a_caret_and_the_hint(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {nam: x}\n")
    found = Finding("unknown-field", "odd", Location(str(file), 2, 7), "mend it")

    assert list(text_lines(Report.of(Examined(None, (found,), 1)), SourceLines())) == [
        f"{file}:2:7: error: odd [unknown-field]",
        "    2 | kind: ConfigMap",
        "      |       ^",
        "    hint: mend it",
        "1 error, 0 warnings in 1 file",
    ]


def test_nothing_in_a_report_moves_the_cursor() -> None:
    found = Finding("invalid-value", "a\x1b[31m\nb", Location("\x1b]0;x", 1, 1), "c\r")

    assert "\x1b" not in "".join(lines := list(text_lines(Report.of(Examined(None, (found,), 1)), SourceLines())))
    assert all("\r" not in line and "\n" not in line for line in lines)


@given(st.text(st.sampled_from("ab \t漢"), max_size=400), st.integers(1, 400))
def test_the_caret_stays_below_its_character_in_long_lines(text: str, column: int) -> None:
    shown, caret = underlined(SourceLine(text, min(column, len(text) + 1)))

    assert caret.endswith("^")
    assert len(shown) <= MAX_LINE_CHARACTERS + 8
