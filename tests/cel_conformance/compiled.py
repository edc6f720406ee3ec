"""Conformance cases on our compiled form."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from config.cel import EvaluationError, ExpressionError
from config.cel.codegen import Code, Generator
from config.cel.environment import Environment, Field
from config.cel.expression import compile_with
from config.cel.overloads import KINDS
from config.cel.parser import parse
from config.cel.times import format_duration, format_timestamp, parse_duration, parse_timestamp
from config.cel.values import CelType, Duration, Optional, Timestamp, UInt, map_key, plain_key
from tests.cel_conformance.results import Result, failure

if TYPE_CHECKING:
    from config.cel import ast
    from tests.cel_conformance.cases import Case, Tagged

_KINDS = {"null_type": "null", "google.protobuf.Timestamp": "timestamp", "google.protobuf.Duration": "duration"}


def run_compiled(case: Case) -> Result:
    """Run a case on the function that is generated for it."""
    try:
        variables = {name: _variable(name, case.type_env.get(name, "dyn")) for name in {*case.type_env, *case.bindings}}
        environment = Environment(variables, {"variable": _read})
        generator = _Unchecked(environment) if case.disable_check else Generator(environment)
        function, _ = compile_with(generator, parse(case.expr))
        return Result(_encode(function({name: _decode(value) for name, value in case.bindings.items()})))
    except (ExpressionError, EvaluationError) as error:
        return failure(error)


class _Unchecked(Generator):
    """Lets what the check refuses fail when it is evaluated, as the specification's unchecked mode does."""

    __slots__ = ()

    def node(self, node: ast.Node) -> Code:
        try:
            return Generator.node(self, node)
        except ExpressionError as error:
            return Code(f"fail({error.message!r})", total=False)

    def truth(self, node: ast.Node) -> Code:
        try:
            return Generator.truth(self, node)
        except ExpressionError as error:
            return Code(f"fail({error.message!r})", "bool", total=False)


def _variable(name: str, declared: str) -> Field:
    kind = declared.partition("(")[0]
    kind = _KINDS.get(kind, kind)
    return Field(kind if kind in set(KINDS.values()) else "dyn", f"variable(r, {name!r})", total=False)


def _read(bindings: dict[str, Any], name: str) -> Any:
    if name not in bindings:
        raise EvaluationError(f"unknown variable {name}")
    return bindings[name]


def _decode(tagged: Tagged) -> Any:  # noqa: PLR0911  one for each type
    ((tag, content),) = tagged.items()
    match tag:
        case "null":
            return None
        case "int":
            return int(content)
        case "uint":
            return UInt(content)
        case "double":
            return float(content)
        case "bytes":
            return base64.b64decode(content)
        case "list":
            return [_decode(item) for item in content]
        case "map":
            return {map_key(_decode(key)): _decode(item) for key, item in content}
        case "timestamp":
            return parse_timestamp(content)
        case "duration":
            return parse_duration(content)
        case _:
            return content


def _encode(value: Any) -> Tagged:  # noqa: C901, PLR0911, PLR0912  one for each type
    match value:
        case None:
            return {"null": None}
        case bool():
            return {"bool": value}
        case UInt():
            return {"uint": str(int(value))}
        case int():
            return {"int": str(value)}
        case float():
            return {"double": repr(value)}
        case str():
            return {"string": value}
        case bytes():
            return {"bytes": base64.b64encode(value).decode()}
        case list():
            return {"list": [_encode(item) for item in value]}
        case dict():
            return {"map": [[_encode(plain_key(key)), _encode(item)] for key, item in value.items()]}
        case Timestamp():
            return {"timestamp": format_timestamp(value)}
        case Duration():
            return {"duration": format_duration(value)}
        case CelType():
            return {"type": value.name}
        case Optional():
            return {"optional": _encode(value.content) if value.present else None}
        case _:
            raise TypeError(type(value).__name__)
