"""Rewrites, redirects, CORS, CSRF and mirrors to compiled policies."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from config.policy.cors import Cors, InvalidOriginError, Origin
from config.policy.csrf import Csrf
from config.policy.mirror import Mirror
from config.policy.normalisation import AmbiguousTargetError, normalise_path
from config.policy.rewrite import FullPath, PrefixPath, Redirect, UrlRewrite

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from config.compiler.place import Place
    from config.model.base import BackendReference
    from config.model.responses import (
        CorsSpec,
        CsrfSpec,
        HostRewriteSpec,
        PathModifierSpec,
        RequestRedirectSpec,
        UrlRewriteSpec,
    )
    from config.model.route import RequestMirrorSpec, RouteMatchSpec
    from config.policy.rewrite import PathModifier
    from config.snapshot import Backend

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def compile_url_rewrite(
    place: Place, spec: UrlRewriteSpec, matches: Sequence[RouteMatchSpec] | None = None
) -> UrlRewrite:
    """Compile `urlRewrite`. A path that cannot be used makes the route answer 500.

    Args:
        place: the block.
        spec: what is written.
        matches: of the route's rule, empty where it takes every request; none where the block is a policy's, which may
            be in force for many rules: then each request tells whether a prefix chose its route.

    """
    host = spec.hostname.lower().encode() if spec.hostname else None
    return UrlRewrite(host, _path_modifier(place.at("path"), spec.path, matches))


def compile_redirect(
    place: Place, spec: RequestRedirectSpec, matches: Sequence[RouteMatchSpec] | None = None
) -> Redirect:
    """Compile `requestRedirect`. A path that cannot be used makes the route answer 500; `matches` is as above."""
    host = spec.hostname.lower() if spec.hostname else None
    path = _path_modifier(place.at("path"), spec.path, matches)
    return Redirect(spec.status_code, spec.scheme, host, spec.port, path)


def compile_host_rewrite(place: Place, spec: HostRewriteSpec) -> bool:  # noqa: ARG001  nothing in it can be a fault
    """Return whether the origin gets its backend's name as `Host`."""
    return spec.mode == "Auto"


def _path_modifier(
    place: Place, spec: PathModifierSpec | None, matches: Sequence[RouteMatchSpec] | None
) -> PathModifier | None:
    if spec is None:
        return None
    if spec.type == "ReplaceFullPath":
        return FullPath(_canonical(place.at("replaceFullPath"), spec.replace_full_path or "/"))
    value = spec.replace_prefix_match or ""
    path = _canonical(place.at("replacePrefixMatch"), value) if value else ""
    others = {match.path.type for match in matches or () if match.path.type != "PathPrefix"}
    if others:
        message = f"there is no prefix to replace where a match is {' or '.join(sorted(others))}"
        place.at("replacePrefixMatch").error("invalid-rewrite", message, "match by PathPrefix, or use ReplaceFullPath")
        path = None
    return PrefixPath(path)


def _canonical(place: Place, path: str) -> str | None:
    """Return a path in the one spelling that is forwarded; none, and a fault, where it has none."""
    try:
        return normalise_path(path.encode())
    except AmbiguousTargetError as error:
        place.error("invalid-path", f"{error}: such a path is never forwarded", "see docs/paths.md")
        return None


def compile_cors(place: Place, spec: CorsSpec) -> Cors:
    """Compile `cors`. An entry that cannot be used is left out, and with it what it would have allowed."""
    any_origin = "*" in spec.allow_origins
    expose = _tokens(place.at("exposeHeaders"), spec.expose_headers)
    if spec.allow_credentials:
        if any_origin:
            message = "every web page may make requests with its visitor's credentials and read the answers"
            place.at("allowOrigins").warn("open-cors", message, "list the origins")
        if "*" in expose:
            message = "browsers do not take '*' where credentials are allowed: nothing is exposed by it"
            place.at("exposeHeaders").warn("ignored-wildcard", message, "list the names")
            expose = tuple(name for name in expose if name != "*")
    return Cors(
        any_origin,
        tuple(_origins(place.at("allowOrigins"), spec.allow_origins, patterns=True)),
        spec.allow_credentials,
        spec.allow_methods,
        _tokens(place.at("allowHeaders"), spec.allow_headers),
        expose,
        spec.max_age,
    )


def compile_csrf(place: Place, spec: CsrfSpec) -> Csrf:
    """Compile `csrf`. An origin that cannot be read is left out: its pages are refused."""
    return Csrf(frozenset(_origins(place.at("additionalOrigins"), spec.additional_origins, patterns=False)))


def _origins(place: Place, values: tuple[str, ...], *, patterns: bool) -> list[Origin]:
    origins: list[Origin] = []
    for index, text in enumerate(values):
        if text == "*" and patterns:
            continue
        try:
            origin = Origin.parse(text)
        except InvalidOriginError as error:
            place.at(index).error("invalid-origin", f"{text!r} cannot be used: {error}", "write scheme://host[:port]")
            continue
        if origin.is_pattern and not patterns:
            place.at(index).error("invalid-origin", "no wildcard can stand here", "list the origins")
        else:
            origins.append(origin)
    return origins


def _tokens(place: Place, names: tuple[str, ...]) -> tuple[str, ...]:
    for index, name in enumerate(names):
        if not _TOKEN.fullmatch(name):
            place.at(index).error("invalid-value", f"{name!r} is no header name")
    return tuple(name for name in names if _TOKEN.fullmatch(name))


def compile_mirror(
    place: Place, spec: RequestMirrorSpec, resolve: Callable[[Place, BackendReference], Backend]
) -> Mirror | None:
    """Compile `requestMirror`. None where no copy is sent: a faulty reference, or a share of nothing.

    Args:
        place: the block.
        spec: what is written.
        resolve: finds the backend, and reports what it cannot find.

    """
    at = place.at("backendRef")
    backend = resolve(at, spec.backend_ref)
    share = 1.0
    if spec.percent is not None:
        share = spec.percent / 100
    elif spec.fraction is not None:
        share = spec.fraction.numerator / spec.fraction.denominator
    if backend.fault:
        return None
    if backend.upstream is None:
        at.error("invalid-backend", f"{backend.name} has no host of its own: copies go to one that is known in advance")
        return None
    return Mirror(f"{place.name} -> {backend.name}", backend.upstream, backend.authority, share) if share else None
