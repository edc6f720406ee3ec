from __future__ import annotations

import pytest

from config.errors import ConfigErrors, Finding, Location, Severity, nearest


@pytest.mark.parametrize(
    ("finding", "text"),
    [
        (Finding("a-code", "it is wrong"), "error: it is wrong [a-code]"),
        (Finding("a-code", "it is wrong", hint="mend it"), "error: it is wrong; mend it [a-code]"),
        (
            Finding("a-code", "it is odd", Location("d/f.yaml", 3, 7), severity=Severity.WARNING),
            "d/f.yaml:3:7: warning: it is odd [a-code]",
        ),
        (
            Finding("a-code", "it is wrong", Location("f.yaml", 2), "mend it", "a == b &\n       ^"),
            "f.yaml:2:1: error: it is wrong; mend it [a-code]\n    a == b &\n           ^",
        ),
    ],
)
def test_a_finding_reads_as_place_weight_message_hint_and_code(finding: Finding, text: str) -> None:
    assert str(finding) == text


def test_errors_list_every_finding_on_its_own_line() -> None:
    error = ConfigErrors(iter([Finding("one", "first"), Finding("two", "second")]))

    assert [finding.code for finding in error.findings] == ["one", "two"]
    assert str(error) == "error: first [one]\nerror: second [two]"


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("prot", ["host", "port"], "did you mean 'port'?"),
        ("HOST", ["host", "port"], "did you mean 'host'?"),
        ("matchexpressions", ["matchExpressions"], "did you mean 'matchExpressions'?"),
        ("zzz", ["port", "host"], "known here: host, port"),
        ("zzz", [], ""),
    ],
)
def test_a_misspelt_name_gets_the_nearest_known_one_else_all(name: str, known: list[str], hint: str) -> None:
    assert nearest(name, known) == hint
