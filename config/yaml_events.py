"""Plain YAML to data in one pass over its events, without the tree of nodes that knows where everything stands.

Thousands of hosts are hundreds of thousands of nodes: to make them took three quarters of the time of a load, and most
of its memory. They are wanted for findings only, and made then.
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)([eE][-+]?[0-9]+)?")
_BOOLS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_TEXT_TAGS = frozenset({"str", "int", "float", "timestamp", "value", "merge"})
_MERGE = "tag:yaml.org,2002:merge"


class NoMeaningError(ValueError):
    """A scalar whose tag has no meaning in a manifest."""


class _NotPlainError(Exception):
    """Something that only the tree of nodes can tell how to read, or where it is faulty."""


def scalar(tag: str, text: str) -> Any:
    """Return the value of a scalar as JSON would have it.

    Raises:
        NoMeaningError: the tag has no meaning in a manifest, or not for this text.
        ValueError: an integer with more digits than Python reads.

    """
    name = tag.rpartition(":")[2]
    if name == "null":
        return None
    if name == "bool" and text.lower() in _BOOLS:
        return _BOOLS[text.lower()]
    if name == "int" and _INT.fullmatch(text):
        return int(text, 0) if text[:1] == "0" and len(text) > 1 else int(text)
    if name == "float" and _FLOAT.fullmatch(text):
        return float(text)
    if name in _TEXT_TAGS:
        return text
    raise NoMeaningError(tag)


def read_plain(text: str, *, max_nodes: int, max_depth: int) -> list[dict[str, Any]] | None:
    """Return the documents of a text that is plain: mappings without anchors, tags, merge keys and faults.

    Args:
        text: a whole file.
        max_nodes: bound of the values of one document.
        max_depth: bound of the levels of one document.

    Returns:
        The documents, without the empty ones; none if the text is not plain, whatever is the matter with it.

    """
    loader = LOADER(text)
    try:
        return _PlainReader(loader, max_nodes, max_depth).documents()
    except (_NotPlainError, yaml.YAMLError, ValueError):
        return None
    finally:
        loader.dispose()


class _PlainReader:
    """Makes data of events. It calls itself for every level, of which there are few."""

    def __init__(self, loader: Any, max_nodes: int, max_depth: int) -> None:
        self._next = loader.get_event
        self._resolve = loader.resolve
        self._max_nodes, self._max_depth = max_nodes, max_depth
        self._nodes = 0
        self._scalars: dict[str, Any] = {}
        """Values of the unquoted scalars met so far; most of them are the same few keys."""

    def documents(self) -> list[dict[str, Any]]:
        result = []
        while not isinstance(event := self._next(), yaml.StreamEndEvent):
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            self._nodes = 0
            value = self._value(self._next(), 0)
            if isinstance(value, dict):
                result.append(value)
            elif value is not None:
                raise _NotPlainError
        return result

    def _value(self, event: Any, depth: int) -> Any:
        self._nodes += 1
        if (
            event.anchor is not None
            or event.tag is not None
            or self._nodes > self._max_nodes
            or depth > self._max_depth
        ):
            raise _NotPlainError
        kind = type(event)
        if kind is yaml.ScalarEvent:
            return self._scalar(event)
        if kind is yaml.MappingStartEvent:
            return self._mapping(depth + 1)
        return self._sequence(depth + 1)

    def _mapping(self, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while type(event := self._next()) is yaml.ScalarEvent:
            key = self._scalar(event)
            if type(key) is not str or key in result or event.anchor is not None or event.tag is not None:
                raise _NotPlainError
            result[key] = self._value(self._next(), depth)
        if type(event) is not yaml.MappingEndEvent:
            raise _NotPlainError
        return result

    def _sequence(self, depth: int) -> list[Any]:
        result = []
        while type(event := self._next()) is not yaml.SequenceEndEvent:
            result.append(self._value(event, depth))
        return result

    def _scalar(self, event: Any) -> Any:
        text = event.value
        if not event.implicit[0]:  # in quotes, or a block
            return text
        try:
            return self._scalars[text]
        except KeyError:
            tag = self._resolve(yaml.ScalarNode, text, (True, False))
            if tag == _MERGE:
                raise _NotPlainError from None
            value = self._scalars[text] = scalar(tag, text)
            return value
