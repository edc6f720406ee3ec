"""Conformance cases on cel-python's interpreter."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import celpy
from celpy import celtypes

from tests.cel_conformance.cases import EPOCH, duration_text, plain_python, timestamp_text
from tests.cel_conformance.results import Result, failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cel_conformance.cases import Case, Tagged

_TYPES: dict[str, Any] = {
    "bool": celtypes.BoolType,
    "int": celtypes.IntType,
    "uint": celtypes.UintType,
    "double": celtypes.DoubleType,
    "string": celtypes.StringType,
    "bytes": celtypes.BytesType,
    "list": celtypes.ListType,
    "map": celtypes.MapType,
    "null_type": type(None),
    "timestamp": celtypes.TimestampType,
    "duration": celtypes.DurationType,
}
_WELL_KNOWN = {"timestamp": "google.protobuf.Timestamp", "duration": "google.protobuf.Duration"}
_TYPE_NAMES = {python: _WELL_KNOWN.get(name, name) for name, python in _TYPES.items()} | {
    celtypes.TypeType: "type",
    type: "type",
}
_MICROSECOND = timedelta(microseconds=1)

# Its `+` gives back Python's own float, str, bytes and list.
_ENCODERS: tuple[tuple[type, Callable[[Any], Tagged]], ...] = (
    (type(None), lambda _: {"null": None}),
    (celtypes.BoolType, lambda value: {"bool": bool(value)}),
    (bool, lambda value: {"bool": value}),
    (celtypes.UintType, lambda value: {"uint": str(int(value))}),
    (celtypes.IntType, lambda value: {"int": str(int(value))}),
    (float, lambda value: {"double": repr(float(value))}),
    (str, lambda value: {"string": str(value)}),
    (bytes, lambda value: {"bytes": base64.b64encode(value).decode()}),
    (list, lambda value: {"list": [_encode(item) for item in value]}),
    (dict, lambda value: {"map": [[_encode(key), _encode(item)] for key, item in value.items()]}),
    (celtypes.TimestampType, lambda value: {"timestamp": timestamp_text(_microseconds(value) * 1000)}),
    (celtypes.DurationType, lambda value: {"duration": duration_text(value // _MICROSECOND * 1000)}),
    (type, lambda value: {"type": _TYPE_NAMES.get(value, value.__name__)}),
)


def run_cel_python(case: Case) -> Result:
    """Run a case on the interpreter. cel-python's `CompiledRunner` mixes up threads and is never used."""
    annotations = {name: _TYPES.get(kind.partition("(")[0]) for name, kind in case.type_env.items()}
    known: dict[str, Any] = {name: kind for name, kind in annotations.items() if kind is not None}
    try:
        environment = celpy.Environment(case.container or None, known, celpy.InterpretedRunner)
        program = environment.program(environment.compile(case.expr))
        if case.check_only:  # it deduces no types
            return Result()
        return Result(_encode(program.evaluate({name: _decode(bound) for name, bound in case.bindings.items()})))
    except Exception as error:  # noqa: BLE001  the interpreter lets all of Python's exceptions slip
        return failure(error)


def _encode(value: Any) -> Tagged:
    if isinstance(value, Exception):
        raise value
    for kind, encode in _ENCODERS:
        if isinstance(value, kind):
            return encode(value)
    raise TypeError(f"not a CEL value: {type(value).__name__}")


def _decode(tagged: Tagged) -> Any:
    ((tag, content),) = tagged.items()
    match tag:
        case "null":
            return None
        case "list":
            return celtypes.ListType([_decode(item) for item in content])
        case "map":
            return celtypes.MapType([(_decode(key), _decode(item)) for key, item in content])
        case _:
            return _TYPES[tag](plain_python(tagged))


def _microseconds(moment: Any) -> int:
    microseconds: int = (moment.astimezone(EPOCH.tzinfo) - celtypes.TimestampType(EPOCH)) // _MICROSECOND
    return microseconds
