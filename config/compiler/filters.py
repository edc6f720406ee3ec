"""What stands in a rule of an `HTTPRoute` itself: filters, timeouts, retry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from config.compiler.resilience import compile_retry, compile_timeouts
from config.compiler.rewrites import compile_cors, compile_mirror, compile_redirect, compile_url_rewrite
from config.compiler.transformations import compile_header_filter

if TYPE_CHECKING:
    from collections.abc import Callable

    from config.compiler.place import Place
    from config.model.base import BackendReference
    from config.model.route import RouteFilterSpec, RouteRuleSpec
    from config.snapshot import Backend


def compile_filters(
    place: Place, rule: RouteRuleSpec, resolve: Callable[[Place, BackendReference], Backend]
) -> dict[str, Any]:
    """Return the fields of `config.snapshot.Route` that a rule sets by itself, and `backend_timeout`.

    Args:
        place: of the rule.
        rule: the rule.
        resolve: finds the backend of a mirror, or reports why there is none.

    """
    fields: dict[str, Any] = {}
    mirrors = []
    for index, spec in enumerate(rule.filters):
        here = place.at("filters", index)
        if spec.request_mirror is not None:
            mirrors.append(compile_mirror(here.at("requestMirror"), spec.request_mirror, resolve))
        else:
            fields |= _filter(here, spec, rule)
    if mirrors:
        fields["mirrors"] = tuple(mirror for mirror in mirrors if mirror is not None)
    if rule.timeouts is not None:
        timeouts = compile_timeouts(place.at("timeouts"), rule.timeouts)
        fields |= {"timeout": timeouts.request, "backend_timeout": timeouts.attempt}
    if rule.retry is not None:
        fields["retry"] = compile_retry(place.at("retry"), rule.retry)
    return fields


def _filter(place: Place, spec: RouteFilterSpec, rule: RouteRuleSpec) -> dict[str, Any]:
    if spec.request_header_modifier is not None:
        return {
            "request_headers": compile_header_filter(place.at("requestHeaderModifier"), spec.request_header_modifier)
        }
    if spec.response_header_modifier is not None:
        here = place.at("responseHeaderModifier")
        return {"response_headers": compile_header_filter(here, spec.response_header_modifier, of_response=True)}
    if spec.url_rewrite is not None:
        return {"rewrite": compile_url_rewrite(place.at("urlRewrite"), spec.url_rewrite, rule.matches)}
    if spec.request_redirect is not None:
        return {"redirect": compile_redirect(place.at("requestRedirect"), spec.request_redirect, rule.matches)}
    if spec.cors is not None:
        return {"cors": compile_cors(place.at("cors"), spec.cors)}
    raise ValueError(f"a filter of type {spec.type} was not refused by its model")
