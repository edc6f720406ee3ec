"""The source lines that findings point at, with everything masked that may be a secret.

Shown is only what is known to be public: the names of fields, and the values of fields whose model says that they are
text or numbers and nothing to conceal. A `Secret` is masked as a whole, and so are unknown fields, comments, anchors,
what an alias repeats, and what YAML cannot read: a credential is often what is misspelt or misplaced.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, SecretStr

from config.files import MAX_FILE_BYTES
from config.kinds import KINDS
from config.manifests import beyond_depth, compose
from config.model.base import ClusterResource, Concealed
from config.model.cluster import Secret

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from config.errors import Location

MASK: Final = "****"
_LINE_BREAKS = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""As libyaml counts them."""
_PUNCTUATION = frozenset(" \t-:,{}[]?")
_SCALARS = (str, int, float, bool, datetime)
_PUBLIC_MAPS = frozenset({"labels", "match_labels"})
_OWN_ANNOTATIONS = "egress-gateway.dev/"
_USERINFO = re.compile(r"://[^/]*@")
_OPAQUE, _PUBLIC = 1, 2


@dataclass(frozen=True, slots=True)
class SourceLine:
    """One line, fit to be shown."""

    text: str
    column: int
    """The place's column in `text`, from 1: masking moves it."""


@dataclass(slots=True)
class SourceLines:
    """Reads the files of findings, each once."""

    _files: dict[str, _File | None] = field(default_factory=dict)

    def at(self, place: Location) -> SourceLine | None:
        """Return the line of a place; none where nothing of it may be shown."""
        if place.file not in self._files:
            text = _read(place.file)
            self._files[place.file] = None if text is None else _File.of(place.file, text)
        file = self._files[place.file]
        return file.line(place.line, place.column) if file else None


def _read(name: str) -> str | None:
    path = Path(name)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return None
        return path.read_bytes().decode("utf-8").removeprefix("\ufeff")
    except (OSError, UnicodeDecodeError):
        return None  # which is a finding of its own


@dataclass(slots=True)
class _File:
    text: str
    lines: list[tuple[int, int]]
    """Where each line begins and ends."""
    marks: bytearray
    """For each character whether it belongs to something public, to something opaque, or stands in between."""
    documents: list[tuple[int, int]]
    """First and last line of what could be read."""

    @classmethod
    def of(cls, name: str, text: str) -> _File:
        breaks = list(_LINE_BREAKS.finditer(text))
        starts = [0, *(found.end() for found in breaks)]
        ends = [*(found.start() for found in breaks), len(text)]
        file = cls(text, list(zip(starts, ends, strict=True)), bytearray(len(text) + 1), [])
        if beyond_depth(name, text) is None:
            try:
                for node in compose(text):
                    file.documents.append((node.start_mark.line + 1, node.end_mark.line + 1))
                    _Revealer(file).document(node)
            except (yaml.YAMLError, RecursionError, ValueError):
                pass  # a finding of its own; what stands before the fault was read
        return file

    def mark(self, node: yaml.Node, kind: int) -> None:
        """Say what the characters of a node are. What is opaque once stays so."""
        for index in range(node.start_mark.index, min(node.end_mark.index, len(self.text))):
            if self.marks[index] != _OPAQUE:
                self.marks[index] = kind

    def line(self, number: int, column: int) -> SourceLine | None:
        if number > len(self.lines) or not any(first <= number <= last for first, last in self.documents):
            return None
        start, end = self.lines[number - 1]
        shown: list[str] = []
        place = 0
        is_masked = says_something = False
        for index in range(start, end):
            if index == start + column - 1:
                place = len(shown) if is_masked is False or self._is_shown(index) else len(shown) - 1
            character, mark = self.text[index], self.marks[index]
            if mark == 0 and character == "#":
                break
            if self._is_shown(index):
                shown.append(character)
                says_something |= mark == _PUBLIC
                is_masked = False
            elif not is_masked:
                shown.append(MASK)
                is_masked = True
        else:
            if column > end - start:
                place = len(shown) + column - 1 - (end - start)
        if not says_something:
            return None
        before = "".join(shown[:place]).ljust(place)
        return SourceLine("".join(shown).rstrip(), len(before) + 1)

    def _is_shown(self, index: int) -> bool:
        mark = self.marks[index]
        return mark == _PUBLIC or (mark == 0 and self.text[index] in _PUNCTUATION)


