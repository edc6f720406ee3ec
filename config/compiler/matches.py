"""`rules[].matches` of an `HTTPRoute` to matches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from config.policy.matching import InvalidPatternError, PathKind, Pattern, RouteMatch, prefix_of
from config.policy.normalisation import AmbiguousTargetError, normalise_path

if TYPE_CHECKING:
    from config.compiler.place import Place
    from config.model.route import PathMatchSpec, RouteMatchSpec, RouteRuleSpec

_ANYTHING: Final = Pattern.regex("(?s).*")
_KINDS: Final = {
    "Exact": PathKind.EXACT,
    "PathPrefix": PathKind.PREFIX,
    "RegularExpression": PathKind.REGEX,
}


def compile_matches(place: Place, rule: RouteRuleSpec) -> list[tuple[RouteMatch, bool]]:
    """Compile the matches of a rule, each with whether it can be served.

    One that has a fault cannot: it takes whatever it may have meant, and what it takes is denied. Were it left out,
    its requests would go to another rule, past the policies of this one.
    """
    if not rule.matches:
        return [(RouteMatch(), True)]
    return [_compile_match(place.at("matches", index), match) for index, match in enumerate(rule.matches)]


def _compile_match(place: Place, spec: RouteMatchSpec) -> tuple[RouteMatch, bool]:
    faults = len(place.findings)
    path, pattern = _path(place.at("path", "value"), spec.path)
    headers = tuple(
        (
            header.name.lower().encode(),
            _pattern(place.at("headers", index, "value"), header.value, is_regex=header.type != "Exact"),
        )
        for index, header in enumerate(spec.headers)
    )
    query = tuple(
        (
            parameter.name,
            _pattern(place.at("queryParams", index, "value"), parameter.value, is_regex=parameter.type != "Exact"),
        )
        for index, parameter in enumerate(spec.query_params)
    )
    match = RouteMatch(_KINDS[spec.path.type], path, pattern, spec.method, headers, query)
    return match, len(place.findings) == faults


def _path(place: Place, spec: PathMatchSpec) -> tuple[str, Pattern | None]:
    """Return a path as requests have it, or a pattern."""
    if spec.type == "RegularExpression":
        return spec.value, _pattern(place, spec.value, is_regex=True)
    path = prefix_of(spec.value) if spec.type == "PathPrefix" else spec.value
    try:
        canonical = normalise_path(path.encode())
    except AmbiguousTargetError as error:
        place.error("invalid-value", f"no request has this path: {error}")
        return path, None
    if canonical != path:
        place.error("invalid-value", f"no request has this path: it would be {canonical}", f"write {canonical}")
    return canonical, None


def _pattern(place: Place, text: str, *, is_regex: bool) -> Pattern:
    try:
        return Pattern.regex(text) if is_regex else Pattern(text)
    except InvalidPatternError as error:
        place.error("invalid-pattern", f"{error}", "patterns are RE2: https://github.com/google/re2/wiki/Syntax")
        return _ANYTHING
