"""Functions that AgentGateway adds to CEL: affixes, maps, queries, cookies, tokens, chance."""

from __future__ import annotations

import random
import uuid
from typing import Any, Final, NoReturn

from config.cel.encoders import decode_base64, form_fields, form_text, text_of, utf8
from config.cel.errors import EvaluationError, NoSuchKeyError, RepeatedHeaderError
from config.cel.json_text import parse_json
from config.cel.overloads import LIBRARY

function = LIBRARY.function

_RANDOM: Final = random.SystemRandom()
_TOKEN_PARTS: Final = 3
_CREDENTIALS: Final = frozenset(
    {"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-auth-token"}
)
_FROM_URL_ALPHABET: Final = bytes.maketrans(b"-_+/", b"+/!!")
"""The two alphabets are not mixed: a `+` or `/` becomes something that base64 refuses."""


@function("stripPrefix", "string string", "string", method=True, inline="{0}.removeprefix({1})", total=True)
@function("stripPrefix", "string string", "string", inline="{0}.removeprefix({1})", total=True)
def strip_prefix(text: str, prefix: str) -> str:
    return text.removeprefix(prefix)


@function("stripSuffix", "string string", "string", method=True, inline="{0}.removesuffix({1})", total=True)
@function("stripSuffix", "string string", "string", inline="{0}.removesuffix({1})", total=True)
def strip_suffix(text: str, suffix: str) -> str:
    return text.removesuffix(suffix)


@function("redacted", "map", "map", method=True, total=True)
def redacted(headers: dict[Any, Any]) -> dict[Any, Any]:
    """Return headers with the values of those that carry credentials hidden."""
    return {name: "<redacted>" if name in _CREDENTIALS else value for name, value in headers.items()}


@function("merge", "map map", "map", method=True, inline="({0} | {1})", total=True)
@function("merge", "map map", "map", inline="({0} | {1})", total=True)
def merge(left: dict[Any, Any], right: dict[Any, Any]) -> dict[Any, Any]:
    """Return the entries of both; the right one wins."""
    return left | right


@function("fail", "", "dyn")
@function("fail", "string", "dyn")
def fail(_message: str = "") -> NoReturn:
    # The message may have been put together from the request, so it is not passed on.
    raise EvaluationError("fail() was called")


@function("uuid", "", "string")
def random_uuid() -> str:
    return str(uuid.uuid4())


@function("random", "", "double")
def random_double() -> float:
    """Return a number from 0 to 1, 1 left out."""
    return _RANDOM.random()


def _query_of(target: str) -> tuple[str, str]:
    """Split a request target or URI before its query; the fragment is dropped."""
    path, _, query = target.partition("#")[0].partition("?")
    return path, query


@function("query", "string string", "list", method=True)
def query(target: str, name: str) -> list[str]:
    """Return every value of a query parameter, decoded as a form's.

    Raises:
        NoSuchKeyError: there is none.
        EvaluationError: the query is not UTF-8, or has more than 1,000 fields.

    """
    values = [value for field, value in form_fields(_query_of(target)[1]) if field == name]
    if not values:
        raise NoSuchKeyError("no such key")
    return values


@function("addQuery", "string string string", "string", method=True)
def add_query(target: str, name: str, value: str) -> str:
    """Append a query parameter; the whole query is written anew."""
    path, written = _query_of(target)
    return f"{path}?{form_text([*form_fields(written), (name, value)])}"


@function("setQuery", "string string string", "string", method=True)
def set_query(target: str, name: str, value: str) -> str:
    """Put one query parameter in place of all of its name, at the end."""
    path, written = _query_of(target)
    others = [field for field in form_fields(written) if field[0] != name]
    return f"{path}?{form_text([*others, (name, value)])}"


@function("cookie", "map string", "string", method=True)
def cookie(headers: dict[Any, Any], name: str) -> str:
    """Return the cookie of a name, quotes and escapes as they were sent.

    The whole field is looked at: origins differ on which of two cookies of one name counts, and on what a malformed one
    is, so a rule could compare another one than the origin uses.

    Raises:
        NoSuchKeyError: there is none.
        RepeatedHeaderError: there are several, in one field or in more.
        EvaluationError: a malformed cookie.

    """
    header = headers.get("cookie", [])
    lines = header if type(header) is list else [header]
    if any(type(line) is not str for line in lines):
        raise EvaluationError("a cookie header that is no string")
    values: list[str] = []
    for pair in (part.strip() for line in lines for part in line.split(";")):
        found, equals, value = pair.partition("=")
        if pair and not (equals and found.strip()):
            raise EvaluationError("a malformed cookie")
        if pair and found.strip() == name:
            values.append(value.strip())
    if not values:
        raise NoSuchKeyError("no such key")
    if len(values) > 1:
        raise RepeatedHeaderError("the cookie occurs several times")
    return values[0]


@function("unvalidatedJwtPayload", "string", "dyn")
def unvalidated_jwt_payload(token: str) -> Any:
    """Return the claims of a token whose signature nobody has checked."""
    parts = token.split(".")
    if len(parts) != _TOKEN_PARTS:
        raise EvaluationError("not a JWT")
    return parse_json(text_of(decode_base64(utf8(parts[1]).translate(_FROM_URL_ALPHABET))))
