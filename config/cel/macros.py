"""Macros: calls that bind variables, or that look at the form of their argument."""

from __future__ import annotations

from config.cel.ast import Bind, Call, Comprehension, Macro, Name, Node, Position, Select
from config.cel.errors import ExpressionError

_TWO_VARIABLES = {
    "all": Macro.ALL,
    "exists": Macro.EXISTS,
    "exists_one": Macro.EXISTS_ONE,
    "existsOne": Macro.EXISTS_ONE,
}
_ONE_VARIABLE = _TWO_VARIABLES | {"filter": Macro.FILTER}
_TRANSFORMS = {
    "transformList": Macro.TRANSFORM_LIST,
    "transformMap": Macro.TRANSFORM_MAP,
    "transformMapEntry": Macro.TRANSFORM_MAP_ENTRY,
}
_OF_AGENTGATEWAY = frozenset({"mapValues", "filterKeys", "with"})
MACRO_NAMES = frozenset(
    {"has", "map", "bind", "optMap", "optFlatMap", "sortBy", *_ONE_VARIABLE, *_TRANSFORMS, *_OF_AGENTGATEWAY}
)


def expand_macro(  # noqa: PLR0911  one for each form
    name: str, position: Position, target: Node | None, arguments: tuple[Node, ...]
) -> Node | None:
    """Return what a macro call stands for; none for a call of a function.

    Raises:
        ExpressionError: a variable that is no plain name, or `has` on something that is no selection.

    """
    count = len(arguments)
    if target is None:
        return _has(position, arguments[0]) if name == "has" and count == 1 else None
    if name in _ONE_VARIABLE and count == 2:  # noqa: PLR2004  variable, predicate
        return Comprehension(position, _ONE_VARIABLE[name], target, _variables(arguments[:1]), arguments[1])
    if name in _TWO_VARIABLES and count == 3:  # noqa: PLR2004  two variables, predicate
        return Comprehension(position, _TWO_VARIABLES[name], target, _variables(arguments[:2]), arguments[2])
    if name == "map" and count in {2, 3}:
        predicate = arguments[1] if count == 3 else None  # noqa: PLR2004  variable, predicate, transform
        return Comprehension(position, Macro.MAP, target, _variables(arguments[:1]), predicate, arguments[-1])
    if name in _TRANSFORMS and count in {3, 4}:
        predicate = arguments[2] if count == 4 else None  # noqa: PLR2004  two variables, predicate, transform
        return Comprehension(position, _TRANSFORMS[name], target, _variables(arguments[:2]), predicate, arguments[-1])
    if name == "bind" and count == 3 and isinstance(target, Name) and target.name == "cel":  # noqa: PLR2004
        return Bind(position, _variables(arguments[:1])[0], arguments[1], arguments[2])
    if count == 2:  # noqa: PLR2004  variable, body
        variable_and_body = _WITH_ONE_VARIABLE_AND_BODY.get(name)
        return variable_and_body(name, position, target, arguments) if variable_and_body else None
    return None


def _has(position: Position, argument: Node) -> Node:
    if not isinstance(argument, Select) or argument.optional or argument.test:
        raise ExpressionError("has() wants a selection such as a.b", line=position.line, column=position.column)
    return Select(position, argument.operand, argument.name, test=True, place=argument.place)


def _variables(nodes: tuple[Node, ...]) -> tuple[str, ...]:
    names = []
    for node in nodes:
        if not isinstance(node, Name) or node.rooted:
            place = node.position
            raise ExpressionError("a plain variable name is needed here", line=place.line, column=place.column)
        names.append(node.name)
    if len(set(names)) < len(names):
        place = nodes[0].position
        raise ExpressionError("the two variables have one name", line=place.line, column=place.column)
    return tuple(names)


def _optional_map(name: str, position: Position, target: Node, arguments: tuple[Node, ...]) -> Node:
    """Expand `target.optMap(x, body)`: the body's value where the optional holds one, else the empty optional."""
    hidden = Name(position, "@optional")
    value = Call(position, "value", (hidden,), is_method=True)
    body: Node = Bind(position, _variables(arguments[:1])[0], value, arguments[1])
    if name == "optMap":
        body = Call(position, "optional.of", (body,))
    test = Call(position, "hasValue", (hidden,), is_method=True)
    choice = Call(position, "_?_:_", (test, body, Call(position, "optional.none", ())))
    return Bind(position, hidden.name, target, choice)


def _of_agentgateway(name: str, position: Position, target: Node, arguments: tuple[Node, ...]) -> Node:
    """Expand `m.mapValues(v, e)`, `m.filterKeys(k, c)` and `x.with(v, e)`, which AgentGateway adds."""
    (variable,), body = _variables(arguments[:1]), arguments[1]
    if name == "with":
        return Bind(position, variable, target, body)
    if name == "mapValues":
        return Comprehension(position, Macro.TRANSFORM_MAP, target, ("@key", variable), None, body)
    return Comprehension(position, Macro.TRANSFORM_MAP, target, (variable, "@value"), body, Name(position, "@value"))


def _sort_by(_: str, position: Position, target: Node, arguments: tuple[Node, ...]) -> Node:
    """Expand `xs.sortBy(x, key)`: the keys are computed once for each element."""
    hidden = Name(position, "@list")
    keys = Comprehension(position, Macro.MAP, hidden, _variables(arguments[:1]), None, arguments[1])
    return Bind(position, hidden.name, target, Call(position, "@sortByAssociatedKeys", (hidden, keys), is_method=True))


_WITH_ONE_VARIABLE_AND_BODY = {
    "optMap": _optional_map,
    "optFlatMap": _optional_map,
    "sortBy": _sort_by,
    **dict.fromkeys(_OF_AGENTGATEWAY, _of_agentgateway),
}
