"""What an expression's terms tell about it before it is evaluated: what they read, and which constants they need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from config.cel import ast
from config.cel.request import NULL_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Iterator

INDEXED: Final = ("request.path", "request.host", "request.method")
"""Attributes that rules are indexed by, the most telling first."""

PEER_ATTRIBUTES: Final = frozenset(
    f"source.{name}" for name in ("identity", "spiffeId", "subjectAltNames", "issuer", "subject", "certificate")
)
"""What only depends on the caller's certificate."""

_IMPURE: Final = frozenset({"uuid", "random"})


@dataclass(frozen=True, slots=True)
class Keys:
    """Values of one attribute without which a term is false: it equals one of them, or begins with one."""

    attribute: str
    exact: frozenset[str] = frozenset()
    prefixes: frozenset[str] = frozenset()


def conjuncts(tree: ast.Node) -> tuple[ast.Node, ...]:
    """Return the terms that must all hold."""
    return tree.arguments if isinstance(tree, ast.Call) and tree.function == "_&&_" else (tree,)


def disjuncts(tree: ast.Node) -> tuple[ast.Node, ...]:
    """Return the terms of which one must hold."""
    return tree.arguments if isinstance(tree, ast.Call) and tree.function == "_||_" else (tree,)


def conjunction(terms: tuple[ast.Node, ...]) -> ast.Node:
    """Return the tree of terms that must all hold."""
    position = terms[0].position if terms else ast.Position()
    if not terms:
        return ast.Literal(position, value=True)
    return terms[0] if len(terms) == 1 else ast.Call(position, "_&&_", terms)


def reads(node: ast.Node, bound: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield the attributes that a tree reads: `request.path`, or the bare variable for anything less plain."""
    match node:
        case ast.Name(name=name):
            if node.rooted or name not in bound:
                yield name
        case ast.Select(operand=ast.Name(name=name, rooted=rooted), name=field) if rooted or name not in bound:
            yield f"{name}.{field}"
        case ast.Index(operand=ast.Name(name=name, rooted=rooted), index=ast.Literal(value=str() as field)) if (
            rooted or name not in bound
        ):
            yield f"{name}.{field}"
        case ast.Comprehension():
            yield from reads(node.operand, bound)
            inner = bound | set(node.variables)
            for part in (node.predicate, node.transform):
                if part is not None:
                    yield from reads(part, inner)
        case ast.Bind():
            yield from reads(node.value, bound)
            yield from reads(node.body, bound | {node.name})
        case _:
            for child in node.children():
                yield from reads(child, bound)


def depends_on_peer_only(term: ast.Node) -> bool:
    """Tell whether a term has one value for all requests of a caller."""
    found = set(reads(term))
    return bool(found) and found <= PEER_ATTRIBUTES and not any(name in _IMPURE for name in _calls(term))


def keys_of(term: ast.Node) -> Keys | None:
    """Return the values that a term needs its attribute to have; none where they are not plain constants."""
    found = [_keys(alternative) for alternative in disjuncts(term)]
    attributes = {keys.attribute if keys else None for keys in found}
    if len(attributes) != 1 or None in attributes:
        return None
    known = [keys for keys in found if keys]
    return Keys(
        known[0].attribute,
        frozenset().union(*(keys.exact for keys in known)),
        frozenset().union(*(keys.prefixes for keys in known)),
    )


def contradiction(tree: ast.Node) -> str | None:
    """Return the attribute that a tree needs to have two values at once; none if it can be true as far as is seen."""
    exact: dict[str, frozenset[str]] = {}
    for term in conjuncts(tree):
        keys = keys_of(term)
        if keys is None or keys.prefixes:
            continue
        exact[keys.attribute] = exact.get(keys.attribute, keys.exact) & keys.exact
        if not exact[keys.attribute]:
            return keys.attribute
    return None


def is_constant(tree: ast.Node) -> bool:
    """Tell whether a tree has one value for all requests: it reads nothing, or only what has no value here."""
    variables = {name.partition(".")[0] for name in reads(tree)}
    return variables <= NULL_VARIABLES and not any(name in _IMPURE for name in _calls(tree))


def _calls(node: ast.Node) -> Iterator[str]:
    if isinstance(node, ast.Call):
        yield node.function
    for child in node.children():
        yield from _calls(child)


def _keys(term: ast.Node) -> Keys | None:
    if not isinstance(term, ast.Call) or len(term.arguments) != 2:  # noqa: PLR2004  a comparison
        return None
    left, right = term.arguments
    match term.function:
        case "_==_":
            attribute, constant = (_attribute(left), right) if _attribute(left) else (_attribute(right), left)
            value = constant.value if isinstance(constant, ast.Literal) else None
            return Keys(attribute, exact=frozenset({value})) if attribute and isinstance(value, str) else None
        case "_in_":
            values = _strings(right)
            attribute = _attribute(left)
            return Keys(attribute, exact=values) if attribute and values is not None else None
        case "startsWith":
            attribute = _attribute(left)
            value = right.value if isinstance(right, ast.Literal) else None
            return Keys(attribute, prefixes=frozenset({value})) if attribute and isinstance(value, str) else None
        case _:
            return None


def _attribute(node: ast.Node) -> str | None:
    """Return the attribute that a node reads plainly: `request.path`, `source.identity.namespace`."""
    match node:
        case ast.Select(operand=ast.Name(name=name), name=field) if not (node.optional or node.test):
            return f"{name}.{field}"
        case ast.Select(operand=ast.Select() as operand, name=field) if not (node.optional or node.test):
            outer = _attribute(operand)
            return f"{outer}.{field}" if outer else None
        case _:
            return None


def _strings(node: ast.Node) -> frozenset[str] | None:
    if not isinstance(node, ast.ListLiteral):
        return None
    values = [e.value.value for e in node.elements if not e.optional and isinstance(e.value, ast.Literal)]
    strings = [value for value in values if isinstance(value, str)]
    return frozenset(strings) if len(strings) == len(node.elements) else None
