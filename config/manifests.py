"""YAML files to documents that remember where every value stood.

Only syntax lives here. Nodes are composed, not constructed, so that each keeps its line and no tag can build an
object; a plain and faultless file is read without them, and they are composed when a place in it is asked for.
Kubernetes reads YAML through JSON: dates and sexagesimal numbers therefore stay strings, keys are strings.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import yaml

from config.errors import Finding, Location
from config.yaml_events import LOADER, NoMeaningError, read_plain, scalar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_DOCUMENT_NODES = 200_000
"""Nodes of one document with every alias expanded: bounds alias bombs ("billion laughs")."""
MAX_DEPTH = 64
_MAX_COMPOSED_DEPTH = 500
"""libyaml's composer calls itself for every level, and thousands of levels overflow the C stack."""

_COLLECTION_TAGS = frozenset({"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})


class _ManifestSyntaxError(Exception):
    """A document that cannot be read; carries its finding."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        super().__init__(str(finding))


@dataclass(slots=True)
class Source:
    """One file, and its nodes from the moment on when somebody asks for a place in it."""

    file: str
    text: str
    composed: list[yaml.Node] | None = None

    @property
    def nodes(self) -> list[yaml.Node]:
        """The documents that are not empty."""
        if self.composed is None:
            self.composed = list(compose(self.text))
        return self.composed


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a manifest came from. It outlives the manifest's data, and finds out where each value stood."""

    source: Source = field(repr=False)
    number: int
    """Which of its file's documents it is, or stands in; empty ones are not counted."""
    path: tuple[str | int, ...] = ()
    """Where it stands in that document: not at its top if it is an item of a List."""

    @property
    def file(self) -> str:
        """Name of its file."""
        return self.source.file

    @property
    def node(self) -> yaml.Node:
        """The tree that knows the places."""
        node = self.source.nodes[self.number]
        for step in self.path:
            node = _child(node, step)[1] or node
        return node

    @property
    def location(self) -> Location:
        """Where the manifest begins."""
        return _location(self.file, self.node)

    def locate(self, path: Iterable[str | int], *, key: bool = False) -> Location:
        """Return where the value at a path stands, or its key; the nearest ancestor's place if it is missing."""
        node, found = self.node, self.node
        for step in path:
            key_node, value = _child(node, step)
            if value is None:
                break
            node = value
            found = key_node if key and key_node is not None else value
        return _location(self.file, found)


@dataclass(frozen=True, slots=True)
class Document:
    """One manifest: its plain data, and where it came from."""

    origin: Origin
    data: dict[str, Any]

    @property
    def location(self) -> Location:
        """Where the document begins."""
        return self.origin.location

    def locate(self, path: Iterable[str | int], *, key: bool = False) -> Location:
        """Return where the value at a path stands, or its key; the nearest ancestor's place if it is missing."""
        return self.origin.locate(path, key=key)

    def items(self) -> tuple[list[Document], list[Finding]]:
        """Unfold a `v1` `List` into its documents. What is no mapping becomes a finding: it may have been a policy."""
        items = self.data.get("items")
        if not isinstance(items, list):
            return [], [Finding("missing-field", "a List needs 'items', a sequence", self.locate(["items"]))]
        documents: list[Document] = []
        findings: list[Finding] = []
        for index, value in enumerate(items):
            origin = replace(self.origin, path=(*self.origin.path, "items", index))
            if isinstance(value, dict):
                documents.append(Document(origin, value))
            else:
                findings.append(_not_a_mapping(origin.location))
        return documents, findings


def read_documents(file: str, text: str) -> tuple[list[Document], list[Finding]]:
    """Split one file into its documents. A document that is no mapping, or repeats a key, becomes a finding."""
    source = Source(file, text)
    plain = read_plain(text, max_nodes=MAX_DOCUMENT_NODES, max_depth=MAX_DEPTH)
    if plain is not None:
        return [Document(Origin(source, number), data) for number, data in enumerate(plain)], []
    if (place := beyond_depth(file, text)) is not None:
        return [], [Finding("yaml-limit", f"more than {MAX_DEPTH} levels", place)]
    return _read_nodes(source)


def _read_nodes(source: Source) -> tuple[list[Document], list[Finding]]:
    """Read a file that is not plain: it has aliases or tags, or faults, whose places are wanted."""
    documents: list[Document] = []
    findings: list[Finding] = []
    file = source.file
    nodes = source.composed = []
    try:
        for node in compose(source.text):
            nodes.append(node)
            try:
                data = _Reader(file).value(node, 0)
            except _ManifestSyntaxError as error:
                findings.append(error.finding)
                continue
            if isinstance(data, dict):
                documents.append(Document(Origin(source, len(nodes) - 1), data))
            else:
                findings.append(_not_a_mapping(_location(file, node)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = Location(file, mark.line + 1, mark.column + 1) if mark else Location(file)
        findings.append(Finding("yaml-syntax", f"not valid YAML: {error.problem}", place))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        findings.append(Finding("yaml-syntax", f"not readable as YAML: {type(error).__name__}", Location(file)))
    return documents, findings


def compose(text: str) -> Iterator[yaml.Node]:
    """Yield the node of every document of a text that is not `beyond_depth`; an empty one is none."""
    for node in yaml.compose_all(text, Loader=LOADER):
        if not (isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null")):
            yield node


def beyond_depth(file: str, text: str) -> Location | None:
    """Return where a text is nested too deeply to be composed. Syntax errors are left to the composer."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=LOADER):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_COMPOSED_DEPTH:
                mark: Any = event.start_mark
                return Location(file, mark.line + 1, mark.column + 1)
    except yaml.YAMLError:
        pass
    return None


class _Reader:
    """Turns nodes into plain data, within the bounds of one document."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.nodes = 0

    def value(self, node: yaml.Node, depth: int) -> Any:
        self.nodes += 1
        if self.nodes > MAX_DOCUMENT_NODES or depth > MAX_DEPTH:
            raise self._fault(node, "yaml-limit", f"more than {MAX_DOCUMENT_NODES} values or {MAX_DEPTH} levels")
        if isinstance(node, yaml.CollectionNode) and node.tag not in _COLLECTION_TAGS:
            raise self._fault(node, "yaml-tag", f"the tag {node.tag!r} has no meaning in a manifest")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, depth + 1) for item in node.value]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise self._fault(key_node, "yaml-merge", "merge keys (<<) are not supported: write the fields out")
            if not isinstance(key, str):
                raise self._fault(key_node, "yaml-key", "a key must be a string: put it in quotes")
            if key in result:
                raise self._fault(key_node, "duplicate-key", f"the key {key!r} stands twice in one mapping")
            result[key] = self.value(value_node, depth + 1)
        return result

    def _scalar(self, node: yaml.Node) -> Any:
        try:
            return scalar(node.tag, node.value)
        except NoMeaningError:
            raise self._fault(node, "yaml-tag", f"the tag {node.tag!r} has no meaning in a manifest") from None

    def _fault(self, node: yaml.Node, code: str, message: str) -> _ManifestSyntaxError:
        return _ManifestSyntaxError(Finding(code, message, _location(self.file, node)))


def _child(node: yaml.Node, step: str | int) -> tuple[yaml.Node | None, yaml.Node | None]:
    """Return the key and value nodes of one step down."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == step:
                return key, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return None, node.value[step]
    return None, None


def _not_a_mapping(place: Location) -> Finding:
    return Finding("not-a-mapping", "a manifest must be a mapping", place)


def _location(file: str, node: yaml.Node) -> Location:
    return Location(file, node.start_mark.line + 1, node.start_mark.column + 1)
