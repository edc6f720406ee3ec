"""What an expression may cost: its size is bounded when it is loaded, its work while it is evaluated.

Work cannot be told beforehand: it depends on lists that come with the request. Every step of a comprehension is paid
from one budget, and an evaluation that has none left fails, as any error does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from config.cel import ast
from config.cel.errors import ExpressionError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_NODES: Final = 4_000
MAX_DEPTH: Final = 48
"""Levels of the syntax tree that follow each other; chains of `&&` and `||` are flat."""
MAX_COMPREHENSION_DEPTH: Final = 3

STEPS: Final = 10_000
"""Budget of one evaluation: enough to compare each of 100 headers with each other one."""
CALL_STEPS: Final = 20
"""What a step pays for each call in it that may look at a whole text or list."""

_CHEAP: Final = frozenset(
    {"size", "startsWith", "endsWith", "contains", "has", "int", "uint", "double", "bool", "type", "dyn"}
    | {"default", "coalesce", "hasValue", "value", "or", "orValue", "optional.of", "optional.none"}
)
"""Functions that do not change a text or list, or only compare it once; operators are cheap too."""


def check_limits(tree: ast.Node) -> None:
    """Refuse an expression that is too large or too deep.

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


def step_cost(parts: Iterator[ast.Node | None]) -> int:
    """Return what one step of a comprehension pays for the expressions it evaluates.

    Comprehensions inside pay for their own steps.
    """
    return 1 + CALL_STEPS * sum(_costly_calls(part) for part in parts if part is not None)


def _costly_calls(node: ast.Node) -> int:
    if isinstance(node, ast.Comprehension):
        return _costly_calls(node.operand)
    own = isinstance(node, ast.Call) and node.function[0] not in "_!-" and node.function not in _CHEAP
    return own + sum(map(_costly_calls, node.children()))


def _refusal(message: str, position: ast.Position) -> ExpressionError:
    return ExpressionError(message, line=position.line, column=position.column)
