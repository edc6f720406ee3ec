"""Policy blocks to compiled policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.cel import ExpressionError, compile_expression
from config.errors import Finding, Severity
from config.model.policy import TrafficSpec
from config.places import locate_within
from config.policy.headers import FRAMING_AND_HOP_BY_HOP, HeaderRewrite, HeaderValue
from config.policy.rules import Action, Rule

if TYPE_CHECKING:
    from config.cel import Expression
    from config.model.policy import AgentgatewayPolicy, HeaderValueSpec
    from config.resources import Parsed

ON_ERROR = "egress-gateway.dev/on-error"


_EFFECTS = {
    "Allow": "this rule allows nobody",
    "Deny": "this rule is pointless, or denies everybody if it fails",
    "Require": "this rule refuses everybody",
}


def compile_rules(policy: Parsed[AgentgatewayPolicy], findings: list[Finding]) -> tuple[Rule, ...]:
    """Compile `traffic.authorization`: one rule for every expression."""
    spec = (policy.model.spec.traffic or TrafficSpec()).authorization
    on_error = policy.model.metadata.annotations.get(ON_ERROR)
    if on_error is not None and (on_error not in {"deny", "ignore"} or spec is None or spec.action != "Deny"):
        place = policy.locate("metadata", "annotations", ON_ERROR)
        findings.append(Finding("invalid-annotation", f"{ON_ERROR} is deny or ignore, on a Deny rule", place))
        on_error = None
    if spec is None:
        return ()
    path = ("spec", "traffic", "authorization", "policy", "matchExpressions")
    rules = []
    for index, text in enumerate(spec.policy.match_expressions):
        expression = _expression(policy, (*path, index), text, findings, strict_headers=True)
        if expression is not None and (doubt := expression.doubt):
            message = f"{_EFFECTS[spec.action]}: {doubt}"
            findings.append(Finding("pointless-rule", message, policy.locate(*path, index), severity=Severity.WARNING))
        rules.append(Rule(f"{policy.name}#{index}", Action(spec.action), expression, on_error == "ignore"))
    return tuple(rules)


def compile_request_headers(policy: Parsed[AgentgatewayPolicy], findings: list[Finding]) -> HeaderRewrite | None:
    """Compile `traffic.transformation.request`."""
    spec = (policy.model.spec.traffic or TrafficSpec()).transformation
    if spec is None or spec.request is None:
        return None
    path = ("spec", "traffic", "transformation", "request")

    def values(block: str, headers: tuple[HeaderValueSpec, ...]) -> tuple[HeaderValue, ...]:
        return tuple(
            HeaderValue(name, _expression(policy, (*path, block, index, "value"), header.value, findings))
            for index, header in enumerate(headers)
            if (name := _header_name(policy, (*path, block, index, "name"), header.name, findings))
        )

    return HeaderRewrite(
        add=values("add", spec.request.add),
        set=values("set", spec.request.set),
        remove=tuple(
            lowered
            for index, name in enumerate(spec.request.remove)
            if (lowered := _header_name(policy, (*path, "remove", index), name, findings))
        ),
    )


def _expression(
    policy: Parsed[AgentgatewayPolicy],
    path: tuple[str | int, ...],
    text: str,
    findings: list[Finding],
    *,
    strict_headers: bool = False,
) -> Expression | None:
    try:
        return compile_expression(text, strict_headers=strict_headers)
    except ExpressionError as error:
        place = locate_within(policy.origin.source.text, policy.locate(*path), text, error.line, error.column)
        findings.append(Finding("invalid-expression", error.message, place, error.hint, error.excerpt(text)))
        return None


def _header_name(
    policy: Parsed[AgentgatewayPolicy], path: tuple[str | int, ...], name: str, findings: list[Finding]
) -> bytes | None:
    """Return a name as it is compared, or none where no policy may write it: the entry is then left out."""
    lowered = name.lower().encode()
    if lowered in FRAMING_AND_HOP_BY_HOP:
        message = f"{name} says where a message goes or ends: no policy may write it"
        findings.append(Finding("forbidden-header", message, policy.locate(*path), "remove the entry"))
        return None
    return lowered
