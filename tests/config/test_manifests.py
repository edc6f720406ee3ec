from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import manifests
from config.manifests import Document, read_documents
from tests.config.examples import codes, place


def read_one(text: str) -> Document:
    documents, findings = read_documents("f.yaml", text)
    assert findings == []
    [document] = documents
    return document


def fault(text: str) -> tuple[str, tuple[int, int]]:
    """Return code, line and column of the only finding; nothing may have been read."""
    documents, findings = read_documents("f.yaml", text)
    assert documents == []
    [finding] = findings
    return finding.code, place(finding)


def test_several_documents_are_read_and_empty_ones_are_not_counted() -> None:
    documents, findings = read_documents("f.yaml", "---\na: 1\n---\n---\n# nothing\n---\nb: 2\n...\n---\nc: 3\n---\n")

    assert findings == []
    assert [(document.data, document.location.line) for document in documents] == [
        ({"a": 1}, 2),
        ({"b": 2}, 7),
        ({"c": 3}, 10),
    ]


@pytest.mark.parametrize("text", ["", "\n\n", "# a comment\n", "---\n", "---\n---\n", "null\n"])
def test_a_file_without_documents_is_no_fault(text: str) -> None:
    assert read_documents("f.yaml", text) == ([], [])


def test_json_is_read_as_yaml() -> None:
    assert read_one('{"a": [1, 2.5, true, null, "x"], "b": {"c": "\\u00e9"}}').data == {
        "a": [1, 2.5, True, None, "x"],
        "b": {"c": "é"},
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-5", -5),
        ("+5", 5),
        ("0", 0),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("-0.5", -0.5),
        ("true", True),
        ("False", False),
        ("yes", True),
        ("off", False),
        ("~", None),
        ("", None),
        ("null", None),
        ('"5"', "5"),
        ("'true'", "true"),
        ("text", "text"),
        ("5s", "5s"),
        # JSON has no dates, no sexagesimals and no octals: what YAML 1.1 makes of these is never wanted.
        ("2026-08-01", "2026-08-01"),
        ("2026-08-01T00:00:00Z", "2026-08-01T00:00:00Z"),
        ("1:30", "1:30"),
        ("017", "017"),
        ("1_000", "1_000"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("=", "="),
        ('"<<"', "<<"),
        ("!!str 5", "5"),
    ],
)
def test_scalars_are_read_as_json_has_them(text: str, value: Any) -> None:
    found = read_one(f"a: {text}\n").data["a"]

    assert found == value
    assert type(found) is type(value)


LOCATED = """\
# a comment
apiVersion: v1
spec:
  hosts:
    - one
    - "two"
  flow: {a: 1, b: [x, {y: z}]}
"""


@pytest.mark.parametrize(
    ("path", "value_at", "key_at"),
    [
        ((), (2, 1), (2, 1)),
        (("apiVersion",), (2, 13), (2, 1)),
        (("spec",), (4, 3), (3, 1)),
        (("spec", "hosts"), (5, 5), (4, 3)),
        (("spec", "hosts", 0), (5, 7), (5, 7)),
        (("spec", "hosts", 1), (6, 7), (6, 7)),
        (("spec", "flow", "b"), (7, 19), (7, 16)),
        (("spec", "flow", "b", 1, "y"), (7, 27), (7, 24)),
        # What is not there stands where its nearest ancestor does.
        (("spec", "nothing"), (4, 3), (3, 1)),
        (("spec", "hosts", 2), (5, 5), (4, 3)),
        (("spec", "hosts", "x", "y"), (5, 5), (4, 3)),
        (("nothing", "below"), (2, 1), (2, 1)),
    ],
)
def test_every_value_and_key_knows_its_place(
    path: tuple[str | int, ...], value_at: tuple[int, int], key_at: tuple[int, int]
) -> None:
    document = read_one(LOCATED)
    value, key = document.locate(path), document.locate(path, key=True)

    assert (value.file, value.line, value.column) == ("f.yaml", *value_at)
    assert (key.file, key.line, key.column) == ("f.yaml", *key_at)


@pytest.mark.parametrize(
    ("text", "code", "at"),
    [
        ("a: 1\nb: 2\na: 3\n", "duplicate-key", (3, 1)),
        ('a: 1\n"a": 2\n', "duplicate-key", (2, 1)),
        ("x:\n  - {b: 1, c: 2, b: 3}\n", "duplicate-key", (2, 18)),
        ('{"é": 1, "é": 2}', "duplicate-key", (1, 10)),
        ("a: {b: {c: 1, c: 2}}", "duplicate-key", (1, 15)),
        ("base: &b {x: 1}\nother:\n  <<: *b\n", "yaml-merge", (3, 3)),
        ("<<: {a: 1}\n", "yaml-merge", (1, 1)),
        ("1: a\n", "yaml-key", (1, 1)),
        ("true: a\n", "yaml-key", (1, 1)),
        ("a:\n  ~: b\n", "yaml-key", (2, 3)),
        ("? [a, b]\n: c\n", "yaml-key", (1, 3)),
        ("a: !custom b\n", "yaml-tag", (1, 4)),
        ("a: !!binary aGk=\n", "yaml-tag", (1, 4)),
        ("a: !!bool treu\n", "yaml-tag", (1, 4)),
        ("a: !custom {b: 1}\n", "yaml-tag", (1, 4)),
        ("a: !!set {b}\n", "yaml-tag", (1, 4)),
        ("a: !!omap [b: 1]\n", "yaml-tag", (1, 4)),
        ("!!python/object/apply:os.system [id]\n", "yaml-tag", (1, 1)),
        ("a: !!python/name:os.system ''\n", "yaml-tag", (1, 4)),
        ("- a: 1\n", "not-a-mapping", (1, 1)),
        ("# text\n  just text\n", "not-a-mapping", (2, 3)),
        ("5\n", "not-a-mapping", (1, 1)),
        ("a: [1,\nb: 2\n", "yaml-syntax", (3, 1)),
        ("a: b: c\n", "yaml-syntax", (1, 5)),
        ("a: *nowhere\n", "yaml-syntax", (1, 4)),
        ("a: @x\n", "yaml-syntax", (1, 4)),
        ("\ta: 1\n", "yaml-syntax", (1, 1)),
    ],
)
def test_what_cannot_be_read_is_a_finding_with_its_place(text: str, code: str, at: tuple[int, int]) -> None:
    assert fault(text) == (code, at)


