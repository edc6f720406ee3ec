"""A path that policy wrote is judged like one that the caller sent: no rewrite slips past a rule on paths."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from config.policy.normalisation import AmbiguousTargetError, check_query, normalise_path
from middleware.errors import AuthorizationDeniedError, InvalidRequestError

if TYPE_CHECKING:
    from middleware.context import RequestContext


def judge(context: RequestContext, target: str) -> None:
    """Make a path and query those for the origin, in their canonical spelling, if no Deny rule refuses the path.

    The rules see the request as it came but for the path and query. It still had to be allowed as it came.

    Raises:
        AuthorizationDeniedError: a Deny rule that reads the path holds.
        InvalidRequestError: the path or query is ambiguous.

    """
    path, mark, rest = target.partition("?")
    try:
        path = normalise_path(path.encode("utf-8", "surrogateescape"))
        query = check_query(rest.encode("utf-8", "surrogateescape")) if mark else None
    except (AmbiguousTargetError, UnicodeEncodeError) as error:
        reason = error if isinstance(error, AmbiguousTargetError) else "not to be written in UTF-8"
        raise InvalidRequestError(f"the rewritten target: {reason}") from None
    route, attributes = context.routed()
    if route.authorization.guards_path:
        refusal = route.authorization.guard_path(replace(attributes, path=path, query=query))
        if refusal is not None:
            context.decision = refusal
            raise AuthorizationDeniedError(f"the rewritten path: {refusal.explanation}")
    context.target = path if query is None else f"{path}?{query}"
