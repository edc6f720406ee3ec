"""`docs/fields.md` is what the models say, and what the models say is so."""

from __future__ import annotations

import re

from config.model.base import Model, Resource
from tests import fields


def written() -> set[tuple[str, str]]:
    """The heading and path of every row of the page."""
    found = set()
    for section in fields.PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        found |= {(section.partition("\n")[0], path) for path in re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)}
    return found


def modelled() -> set[tuple[str, str]]:
    common = {("Every manifest", row.path) for row in fields.rows(Resource)}
    shared = ("apiVersion", "kind", "metadata", "status")
    return common | {
        (", ".join(names), row.path)
        for names, model in fields.kinds().items()
        for row in fields.rows(model)
        if not row.path.startswith(shared)
    }


def test_the_page_has_every_field_of_the_models() -> None:
    assert sorted(modelled() - written()) == []


def test_the_page_has_no_field_that_the_models_do_not_have() -> None:
    assert sorted(written() - modelled()) == []


def test_the_page_is_as_it_would_be_written_now() -> None:
    assert fields.PAGE.read_text(encoding="utf-8") == fields.page(), "run make fields"


def test_a_field_that_is_said_to_work_is_read_somewhere() -> None:
    assert fields.unread_fields() == []


def test_a_model_refuses_what_it_does_not_know() -> None:
    strict = {model for top in fields.kinds().values() for model in fields.models(top) if issubclass(model, Model)}

    assert {model.model_config.get("extra") for model in strict} == {"forbid"}
