"""What pydantic says of a value, in the words of a manifest. The value itself is never quoted: it may be a secret's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from config.errors import nearest
from config.model.backend import Hostname, ServerName
from config.model.base import HeaderName, Name
from config.model.client_auth import Url
from config.model.headers import TransformedName
from config.model.service_entry import HostPattern

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_SHAPES = {
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping",
    "float_type": "must be a number",
    "int_from_float": "must be a whole number",
    "int_type": "must be a whole number",
    "list_type": "must be a list",
    "model_attributes_type": "must be a mapping",
    "model_type": "must be a mapping",
    "string_type": "must be text",
    "tuple_type": "must be a list",
}
_LIMITS = {
    "greater_than_equal": ("ge", "must be at least {}"),
    "less_than_equal": ("le", "must be at most {}"),
    "string_too_long": ("max_length", "may have at most {} characters"),
    "string_too_short": ("min_length", "must have at least {} characters"),
    "too_long": ("max_length", "may have at most {} entries"),
    "too_short": ("min_length", "must have at least {} entries"),
}


def _pattern(alias: Any) -> str:
    """Return the pattern of an annotated string."""
    metadata = [part for field in get_args(alias)[1:] for part in field.metadata]
    return next(str(part.pattern) for part in metadata if getattr(part, "pattern", None))


_FORMS = {
    _pattern(Name): "must be a Kubernetes name: a-z, 0-9, '-' and '.'",
    _pattern(HeaderName): "must be a header name",
    _pattern(TransformedName): "must be a header name, or :authority, :method, :path or :status",
    _pattern(Hostname): "must be a host name or an IP address, without a port",
    _pattern(ServerName): "must be a host name in small letters",
    _pattern(HostPattern): "must be a host name, or '*.' and one, without a port",
    _pattern(Url): "must be an http or https URL without a user, query and fragment",
}


def explain(detail: ErrorDetails) -> tuple[str, str]:
    """Return what is wrong with a value, and a hint if there is one."""
    kind, context = detail["type"], detail.get("ctx", {})
    given = detail["input"]
    if kind in _SHAPES:
        hint = "put it in quotes" if kind == "string_type" and isinstance(given, (bool, int, float)) else ""
        return f"{_SHAPES[kind]}, not {_what(given)}", hint
    if kind in _LIMITS:
        name, words = _LIMITS[kind]
        limit = context[name]
        if limit == 1 and name == "min_length":
            return "must not be empty", ""
        return words.format(limit), ""
    if kind == "literal_error":
        expected = str(context["expected"])
        options = expected.replace(" or ", ", ").replace("'", "").split(", ")
        return f"must be {expected}", nearest(given, options, otherwise="") if isinstance(given, str) else ""
    if kind == "string_pattern_mismatch":
        pattern = str(context["pattern"])
        return _FORMS.get(pattern, f"must have the form {pattern}"), ""
    return detail["msg"], ""


def _what(value: Any) -> str:
    match value:
        case None:
            return "empty"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list() | tuple():
            return "a list"
        case _:
            return "a mapping"
