"""JSON text to values and back, strictly: no duplicate names, no NaN, no half surrogates, bounded depth and size."""

from __future__ import annotations

import json
import math
from base64 import b64encode
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any, Final

from config.cel.encoders import key_text, text_of
from config.cel.errors import EvaluationError, NoSuchKeyError
from config.cel.limits import MAX_PARSED_ELEMENTS, Visits, check_count, concatenate
from config.cel.overloads import LIBRARY
from config.cel.times import format_duration, format_timestamp
from config.cel.values import INT_MAX, INT_MIN, Cidr, Duration, Timestamp, UInt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

function = LIBRARY.function

MAX_DEPTH: Final = 64
"""Levels of lists and objects."""
_INT_DIGITS: Final = 20
"""Characters of the longest int, its sign included."""


def _integer(text: str) -> int | float:
    if len(text) <= _INT_DIGITS and INT_MIN <= (value := int(text)) <= INT_MAX:
        return value
    return _double(text)


def _double(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise EvaluationError("a JSON number out of range")
    return value


def _constant(_text: str) -> Any:
    raise EvaluationError("not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    items = dict(pairs)
    if len(items) < len(pairs):
        # Parsers differ on which one counts, so a policy could see another value than the origin.
        raise EvaluationError("a JSON object with a name twice")
    return items


_DECODER: Final = json.JSONDecoder(
    parse_int=_integer, parse_float=_double, parse_constant=_constant, object_pairs_hook=_object
)
_WRITER: Final = json.JSONEncoder(ensure_ascii=False)


def parse_json(text: str) -> Any:
    """Read JSON: whole numbers that fit are ints, others doubles.

    Raises:
        EvaluationError: not JSON, an object with a name twice, more than 64 levels, or more than 1,000 elements in one
            array or object.

    """
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise EvaluationError("not JSON") from None
    _check_size(value)
    if "\\u" in text:
        _check_surrogates(value)
    return value


def _containers(value: Any) -> list[Any]:
    """Return the lists and objects directly inside one."""
    items = value.values() if type(value) is dict else value
    return [item for item in items if type(item) is dict or type(item) is list]


def _check_size(value: Any) -> None:
    level = _containers([value])
    for _ in range(MAX_DEPTH):
        if not level:
            return
        check_count(max(map(len, level)), MAX_PARSED_ELEMENTS)
        level = [inner for outer in level for inner in _containers(outer)]
    if level:
        raise EvaluationError("JSON nested too deeply")


def _check_surrogates(value: Any) -> None:
    """Refuse strings that UTF-8 cannot encode, which only the escape of half a pair can make."""
    try:
        _WRITER.encode(value).encode()
    except UnicodeEncodeError:
        raise EvaluationError("not JSON") from None


@function("json", "string", "dyn")
def json_of_text(text: str) -> Any:
    return parse_json(text)


@function("json", "bytes", "dyn")
def json_of_bytes(value: bytes) -> Any:
    return parse_json(text_of(value))


@function("jsonField", "string string", "dyn")
def json_field_of_text(text: str, name: str) -> Any:
    return _field(parse_json(text), name)


@function("jsonField", "bytes string", "dyn")
def json_field_of_bytes(value: bytes, name: str) -> Any:
    return _field(parse_json(text_of(value)), name)


def _field(value: Any, name: str) -> Any:
    if type(value) is not dict:
        raise EvaluationError("only objects have fields")
    if name not in value:
        raise NoSuchKeyError("no such key")
    return value[name]


@function("toJson", "dyn", "string")
@function("to_json", "dyn", "string")
def to_json(value: Any) -> str:
    """Write compact JSON, names in the map's order; bytes in base64, times as CEL writes them."""
    text = concatenate(_pieces(value, Visits()))
    try:
        text.encode()
    except UnicodeEncodeError:
        raise EvaluationError("a string that is no Unicode text") from None
    return text


def _pieces(value: Any, visits: Visits) -> Iterator[str]:
    visits.count()
    kind = type(value)
    if kind is list:
        yield "["
        for position, item in enumerate(value):
            yield "," if position else ""
            yield from _pieces(item, visits)
        yield "]"
    elif kind is dict:
        yield "{"
        seen: set[str] = set()
        for key, item in value.items():
            name = key_text(key)
            if name in seen:
                raise EvaluationError("a map with two keys of one spelling")
            yield f"{',' if seen else ''}{_WRITER.encode(name)}:"
            seen.add(name)
            yield from _pieces(item, visits)
        yield "}"
    elif kind in _SCALARS:
        yield _SCALARS[kind](value)
    else:
        raise EvaluationError("no JSON for a value of this type")


def _number(value: float) -> str:
    if not math.isfinite(value):
        raise EvaluationError("no JSON for a double that is not finite")
    return repr(value)


def _quoted(value: Any) -> str:
    return f'"{value}"'


_SCALARS: Final[dict[type, Callable[[Any], str]]] = {
    bool: lambda value: "true" if value else "false",
    int: str,
    UInt: int.__repr__,
    float: _number,
    str: _WRITER.encode,
    bytes: lambda value: _quoted(b64encode(value).decode("ascii")),
    type(None): lambda _: "null",
    Timestamp: lambda value: _quoted(format_timestamp(value)),
    Duration: lambda value: _quoted(format_duration(value)),
    IPv4Address: _quoted,
    IPv6Address: _quoted,
    Cidr: lambda value: _quoted(f"{value.address}/{value.prefix_length}"),
}
