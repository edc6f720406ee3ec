"""Optional values: what makes them, what asks them, and the two calls that stand in for an empty one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from config.cel.codegen import Code
from config.cel.errors import EvaluationError, NoSuchKeyError
from config.cel.overloads import DYN, LIBRARY
from config.cel.values import NONE, Duration, Optional

if TYPE_CHECKING:
    from config.cel import ast
    from config.cel.codegen import Generator

function = LIBRARY.function


@function("optional.of", "dyn", "optional", total=True)
def optional_of(value: Any) -> Optional:
    return Optional(present=True, content=value)


@function("optional.none", "", "optional", total=True)
def optional_none() -> Optional:
    return NONE


@function("optional.ofNonZeroValue", "dyn", "optional", total=True)
def optional_of_non_zero(value: Any) -> Optional:
    zero = value in (None, False, 0, 0.0, "", b"", Duration(0)) if not isinstance(value, (list, dict)) else not value
    return NONE if zero else Optional(present=True, content=value)


@function("hasValue", "optional", "bool", method=True, total=True)
def has_value(optional: Optional) -> bool:
    return optional.present


@function("value", "optional", "dyn", method=True)
def optional_value(optional: Optional) -> Any:
    if not optional.present:
        raise NoSuchKeyError("an optional without a value")
    return optional.content


@function("or", "optional optional", "optional", method=True, total=True)
def optional_or(optional: Optional, other: Optional) -> Optional:
    return optional if optional.present else other


@function("orValue", "optional dyn", "dyn", method=True, total=True)
def optional_or_value(optional: Optional, default: Any) -> Any:
    return optional.content if optional.present else default


def _as_optional(value: Any) -> Optional:
    if type(value) is Optional:
        return value
    raise EvaluationError("no such overload")


def stand_in(generator: Generator, node: ast.Call) -> Code | None:
    """Generate `a.or(b)` or `a.orValue(b)`, where `b` is evaluated only if `a` is empty; none for any other call."""
    if not node.is_method or len(node.arguments) != 2:  # noqa: PLR2004  receiver, stand-in
        return None
    is_or = node.function == "or"
    with generator.aside() as lines:
        optional = generator.value(node.arguments[0])
    with generator.aside() as other_lines:
        other = generator.value(node.arguments[1])
    if not {optional.kind, other.kind if is_or else DYN} <= {"optional", DYN}:
        return None
    generator.add(lines)
    optional, other = _checked(generator, optional), _checked(generator, other) if is_or else other
    total = optional.total and other.total
    name = generator.fresh()
    held = name if is_or else f"{name}.content"
    kind = "optional" if is_or else DYN
    if not other_lines:
        return Code(f"({held} if ({name} := {optional.text}).present else {other.text})", kind, total)
    result = generator.fresh()
    generator.emit(f"{name} = {optional.text}")
    with generator.block(f"if {name}.present:"):
        generator.emit(f"{result} = {held}")
    with generator.block("else:"):
        generator.add(other_lines)
        generator.emit(f"{result} = {other.text}")
    return Code(result, kind, total)


def _checked(generator: Generator, code: Code) -> Code:
    if code.kind == "optional":
        return code
    return Code(f"{generator.constant(_as_optional)}({code.text})", "optional", total=False)
