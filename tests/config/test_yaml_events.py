from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from config import yaml_events
from config.manifests import MAX_DEPTH, MAX_DOCUMENT_NODES, Source, _read_nodes, read_documents
from config.yaml_events import NoMeaningError, read_plain, scalar
from tests.config.examples import SETUP, WORKSHOP

if TYPE_CHECKING:
    from pathlib import Path

MANIFESTS = sorted(WORKSHOP.glob("*.yaml"))

LINES = st.lists(
    st.sampled_from(
        [
            *("a: 1", "b: text", "  c: 'x'", "  - d: 1.5", "  - [1, {e: f}, null]", "- g", "? h", ": i", "---", "..."),
            *(
                "k: &x {y: z}",
                "l: *x",
                "<<: {m: n}",
                "o: !!str 5",
                "p: !q r",
                "1: s",
                "t: |",
                "    u",
                "v: {",
                "}",
                "# w",
            ),
            *("a: 2", "x: 0x1f", "z: 2026-08-01", '"a": yes', "b: <<", "~: 1", "%TAG ! tag:x,2000:", "@", "- - - 1"),
        ]
    ),
    max_size=8,
).map("\n".join)

DUMPED = st.lists(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=8,
        ),
        max_size=4,
    ),
    max_size=3,
).map(yaml.safe_dump_all)


def plain(text: str) -> list[dict[str, Any]] | None:
    return read_plain(text, max_nodes=MAX_DOCUMENT_NODES, max_depth=MAX_DEPTH)


@given(LINES | DUMPED | st.text("ab:-[]{}&*!|>%@#'\", \n\t0?~<é", max_size=40))
def test_what_is_plain_reads_as_the_tree_of_nodes_does(text: str) -> None:
    data = plain(text)
    if data is not None:
        documents, findings = _read_nodes(Source("f.yaml", text))
        assert findings == []
        assert repr([document.data for document in documents]) == repr(data)  # 1, 1.0 and true are not the same


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_the_workshop_is_plain(path: Path) -> None:
    text = path.read_text()

    assert plain(text) == list(yaml.safe_load_all(text))


@pytest.mark.parametrize(
    "text",
    [
        *("a: &x 1", "a: &x {b: 1}", "&x a: 1", "&x {a: 1}", "a: &x 1\nb: *x", "a: *nowhere"),
        *("a: !!str 1", "!!str a: 1", "!!map {a: 1}", "a: !x [1]", "<<: {a: 1}", "a: <<"),
        *("a: 1\na: 2", "1: a", "? [a]\n: b", "? {a: b}\n: c", "- a", "text", "a: {", "a: b: c", "a: " + "9" * 5000),
    ],
)
def test_what_the_tree_of_nodes_has_to_judge_is_not_plain(text: str) -> None:
    assert plain("b: 1") == [{"b": 1}]
    assert plain(text) is None


def test_the_limits_are_those_of_one_document() -> None:
    assert read_plain("a: [1, 2]\n---\na: [1, 2]", max_nodes=4, max_depth=2) is not None
    assert read_plain("a: [1, 2, 3]", max_nodes=4, max_depth=2) is None
    assert read_plain("a: [[1]]", max_nodes=4, max_depth=2) is None


def test_a_plain_file_is_composed_once_and_only_for_its_places(monkeypatch: pytest.MonkeyPatch) -> None:
    composed: list[str] = []
    compose_all = yaml.compose_all

    def counting(text: str, **options: Any) -> Any:
        composed.append(text)
        return compose_all(text, **options)

    monkeypatch.setattr(yaml, "compose_all", counting)
    documents, findings = read_documents("f.yaml", SETUP)

    assert findings == []
    assert composed == []
    lines = SETUP.splitlines()
    assert [lines[document.location.line - 1].partition(":")[0] for document in documents] == ["apiVersion"] * 4
    assert composed == [SETUP]


@pytest.mark.parametrize(("tag", "text"), [("set", "x"), ("binary", "aGk="), ("bool", "treu"), ("python/name:os", "")])
def test_a_tag_without_meaning_is_an_error(tag: str, text: str) -> None:
    with pytest.raises(NoMeaningError):
        scalar(f"tag:yaml.org,2002:{tag}", text)


def test_without_libyaml_the_same_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = plain(SETUP)
    monkeypatch.setattr(yaml_events, "LOADER", yaml.SafeLoader)

    assert expected is not None
    assert plain(SETUP) == expected
