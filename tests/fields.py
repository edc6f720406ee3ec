"""`python -m tests.fields`: write `docs/fields.md` anew, from the models and what stands at their fields."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import textwrap
from collections import defaultdict
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel

from config.kinds import KINDS
from config.model import base
from config.model.base import LenientModel, NoEffect, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "fields.md"

WORKS = "works"
REFUSED = "refused: `not-available`"
NO_EFFECT = "accepted, no effect here"

INTRODUCTION = f"""\
# Fields

Every field of every manifest that is read, written from the models by `make fields`. A field that is not here is
refused as `unknown-field`, with the nearest known name; nothing is silently ignored.

* **{WORKS}**: it does what the kind's own reference says, and what [manifests](manifests.md) says more exactly.
* **{REFUSED}**: AgentGateway or Gateway API has it, this gateway does not; a manifest with it is faulty.
* **{NO_EFFECT}**: it concerns a cluster or a mesh, and changes nothing for a process without one.

`[]` is each entry of a list, `.*` each name of a mapping.
"""


class Row(NamedTuple):
    """One field of one kind."""

    path: str
    status: str
    meaning: str

    def __str__(self) -> str:
        return f"| `{self.path}` | {self.status} | {self.meaning} |"


def kinds() -> dict[tuple[str, ...], type[BaseModel]]:
    """Return the models of the manifests, by the kinds that share each; as the page has its sections."""
    shared: dict[type[BaseModel], list[str]] = defaultdict(list)
    for (_, kind), (_, model) in KINDS.items():
        shared[model].append(kind)
    return {tuple(names): model for model, names in sorted(shared.items(), key=lambda item: item[1])}


def rows(model: type[BaseModel], prefix: str = "", inherited: str = "") -> Iterator[Row]:
    """Yield the fields of a model, and what is below them.

    Args:
        model: the model.
        prefix: where it stands: `spec.` for example.
        inherited: what a field above says of everything below it.

    """
    texts = docstrings(model)
    for name, info in model.model_fields.items():
        path = f"{prefix}{info.alias}"
        status = inherited or status_of(info)
        yield Row(path + _suffix(info.annotation), status, meaning_of(info, texts.get(name, "")))
        for inner, below in _models(info.annotation):
            yield from rows(inner, f"{path}{below}.", status if status != WORKS and "except" not in status else "")
    if issubclass(model, LenientModel):
        yield Row(f"{prefix}…", f"{NO_EFFECT}: {model.ignored}", "Every other field.")


def status_of(info: FieldInfo) -> str:
    """Return what happens to a field."""
    marks = _marks(info)
    for mark in marks:
        if isinstance(mark, NoEffect):
            return f"{NO_EFFECT}: {mark.reason}"
    if any(getattr(mark, "func", None) is base._not_available for mark in marks):
        return REFUSED
    refused = [value for mark in marks if isinstance(mark, Refused) for value in mark.values]
    return f"{WORKS}, except `{'`, `'.join(refused)}`, which {_are(refused)} refused" if refused else WORKS


@functools.cache
def docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Return the docstrings of a model's fields, its own and inherited ones.

    Pydantic can keep them (`use_attribute_docstrings`), at the price of a tenth of the gateway's start.
    """
    found: dict[str, str] = {}
    for base_class in reversed(model.__mro__):
        if not base_class.__module__.startswith("config.model"):
            continue
        [definition] = ast.parse(textwrap.dedent(inspect.getsource(base_class))).body
        assert isinstance(definition, ast.ClassDef)
        for field, after in itertools.pairwise(definition.body):
            match field, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str() as text)):
                    found[name] = inspect.cleandoc(text)
    return found


def meaning_of(info: FieldInfo, docstring: str) -> str:
    """Return the docstring of a field, else of its model, and the words it may hold."""
    text = docstring or next((model.__doc__ or "" for model, _ in _models(info.annotation)), "")
    text = " ".join(text.split()).replace("|", "\\|")
    words = [value for literal in _literals(info.annotation) for value in get_args(literal)]
    values = " or ".join(f"`{value}`" for value in words)
    if values and not all(f"`{word}`" in text for word in words):
        text = f"{values}. {text}".rstrip()
    return text