@pytest.mark.parametrize("text", ["a: \x00\n", "a: \ufffe\n", "a: " + "9" * 5000])
def test_a_text_that_no_yaml_reader_takes_is_a_finding(text: str) -> None:
    assert fault(text)[0] == "yaml-syntax"


def test_a_faulty_document_does_not_hide_the_others_or_their_faults() -> None:
    documents, findings = read_documents("f.yaml", "a: 1\n---\nb: 1\nb: 2\n---\n- c\n---\nd: 4\n---\ne: {\n")

    assert [document.data for document in documents] == [{"a": 1}, {"d": 4}]
    assert [(finding.code, place(finding)[0]) for finding in findings] == [
        ("duplicate-key", 4),
        ("not-a-mapping", 6),
        ("yaml-syntax", 11),
    ]


def test_an_alias_repeats_a_value() -> None:
    assert read_one("a: &x {b: 1}\nc: *x\n").data == {"a": {"b": 1}, "c": {"b": 1}}


def test_an_alias_bomb_is_refused() -> None:
    lines = ["a: &a [" + ", ".join(["x"] * 10) + "]"]
    lines += [
        f"{new}: &{new} [" + ", ".join([f"*{old}"] * 10) + "]" for old, new in zip("abcdefg", "bcdefgh", strict=True)
    ]

    assert fault("\n".join(lines))[0] == "yaml-limit"


def test_an_alias_inside_itself_is_refused() -> None:
    assert fault("a: &x [*x]\n")[0] == "yaml-limit"


@pytest.mark.parametrize(("depth", "accepted"), [(64, True), (65, False)])
@pytest.mark.parametrize(("opening", "closing"), [("{a: ", "}"), ("[", "]")])
def test_a_document_has_at_most_64_levels(depth: int, opening: str, closing: str, *, accepted: bool) -> None:
    text = "{a: " + opening * (depth - 1) + "1" + closing * (depth - 1) + "}"
    if accepted:
        read_one(text)
    else:
        assert fault(text)[0] == "yaml-limit"


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{a: " * 50_000,
        "- " * 50_000,
        "a: 1\n---\nb: " + "[" * 100_000 + "]" * 100_000,
        "[" * 600 + "]" * 600,
    ],
    ids=["sequences", "mappings", "block", "closed", "just too deep"],
)
def test_absurd_nesting_is_a_finding_and_no_crash(text: str) -> None:
    # libyaml's composer recurses in C: without a bound the process dies of SIGSEGV, at a reload too.
    _, findings = read_documents("f.yaml", text)

    assert codes(findings) == ["yaml-limit"]


def test_absurd_nesting_is_found_where_it_begins_to_be_absurd() -> None:
    _, [finding] = read_documents("f.yaml", "a:\n  " + "[" * 1000)

    # The mapping is a level, and the 500th sequence is one too many.
    assert place(finding) == (2, 2 + 500)


def test_a_document_has_a_bounded_number_of_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "MAX_DOCUMENT_NODES", 5)

    assert read_one("a: [1, 2, 3]").data == {"a": [1, 2, 3]}
    assert fault("a: [1, 2, 3, 4]") == ("yaml-limit", (1, 14))


@given(st.text("ab:-[]{}&*!|>%@#'\", \n\t0?~<é", max_size=40))
def test_any_text_is_read_or_becomes_findings(text: str) -> None:
    documents, findings = read_documents("f.yaml", text)

    assert all(isinstance(document.data, dict) for document in documents)
    assert all(finding.location is not None for finding in findings)


def test_a_list_is_unfolded_into_documents_that_keep_their_place() -> None:
    documents, findings = read_one("kind: List\nitems:\n  - {a: 1}\n  - b: 2\n").items()

    assert findings == []
    assert [(document.data, document.location.line, document.location.column) for document in documents] == [
        ({"a": 1}, 3, 5),
        ({"b": 2}, 4, 5),
    ]


def test_what_is_no_mapping_in_a_list_is_a_finding() -> None:
    documents, findings = read_one("items:\n  - {a: 1}\n  - text\n  -\n  - {b: 1}\n").items()

    assert [document.data for document in documents] == [{"a": 1}, {"b": 1}]
    assert [(finding.code, place(finding)[0]) for finding in findings] == [("not-a-mapping", 3), ("not-a-mapping", 4)]


@pytest.mark.parametrize(
    "text", ["kind: List\n", "kind: List\nitmes: []\n", "items: {a: 1}\n", "items:\n", "items: x\n"]
)
def test_a_list_without_a_sequence_of_items_is_a_finding(text: str) -> None:
    documents, findings = read_one(text).items()

    assert documents == []
    assert codes(findings) == ["missing-field"]
