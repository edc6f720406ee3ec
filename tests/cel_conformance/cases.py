"""The conformance cases of the CEL specification, as neutral data.

A value is a dictionary with one key, its type: `{"int": "1"}`, `{"uint": "1"}`, `{"double": "NaN"}`, `{"string": "a"}`,
`{"bytes": "YQ=="}` (base64), `{"bool": true}`, `{"null": null}`, `{"list": [value]}`, `{"map": [[key, value]]}`,
`{"type": "int"}`, `{"duration": "1.5s"}`, `{"timestamp": "2009-02-13T23:31:30Z"}`, `{"optional": value or null}`,
`{"object": "type name"}`. Durations and timestamps have nanoseconds, without trailing zeros.
"""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

Tagged: TypeAlias = dict[str, Any]

DATA = Path(__file__).parent / "data"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a case must give: a value, an error, or (alone or with a value) a type deduced without evaluation."""

    value: Tagged | None = None
    error: bool = False
    message: str = ""
    """The specification's words for the error. Informative: implementations word theirs differently."""
    type: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One conformance case."""

    file: str
    section: str
    name: str
    expr: str
    expect: Expectation
    container: str = ""
    type_env: dict[str, str] = field(default_factory=dict)
    """Variables and their types, written `int`, `list(int)`, `map(string, dyn)`."""
    functions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Functions that are declared and never called; only type deduction has them."""
    bindings: dict[str, Tagged] = field(default_factory=dict)
    disable_check: bool = False
    check_only: bool = False
    protobuf: bool = False
    """It needs messages, enums, wrappers, Any or message extensions, which policies do not have."""

    @property
    def id(self) -> str:
        """Return the name for a test report. It is not unique: the data repeats a few names."""
        return f"{self.file}/{self.section}/{self.name}"


def load_cases() -> list[Case]:
    """Read every case, in the order of the specification's files."""
    return [
        Case(file=document["file"], expect=Expectation(**case.pop("expect")), **case)
        for path in sorted(DATA.glob("*.json"))
        for document in [json.loads(path.read_bytes())]
        for case in document["cases"]
    ]


def same_value(left: Tagged, right: Tagged) -> bool:
    """Whether two values are equal in type and value. Maps have no order, and NaN equals NaN."""
    (left_tag, one), (right_tag, other) = *left.items(), *right.items()
    if left_tag != right_tag:
        return False
    match left_tag:
        case "double":
            return float(one) == float(other) or (math.isnan(float(one)) and math.isnan(float(other)))
        case "list":
            return len(one) == len(other) and all(map(same_value, one, other))
        case "map":
            return len(one) == len(other) and all(any(_same_entry(mine, its) for its in other) for mine in one)
        case "optional" if one is not None and other is not None:
            return same_value(one, other)
        case _:
            return bool(one == other)


def duration_text(nanoseconds: int) -> str:
    """Write a duration the way a tagged value has it."""
    seconds, fraction = divmod(abs(nanoseconds), NANOSECONDS)
    return f"{'-' * (nanoseconds < 0)}{seconds}{_fraction(fraction)}s"


def timestamp_text(nanoseconds: int) -> str:
    """Write a timestamp, counted from 1970, the way a tagged value has it."""
    seconds, fraction = divmod(nanoseconds, NANOSECONDS)
    moment = EPOCH + timedelta(seconds=seconds)
    return f"{moment.replace(tzinfo=None).isoformat()}{_fraction(fraction)}Z"


def nanoseconds_of(text: str) -> int:
    """Read a tagged duration or timestamp."""
    whole, _, fraction = text[:-1].partition(".")
    nanoseconds = int(fraction.ljust(9, "0"))
    if text.endswith("s"):
        return int(whole) * NANOSECONDS + (-nanoseconds if whole.startswith("-") else nanoseconds)
    return (datetime.fromisoformat(f"{whole}+00:00") - EPOCH) // timedelta(seconds=1) * NANOSECONDS + nanoseconds


def plain_python(tagged: Tagged) -> Any:
    """Return a value as plain Python data: uints are integers, times lose what is below a microsecond."""
    ((tag, content),) = tagged.items()
    match tag:
        case "list":
            return [plain_python(item) for item in content]
        case "map":
            return {plain_python(key): plain_python(item) for key, item in content}
        case "type" | "object" | "optional":
            raise TypeError(f"no plain form for {tag}")
        case _:
            decode = _SCALARS.get(tag)
            return content if decode is None else decode(content)


def _same_entry(left: list[Tagged], right: list[Tagged]) -> bool:
    return same_value(left[0], right[0]) and same_value(left[1], right[1])


def _fraction(nanoseconds: int) -> str:
    return f".{nanoseconds:09d}".rstrip("0") if nanoseconds else ""


_SCALARS: dict[str, Callable[[str], Any]] = {
    "int": int,
    "uint": int,
    "double": float,
    "bytes": base64.b64decode,
    "duration": lambda text: timedelta(microseconds=nanoseconds_of(text) // 1000),
    "timestamp": lambda text: EPOCH + timedelta(microseconds=nanoseconds_of(text) // 1000),
}
