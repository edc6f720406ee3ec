"""`location` of client authentication: where a caller's credential is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.policy.extraction import (
    CookieExtraction,
    ExpressionExtraction,
    HeaderExtraction,
    QueryExtraction,
)
from config.policy.locations import AUTHORIZATION

if TYPE_CHECKING:
    from config.compiler.place import Place
    from config.model.headers import AuthorizationHeaderLocation, ExtractionLocation
    from config.policy.extraction import Extraction


def compile_extraction(place: Place, spec: ExtractionLocation | None, default: HeaderExtraction) -> Extraction | None:
    """Compile `location`; none, and a fault, where it cannot be used: then nobody is let in, in any mode."""
    match spec:
        case None:
            return default
        case _ if spec.query_parameter is not None:
            return QueryExtraction(spec.query_parameter.name.encode())
        case _ if spec.cookie is not None:
            return CookieExtraction(spec.cookie.name.encode())
        case _ if spec.header is not None:
            return _header(place.at("header"), spec.header, default)
        case _:
            return _expression(place.at("expression"), spec.expression or "")


def _header(place: Place, spec: AuthorizationHeaderLocation, default: HeaderExtraction) -> HeaderExtraction | None:
    name = place.at("name").header_name(spec.name)
    if name is None:
        return None
    usual = default.prefix if name == AUTHORIZATION else b""
    return HeaderExtraction(name, usual if spec.prefix is None else spec.prefix.encode())


def _expression(place: Place, text: str) -> ExpressionExtraction | None:
    expression = place.expression(text)
    if expression is None:
        return None
    if expression.reads_body or expression.reads_response:
        # A caller that nobody knows yet should not make the gateway read a body.
        place.error("invalid-expression", "a credential is asked for before the body is read, and before the answer")
        return None
    return ExpressionExtraction(expression)