@dataclass(slots=True)
class _Revealer:
    """Walks a document along its model, and marks what it knows."""

    file: _File
    seen: set[int] = field(default_factory=set)

    def document(self, node: yaml.Node) -> None:
        values = _plain_values(node)
        group, _, _ = values.get("apiVersion", "").rpartition("/")
        kind = values.get("kind", "")
        if (group, kind) == ("", "List") and isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                is_items = key.value == "items" and isinstance(value, yaml.SequenceNode)
                for item in value.value if is_items else [value]:
                    self.document(item) if is_items else self.file.mark(item, _OPAQUE)
            return
        # Of an unknown kind only what every kind has is known.
        model = KINDS[group, kind][1] if (group, kind) in KINDS else ClusterResource
        if not kind or kind == Secret.__name__:
            self.file.mark(node, _OPAQUE)
        else:
            self.value(node, model)

    def value(self, node: yaml.Node, annotation: Any, name: str = "") -> None:
        """Mark a value of which the type is known."""
        if id(node) in self.seen:  # an alias: what it repeats may be meant for a place that conceals it
            self.file.mark(node, _OPAQUE)
            return
        self.seen.add(id(node))
        for member in _members(annotation):
            if isinstance(node, yaml.MappingNode) and isinstance(member, type) and issubclass(member, BaseModel):
                self._model(node, member)
                return
            if isinstance(node, yaml.MappingNode) and get_origin(member) is dict:
                self._map(node, name)
                return
            if isinstance(node, yaml.SequenceNode) and get_origin(member) is tuple:
                for item in node.value:
                    self.value(item, get_args(member)[0])
                return
            if isinstance(node, yaml.ScalarNode) and (member in _SCALARS or get_origin(member) is Literal):
                self._scalar(node)
                return
        self.file.mark(node, _OPAQUE)

    def _model(self, node: yaml.MappingNode, model: type[BaseModel]) -> None:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(names)) < len(node.value):  # one of them twice, and only one can be meant
            self.file.mark(node, _OPAQUE)
            return
        fields = {info.alias: (name, info) for name, info in model.model_fields.items()}
        for key, value in node.value:
            self._scalar(key)  # the name of an unknown field stands in its finding, too
            name, info = fields.get(key.value, ("", None))
            if info is None or is_concealed(info):
                self.file.mark(value, _OPAQUE)
            else:
                self.value(value, info.annotation, name)

    def _map(self, node: yaml.MappingNode, name: str) -> None:
        for key, value in node.value:
            is_own = name == "annotations" and str(key.value).startswith(_OWN_ANNOTATIONS)
            is_public = is_own or name in _PUBLIC_MAPS
            for part in (key, value):
                if is_public and isinstance(part, yaml.ScalarNode) and id(part) not in self.seen:
                    self.seen.add(id(part))
                    self._scalar(part)
                else:
                    self.file.mark(part, _OPAQUE)

    def _scalar(self, node: yaml.ScalarNode) -> None:
        """Show a scalar, if it stands where its marks say, and is no address with a password."""
        written = self.file.text[node.start_mark.index : node.end_mark.index]
        as_marked = written.startswith(node.style) if node.style else "\n" in written or written == node.value
        if not as_marked or _USERINFO.search(written):
            self.file.mark(node, _OPAQUE)
            return
        self.file.mark(node, _PUBLIC)
        if node.style in {"|", ">"} and "#" in (header := written.partition("\n")[0]):
            start = node.start_mark.index + header.index("#")
            self.file.marks[start : node.start_mark.index + len(header)] = bytes([_OPAQUE]) * (
                len(header) - header.index("#")
            )


def _plain_values(node: yaml.Node) -> dict[str, str]:
    """Return the scalar fields of a mapping; none at all if one stands twice."""
    if not isinstance(node, yaml.MappingNode):
        return {}
    names = [str(key.value) for key, _ in node.value]
    values = {
        name: value.value
        for name, (_, value) in zip(names, node.value, strict=True)
        if isinstance(value, yaml.ScalarNode)
    }
    return values if len(set(names)) == len(names) else {}


def _members(annotation: Any) -> list[Any]:
    """Return what a union is of, without what is annotated to it."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        return [member for argument in get_args(annotation) for member in _members(argument)]
    return [] if annotation is NoneType else [annotation]


def is_concealed(info: FieldInfo) -> bool:
    """Tell whether a field's value may be a credential."""
    return any(isinstance(mark, Concealed) for mark in info.metadata) or _holds_secret(info.annotation)


def _holds_secret(annotation: Any) -> bool:
    if annotation is SecretStr or any(isinstance(m, Concealed) for m in getattr(annotation, "__metadata__", ())):
        return True
    return any(_holds_secret(argument) for argument in get_args(annotation))
