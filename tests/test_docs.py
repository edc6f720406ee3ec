"""What the pages in `docs` say of names and examples is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans

from app.telemetry.access_log import FIELDS
from app.telemetry.spans import SpanEncoder
from config.kinds import KINDS, LATER_KINDS
from config.loading import load
from config.settings import LATER, PREFIX, Settings
from middleware.trace_context import Trace
from tests.app.telemetry.exchanges import ALLOWED
from tests.support.collector import attributes_of

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def first_column(text: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def test_the_access_log_page_lists_every_field_in_its_order() -> None:
    assert tuple(first_column(page("access-log.md"))) == FIELDS


def test_the_settings_page_lists_every_setting() -> None:
    text = page("settings.md")

    assert first_column(text) == [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    assert all(f"`{PREFIX}{name}`" in text for name in LATER)


def test_the_traces_page_lists_every_attribute_of_both_spans() -> None:
    failed = ALLOWED._replace(method="FROBNICATE", status=500)
    encoded = SpanEncoder().encode(Trace("1" * 32, "1" * 16, "", 1, ""), failed, 1)
    server, client = (set(attributes_of(span.attributes)) for span in ScopeSpans.FromString(b"".join(encoded)).spans)

    rows = re.findall(r"^\| `([a-z_.]+)` \| (both|SERVER|CLIENT) \|", page("tracing.md"), re.MULTILINE)
    assert {name for name, span in rows if span != "CLIENT"} == server
    assert {name for name, span in rows if span != "SERVER"} == client


def test_the_manifests_page_names_every_kind() -> None:
    text = page("manifests.md")

    assert [kind for _, kind in (*KINDS, *LATER_KINDS) if f"`{kind}`" not in text] == []


def test_the_complete_example_loads_without_a_finding(tmp_path: Path) -> None:
    [example] = re.findall(r"```yaml\n(.*?)```", page("manifests.md"), re.DOTALL)
    (tmp_path / "example.yaml").write_text(example)

    snapshot, findings = load(Settings(config=(str(tmp_path),)))

    assert findings == ()
    assert list(snapshot.exact) == ["api.github.com"]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_to_pages_and_headings_that_exist(path: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", path.read_text(encoding="utf-8")):
        linked = path.parent / target if target else path
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_example_of_the_transformations_page_loads_without_a_finding(tmp_path: Path) -> None:
    [example] = re.findall(r"```yaml\n(.*?)```", page("transformations.md"), re.DOTALL)
    (tmp_path / "example.yaml").write_text(example)

    snapshot, findings = load(Settings(config=(str(ROOT / "deploy" / "workshop"), str(tmp_path))))

    assert findings == ()
    assert any(route.direct_response for route in snapshot.routes)
