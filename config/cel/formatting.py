"""`string.format(list)` of the strings extension: `%s %d %f %e %b %o %x %X %%`, in no locale."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from config.cel.errors import EvaluationError
from config.cel.limits import Visits, concatenate
from config.cel.overloads import LIBRARY
from config.cel.times import format_duration, format_timestamp
from config.cel.values import CelType, Duration, Timestamp, UInt, plain_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CLAUSE: Final = re.compile(r"%(?:%|(?:\.([0-9]{1,4}))?([sdfebxXo]))")
_DEFAULT_PRECISION: Final = 6
MAX_PRECISION: Final = 100


@LIBRARY.function("format", "string list", "string", method=True)
def format_text(template: str, arguments: list[Any]) -> str:
    """Fill in the clauses of a template.

    Raises:
        EvaluationError: an unknown clause, too few arguments, or one of a type that its clause does not take.

    """
    return concatenate(_pieces(template, arguments))


def _pieces(template: str, arguments: list[Any]) -> Iterator[str]:
    position = used = 0
    while (start := template.find("%", position)) >= 0:
        yield template[position:start]
        clause = _CLAUSE.match(template, start)
        if clause is None:
            raise EvaluationError("an unknown formatting clause")
        position = clause.end()
        precision, verb = clause.groups()
        if verb is None:
            yield "%"
            continue
        if used >= len(arguments):
            raise EvaluationError("more formatting clauses than arguments")
        yield from _VERBS[verb](arguments[used], _precision(precision))
        used += 1
    yield template[position:]


def _precision(digits: str | None) -> int:
    precision = _DEFAULT_PRECISION if digits is None else int(digits)
    if precision > MAX_PRECISION:
        raise EvaluationError("a precision out of range")
    return precision


def _special(value: float) -> str | None:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return None


def _plain_double(value: float) -> str:
    """Write the fewest digits that read back, never an exponent: Go's `FormatFloat(value, 'f', -1)`."""
    text = repr(value)
    return _special(value) or (format(Decimal(text), "f") if "e" in text else text).removesuffix(".0")


def _text(value: Any, _precision: int = 0) -> Iterator[str]:
    """`%s`, in pieces: values may share parts, so the whole can be far larger than they are."""
    return _written(value, Visits())


def _written(value: Any, visits: Visits) -> Iterator[str]:
    visits.count()
    kind = type(value)
    if kind is list:
        yield "["
        for position, item in enumerate(value):
            yield ", " if position else ""
            yield from _written(item, visits)
        yield "]"
    elif kind is dict:
        entries = sorted((concatenate(_text(plain_key(key))), item) for key, item in value.items()) if value else []
        yield "{"
        for position, (key, item) in enumerate(entries):
            yield f", {key}: " if position else f"{key}: "
            yield from _written(item, visits)
        yield "}"
    elif kind in _SCALARS:
        yield _SCALARS[kind](value)
    else:
        raise EvaluationError("no text for a value of this type")


def _utf8(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise EvaluationError("bytes that are not UTF-8") from None


_SCALARS: Final[dict[type, Callable[[Any], str]]] = {
    bool: lambda value: "true" if value else "false",
    int: str,
    UInt: int.__repr__,
    float: _plain_double,
    str: str,
    bytes: _utf8,
    type(None): lambda _: "null",
    Timestamp: format_timestamp,
    Duration: format_duration,
    CelType: lambda value: value.name,
}


def _decimal(value: Any, _precision: int) -> Iterator[str]:
    if type(value) not in {int, UInt, float}:
        raise EvaluationError("%d wants a number")
    yield from _text(value)


def _fixed(value: Any, precision: int) -> Iterator[str]:
    yield _real(value, f".{precision}f")


def _scientific(value: Any, precision: int) -> Iterator[str]:
    yield _real(value, f".{precision}e")


def _real(value: Any, layout: str) -> str:
    if type(value) not in {int, UInt, float}:
        raise EvaluationError("%f and %e want a number")
    return _special(value) or format(float(value), layout)


def _binary(value: Any, _precision: int) -> Iterator[str]:
    if type(value) not in {int, UInt, bool}:
        raise EvaluationError("%b wants an integer or a bool")
    yield format(int(value), "b")


def _octal(value: Any, _precision: int) -> Iterator[str]:
    if type(value) not in {int, UInt}:
        raise EvaluationError("%o wants an integer")
    yield format(int(value), "o")


def _hexadecimal(value: Any, _precision: int) -> Iterator[str]:
    kind = type(value)
    if kind is int or kind is UInt:
        yield format(int(value), "x")
    elif kind is str:
        yield value.encode("utf-8", "surrogatepass").hex()
    elif kind is bytes:
        yield value.hex()
    else:
        raise EvaluationError("%x wants an integer, a string or bytes")


def _upper_hexadecimal(value: Any, precision: int) -> Iterator[str]:
    yield from map(str.upper, _hexadecimal(value, precision))


_VERBS: Final[dict[str, Callable[[Any, int], Iterator[str]]]] = {
    "s": _text,
    "d": _decimal,
    "f": _fixed,
    "e": _scientific,
    "b": _binary,
    "o": _octal,
    "x": _hexadecimal,
    "X": _upper_hexadecimal,
}
