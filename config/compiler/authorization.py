"""`authorization` blocks to rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.policy.rules import Action, Rule

if TYPE_CHECKING:
    from config.compiler.place import Place
    from config.model.authorization import AuthorizationSpec

_HOST = frozenset({"destination", "destination.hostname"})
"""Names by which an expression can read the host, which no connection has yet."""
_EFFECTS = {
    "Allow": "this rule allows nobody",
    "Deny": "this rule is pointless, or denies everybody if it fails",
    "Require": "this rule refuses everybody",
}


def compile_rules(place: Place, spec: AuthorizationSpec, *, ignores_errors: bool = False) -> tuple[Rule, ...]:
    """Compile `traffic.authorization`: one rule for every expression."""
    rules = []
    for index, text in enumerate(spec.policy.match_expressions):
        here = place.at("policy", "matchExpressions", index)
        expression = here.expression(text, strict_headers=True)
        if expression is not None and expression.reads_response:
            here.error("invalid-expression", "there is no response yet when this is decided")
            expression = None
        if expression is not None and (doubt := expression.doubt):
            here.warn("pointless-rule", f"{_EFFECTS[spec.action]}: {doubt}")
        rules.append(Rule(f"{place.name}#{index}", Action(spec.action), expression, ignores_errors))
    return tuple(rules)


def compile_network_rules(place: Place, spec: AuthorizationSpec, *, ignores_errors: bool = False) -> tuple[Rule, ...]:
    """Compile `frontend.networkAuthorization`: rules that see the connection only."""
    rules = []
    for index, rule in enumerate(compile_rules(place, spec, ignores_errors=ignores_errors)):
        seen = rule.expression.reads if rule.expression is not None else frozenset()
        foreign = sorted(
            name for name in seen if name.partition(".")[0] not in {"source", "destination"} or name in _HOST
        )
        if foreign:
            here = place.at("policy", "matchExpressions", index)
            message = f"only source, destination.address and destination.port can be read here, not {foreign[0]}"
            here.error("invalid-expression", message)
            rules.append(Rule(rule.name, rule.action, None, ignores_errors))
        else:
            rules.append(rule)
    return tuple(rules)
