"""Timestamps and durations: RFC 3339, Go's duration syntax, calendar fields in any time zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from config.cel.errors import EvaluationError
from config.cel.overloads import LIBRARY
from config.cel.values import Duration, Timestamp

if TYPE_CHECKING:
    from collections.abc import Callable

function = LIBRARY.function

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?(?:[Zz]|([-+])(\d\d):(\d\d))", re.ASCII
)
_OFFSET = re.compile(r"([-+]?)(\d{1,2}):(\d\d)", re.ASCII)
_DURATION = re.compile(r"[-+]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:h|ms|us|µs|μs|ns|m|s))+|[-+]?0", re.ASCII)
_DURATION_PART = re.compile(r"(\d*)\.?(\d*)(h|ms|us|µs|μs|ns|m|s)", re.ASCII)
MAX_TIME_CHARACTERS: Final = 128
"""Of a timestamp, duration or time zone in a text."""
_UNITS: Final = {
    "h": 3600 * 10**9,
    "m": 60 * 10**9,
    "s": 10**9,
    "ms": 10**6,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ns": 1,
}


def parse_timestamp(text: str) -> Timestamp:
    """Read RFC 3339.

    Raises:
        EvaluationError: not a timestamp, or out of range.

    """
    match = _TIMESTAMP.fullmatch(text) if len(text) <= MAX_TIME_CHARACTERS else None
    if match is None:
        raise EvaluationError("not an RFC 3339 timestamp")
    *date, fraction, sign, hours, minutes = match.groups()
    try:
        moment = datetime(*map(int, date), tzinfo=UTC)  # type: ignore[arg-type, misc]
    except ValueError:
        raise EvaluationError("not an RFC 3339 timestamp") from None
    nanoseconds = (moment - _EPOCH) // timedelta(seconds=1) * 10**9 + int((fraction or "0").ljust(9, "0"))
    offset = (int(hours) * 60 + int(minutes)) * 60 * 10**9 if sign else 0
    return Timestamp(nanoseconds + offset if sign == "-" else nanoseconds - offset)


def format_timestamp(value: Timestamp) -> str:
    """Write RFC 3339 in UTC, with as many digits of a second as are needed."""
    seconds, fraction = divmod(value.nanoseconds, 10**9)
    moment = _EPOCH + timedelta(seconds=seconds)
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{digits}Z".rjust(20 + len(digits), "0")


def parse_duration(text: str) -> Duration:
    """Read Go's duration syntax: `1h30m`, `-1.5s`, `0`.

    Raises:
        EvaluationError: not a duration, or out of range.

    """
    if len(text) > MAX_TIME_CHARACTERS or not _DURATION.fullmatch(text):
        raise EvaluationError("not a duration")
    total = 0
    for whole, fraction, unit in _DURATION_PART.findall(text):
        total += int(whole or "0") * _UNITS[unit] + int(fraction or "0") * _UNITS[unit] // 10 ** len(fraction)
    return Duration(-total if text.startswith("-") else total)


def format_duration(value: Duration) -> str:
    """Write seconds, with as many digits as are needed: `5400s`, `-0.5s`."""
    seconds, fraction = divmod(abs(value.nanoseconds), 10**9)
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{'-' if value.nanoseconds < 0 else ''}{seconds}{digits}s"


def _zone(name: str) -> tzinfo:
    if len(name) > MAX_TIME_CHARACTERS:
        raise EvaluationError("not a time zone")
    if match := _OFFSET.fullmatch(name):
        sign, hours, minutes = match.groups()
        offset = timedelta(hours=int(hours), minutes=int(minutes))
        try:
            return timezone(-offset if sign == "-" else offset)
        except ValueError:
            raise EvaluationError("not a time zone") from None
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        raise EvaluationError("not a time zone") from None


def _local(value: Timestamp, zone: str = "UTC") -> datetime:
    moment = _EPOCH + timedelta(microseconds=value.nanoseconds // 1000)
    try:
        return moment.astimezone(UTC if zone == "UTC" else _zone(zone))
    except OverflowError:
        raise EvaluationError("a timestamp out of range") from None


def _calendar(name: str, field: Callable[[datetime], int]) -> None:
    """Register a calendar field, in UTC and in a named zone."""

    @function(name, "timestamp", "int", method=True, total=True)
    def in_utc(value: Timestamp) -> int:
        return field(_local(value))

    @function(name, "timestamp string", "int", method=True)
    def in_zone(value: Timestamp, zone: str) -> int:
        return field(_local(value, zone))


_calendar("getFullYear", lambda moment: moment.year)
_calendar("getMonth", lambda moment: moment.month - 1)
_calendar("getDate", lambda moment: moment.day)
_calendar("getDayOfMonth", lambda moment: moment.day - 1)
_calendar("getDayOfWeek", lambda moment: moment.isoweekday() % 7)
_calendar("getDayOfYear", lambda moment: moment.timetuple().tm_yday - 1)
_calendar("getHours", lambda moment: moment.hour)
_calendar("getMinutes", lambda moment: moment.minute)
_calendar("getSeconds", lambda moment: moment.second)
_calendar("getMilliseconds", lambda moment: moment.microsecond // 1000)


def _truncated(value: int, unit: int) -> int:
    return value // unit if value >= 0 else -(-value // unit)


@function("getHours", "duration", "int", method=True, total=True)
def duration_hours(value: Duration) -> int:
    return _truncated(value.nanoseconds, _UNITS["h"])


@function("getMinutes", "duration", "int", method=True, total=True)
def duration_minutes(value: Duration) -> int:
    return _truncated(value.nanoseconds, _UNITS["m"])


@function("getSeconds", "duration", "int", method=True, total=True)
def duration_seconds(value: Duration) -> int:
    return _truncated(value.nanoseconds, _UNITS["s"])


@function("getMilliseconds", "duration", "int", method=True, total=True)
def duration_milliseconds(value: Duration) -> int:
    return (
        _truncated(value.nanoseconds, _UNITS["ms"]) % 1000
        if value.nanoseconds >= 0
        else -(_truncated(-value.nanoseconds, _UNITS["ms"]) % 1000)
    )
