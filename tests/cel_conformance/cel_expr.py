"""Conformance cases on Google's C++ runtime, cel-expr-python."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from cel_expr_python import cel

from tests.cel_conformance.cases import duration_text, nanoseconds_of, plain_python, timestamp_text
from tests.cel_conformance.results import Result, failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cel_conformance.cases import Case, Tagged

EXTENSIONS = (
    "bindings",
    "encoders",
    "lists",
    "math",
    "optional",
    "protos",
    "regex",
    "sets",
    "strings",
    "two-var-comprehensions",
)
"""All that the C++ runtime has. The modules in `cel_expr_python.ext` cover six; a YAML configuration takes the rest."""


def run_cel_expr(case: Case) -> Result:
    """Run a case on Google's C++ runtime, cel-expr-python."""
    try:
        types = {name: _type_of(value) for name, value in case.bindings.items()} | case.type_env
        environment = _environment(case.container, tuple(types.items()), json.dumps(case.functions))
        evaluation = _Evaluation(environment, case)
        return Result(
            None if case.check_only else evaluation.tagged(case.expr),
            type=_type_name(evaluation.return_type(case.expr)),
        )
    except (LookupError, RuntimeError, TypeError, ValueError, _EvaluationError) as error:
        return failure(error)


class _EvaluationError(Exception):
    """The runtime answered with an error value."""


def _type_of(value: Tagged) -> str:
    """Return the type of a variable that a case binds without declaring it."""
    (tag,) = value
    return {"null": "null_type", "list": "list(dyn)", "map": "map(dyn, dyn)"}.get(tag, tag)


@cache
def _environment(container: str, types: tuple[tuple[str, str], ...], functions: str) -> Any:
    extensions = "".join(f"- name: {name}\n" for name in EXTENSIONS)
    return cel.NewEnv(
        config=cel.NewEnvConfigFromYaml(f"extensions:\n{extensions}"),
        variables={name: _declared_type(kind) for name, kind in types},
        functions=[cel.FunctionDecl(*declaration) for declaration in _declarations(functions)],
        container=container,
    )


def _declarations(functions: str) -> Iterator[tuple[str, list[Any]]]:
    for name, overloads in json.loads(functions).items():
        yield (
            name,
            [
                cel.Overload(each["id"], _declared_type(each["result"]), list(map(_declared_type, each["params"])))
                for each in overloads
            ],
        )


def _declared_type(kind: str) -> Any:
    return cel.Type.NULL if kind == "null_type" else cel.Type(kind.replace("(", "<").replace(")", ">"))


def _type_name(kind: Any) -> str:
    """Write `MAP<STRING, INT>` as `map(string, int)`."""
    name = kind.name().replace("<", "(").replace(">", ")")
    return re.sub(r"\b[A-Z]{3,}\b", lambda word: {"NULL": "null_type"}.get(word[0], word[0].lower()), name)


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """One case on the C++ runtime.

    Python sees its maps with plain keys, where `1`, `1u` and `true` fall together, and its optionals not at all. What a
    result holds there is asked for with further expressions around the first one.
    """

    environment: Any
    case: Case

    def return_type(self, expression: str) -> Any:
        return self._compile(expression).return_type()

    def tagged(self, expression: str) -> Tagged:
        value = self._evaluate(expression)
        try:
            content = value.value()
        except TypeError:  # no Python form
            present = self._evaluate(f"({expression}\n).hasValue()").value()
            return {"optional": self.tagged(f"({expression}\n).value()") if present else None}
        match content:
            case list():
                return {"list": [self.tagged(f"({expression}\n)[{index}]") for index in range(len(content))]}
            case dict():
                keys = self._evaluate(f"({expression}\n).map(key, key)").value()
                return {"map": [[_scalar(key), self.tagged(f"({expression}\n)[{_literal(key)}]")] for key in keys]}
            case datetime():  # as text: Python's have no nanoseconds
                return {"timestamp": timestamp_text(self._nanoseconds(expression))}
            case timedelta():
                return {"duration": duration_text(self._nanoseconds(expression))}
            case _:
                return _scalar(value)

    def _nanoseconds(self, expression: str) -> int:
        return nanoseconds_of(self._evaluate(f"string({expression}\n)").value())

    def _compile(self, expression: str) -> Any:
        return self.environment.compile(expression, disable_check=self.case.disable_check)

    def _evaluate(self, expression: str) -> Any:
        data = {name: plain_python(bound) for name, bound in self.case.bindings.items()}
        value = self._compile(expression).eval(data=data)
        if value.type() == cel.Type.ERROR and isinstance(message := _plain(value), str):
            raise _EvaluationError(message)
        return value


def _plain(value: Any) -> Any:
    """Return the Python form, None for an optional: its type is `ERROR` too."""
    try:
        return value.value()
    except TypeError:
        return None


def _scalar(value: Any) -> Tagged:
    content, kind = value.value(), value.type()
    if isinstance(content, cel.Type):
        return {"type": str(value).partition("<")[0]}
    tag, encode = _SCALARS[type(content)]
    return {"uint" if kind == cel.Type.UINT else tag: encode(content)}


_SCALARS: dict[type, tuple[str, Callable[[Any], Any]]] = {
    type(None): ("null", lambda _: None),
    bool: ("bool", bool),
    int: ("int", str),
    float: ("double", repr),
    str: ("string", str),
    bytes: ("bytes", lambda content: base64.b64encode(content).decode()),
    bytearray: ("bytes", lambda content: base64.b64encode(content).decode()),
}


def _literal(key: Any) -> str:
    ((tag, content),) = _scalar(key).items()
    match tag:
        case "string":
            return "".join(["'", *(f"\\U{ord(character):08x}" for character in content), "'"])
        case "bool":
            return str(content).lower()
        case _:
            return f"{content}u" if tag == "uint" else str(content)