def _are(values: list[str]) -> str:
    return "is" if len(values) == 1 else "are"


def _marks(info: FieldInfo) -> list[Any]:
    return [*info.metadata, *_annotated(info.annotation)]


def _annotated(annotation: Any) -> Iterator[Any]:
    """Yield what is annotated anywhere in a type."""
    yield from getattr(annotation, "__metadata__", ())
    for argument in get_args(annotation) if get_origin(annotation) is not Literal else ():
        yield from _annotated(argument)


def _members(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield from _members(get_args(annotation)[0])
    elif get_origin(annotation) in {Union, UnionType}:
        for argument in get_args(annotation):
            yield from _members(argument)
    elif annotation is not NoneType:
        yield annotation


def _models(annotation: Any) -> Iterator[tuple[type[BaseModel], str]]:
    """Yield the models inside a type, and how they are reached: `[]` or `.*`."""
    for member in _members(annotation):
        if isinstance(member, type) and issubclass(member, BaseModel):
            yield member, ""
        elif get_origin(member) is tuple:
            yield from ((model, f"[]{below}") for model, below in _models(get_args(member)[0]))
        elif get_origin(member) is dict:
            yield from ((model, f".*{below}") for model, below in _models(get_args(member)[1]))


def _suffix(annotation: Any) -> str:
    origins = {get_origin(member) for member in _members(annotation)}
    return "[]" if tuple in origins else ".*" if dict in origins else ""


def _literals(annotation: Any) -> Iterator[Any]:
    for member in _members(annotation):
        if get_origin(member) is Literal:
            yield member
        elif get_origin(member) is tuple:
            yield from _literals(get_args(member)[0])


def page() -> str:
    """Return the whole page."""
    parts = [INTRODUCTION]
    for names, model in kinds().items():
        # What every manifest has is said once.
        own = [row for row in rows(model) if not row.path.startswith(("apiVersion", "kind", "metadata", "status"))]
        body = "\n".join(map(str, own)) if own else ""
        head = "| field | status | meaning |\n|---|---|---|\n"
        parts.append(f"## {', '.join(names)}\n\n{head}{body}\n")
    common = list(rows(base.Resource))
    table = "\n".join(map(str, common))
    parts.insert(1, f"## Every manifest\n\n| field | status | meaning |\n|---|---|---|\n{table}\n")
    return "\n".join(parts)


def models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield a model and every one below it whose fields have an effect."""
    yield model
    for info in model.model_fields.values():
        if status_of(info).startswith(WORKS):
            for inner, _ in _models(info.annotation):
                yield from models(inner)


def names_that_are_read() -> set[str]:
    """Return every attribute that some module reads which sees the models, and what stands in tables there."""
    found: set[str] = set()
    readers = [*(ROOT / "config" / "compiler").glob("*.py"), *(ROOT / "config" / "model").glob("*.py")]
    for path in (*readers, ROOT / "config" / "resources.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif path.parent.name == "compiler" and isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)  # a table of fields
    return found


def _leaves_no_choice(annotation: Any) -> bool:
    """Tell whether a field can only say what is so anyway."""
    members = list(_members(annotation))
    return all(
        len(get_args(member)) == 1
        if get_origin(member) is Literal
        else isinstance(member, type)
        and issubclass(member, BaseModel)
        and all(_leaves_no_choice(info.annotation) for info in member.model_fields.values())
        for member in members
    )


def unread_fields() -> list[str]:
    """Return the fields that are said to work, and that nothing reads."""
    read = names_that_are_read()
    return sorted(
        {
            f"{model.__name__}.{name}"
            for top in kinds().values()
            for model in models(top)
            for name, info in model.model_fields.items()
            if status_of(info).startswith(WORKS)
            and not _leaves_no_choice(info.annotation)
            and read.isdisjoint({name, info.alias})
        }
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
