"""How large an expression may be, and how much work one evaluation can be, told before it is evaluated.

Sizes are estimated upwards: a value of unknown size counts as large. An expression that could take more than a bound is
refused at load, so that none can hold up the event loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from config.cel import ast
from config.cel.errors import ExpressionError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_NODES = 4_000
MAX_DEPTH = 48
"""Levels of the syntax tree that follow each other; chains of one operator are flat."""
MAX_COMPREHENSION_DEPTH = 3
"""Comprehensions within comprehensions: bounds the work of one evaluation to the cube of its data."""

MAX_WORK: Final = 1_000_000
"""Elementary steps of one evaluation, about a tenth of a second."""
UNKNOWN_LENGTH: Final = 128
"""Elements of a list or map that comes with the request: it has at most 100 headers, and bodies are not read."""
_UNBOUNDED: Final = MAX_WORK + 1

_LONG: Final = {"range": 10_000, "split": 8192}
"""Functions whose result can be longer than their arguments: `lists.range` by its own bound, `split` by a target's."""
_COLLECTING: Final = frozenset({ast.Macro.MAP, ast.Macro.TRANSFORM_LIST})


@dataclass(frozen=True, slots=True)
class Shape:
    """Length of a value, and the shape of what it holds; none: of unknown length, however deep."""

    length: int = UNKNOWN_LENGTH
    element: Shape | None = None

    @property
    def inner(self) -> Shape:
        """Shape of an element."""
        return self.element or Shape()


def check_limits(tree: ast.Node) -> None:
    """Refuse an expression that is too large, too deep, or could take too long.

    Raises:
        ExpressionError: a bound is passed, at the place where it is.

    """
    count = 0
    level: list[tuple[ast.Node, int, int]] = [(tree, 1, 0)]
    while level:
        current, depth, comprehensions = level.pop()
        count += 1
        inside = comprehensions + isinstance(current, ast.Comprehension)
        # What a comprehension goes over is evaluated once: only its other parts are inside it.
        operand = current.operand if isinstance(current, ast.Comprehension) else None
        if depth > MAX_DEPTH:
            raise _refusal(f"nested more than {MAX_DEPTH} levels deep", current.position)
        if inside > MAX_COMPREHENSION_DEPTH:
            raise _refusal(f"more than {MAX_COMPREHENSION_DEPTH} comprehensions within each other", current.position)
        if count > MAX_NODES:
            raise _refusal(f"more than {MAX_NODES} terms", current.position)
        level += [(child, depth + 1, comprehensions if child is operand else inside) for child in current.children()]
    _check_work(tree)


def _check_work(tree: ast.Node) -> None:
    work, _ = _estimate(tree, {})
    if work > MAX_WORK:
        raise _refusal("evaluating this could take too long: too many lists within lists", tree.position)


def _refusal(message: str, position: ast.Position) -> ExpressionError:
    return ExpressionError(message, line=position.line, column=position.column)


def _estimate(  # noqa: PLR0911  one for each kind of node
    node: ast.Node, scope: Mapping[str, Shape]
) -> tuple[int, Shape]:
    """Return the work of a node and the shape of its value."""
    match node:
        case ast.Literal():
            return 1, Shape(len(node.value) if isinstance(node.value, str | bytes) else 1)
        case ast.Name():
            return 1, scope.get(node.name, Shape())
        case ast.Bind():
            work, shape = _estimate(node.value, scope)
            body_work, body = _estimate(node.body, {**scope, node.name: shape})
            return _bounded(work + body_work), body
        case ast.Comprehension():
            return _comprehension(node, scope)
        case ast.ListLiteral():
            found = [_estimate(element.value, scope) for element in node.elements]
            widest = max((shape for _, shape in found), key=lambda shape: shape.length, default=Shape(0))
            return _bounded(1 + sum(work for work, _ in found)), Shape(len(found), widest)
        case ast.Select() | ast.Index():
            work, shape = _estimate(next(node.children()), scope)
            return _bounded(work + 1), shape.inner
        case _:
            return _call(node, scope)


def _comprehension(node: ast.Comprehension, scope: Mapping[str, Shape]) -> tuple[int, Shape]:
    work, shape = _estimate(node.operand, scope)
    inside = {**scope, **dict.fromkeys(node.variables, shape.inner)}
    each, result = 1, shape.inner
    if node.predicate is not None:
        each += _estimate(node.predicate, inside)[0]
    if node.transform is not None:
        transform, result = _estimate(node.transform, inside)
        each += transform
    element = result if node.macro in _COLLECTING else shape.inner
    return _bounded(work + shape.length * each), Shape(shape.length, element)


def _call(node: ast.Node, scope: Mapping[str, Shape]) -> tuple[int, Shape]:
    """Estimate a call: it may look at every element of its arguments, and give back all of them."""
    found = [_estimate(child, scope) for child in node.children()]
    length = sum(shape.length for _, shape in found)
    work = 1 + sum(work for work, _ in found)
    if not isinstance(node, ast.Call):
        return _bounded(work), Shape(length)
    if node.function == "flatten":
        shape = found[0][1]
        length = _bounded(shape.length * shape.inner.length)
        return _bounded(work + length), Shape(length, shape.inner.inner)
    if node.function in _LONG:
        return _bounded(work + _LONG[node.function]), Shape(_LONG[node.function])
    if node.function in {"_==_", "_!=_", "_&&_", "_||_", "!_"}:
        return _bounded(work), Shape(1)
    elements = [shape.element for _, shape in found if shape.element]
    element = max(elements, key=lambda shape: shape.length) if elements else None
    return _bounded(work + (length if node.function in {"_in_", "_+_"} else 0)), Shape(_bounded(length), element)


def _bounded(number: int) -> int:
    return min(number, _UNBOUNDED)
