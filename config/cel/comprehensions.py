"""Comprehensions to Python loops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.cel.ast import Comprehension, Macro
from config.cel.codegen import SCALARS, Code, article, fault, generates
from config.cel.cost import step_cost
from config.cel.overloads import DYN

if TYPE_CHECKING:
    from config.cel.codegen import Generator

_QUANTIFIERS = frozenset({Macro.ALL, Macro.EXISTS})
_MAPS = frozenset({Macro.TRANSFORM_MAP, Macro.TRANSFORM_MAP_ENTRY})


@generates(Comprehension)
def comprehension(generator: Generator, node: Comprehension) -> Code:
    """Generate a macro that goes over a list or a map."""
    operand = generator.value(node.operand)
    if operand.kind in SCALARS:
        raise fault(node.operand, f"{node.macro}() goes over a list or a map, not over {article(operand.kind)}")
    names = [generator.fresh("v") for _ in node.variables]
    kinds = _variable_kinds(operand, len(names))
    variables = {variable: Code(name, kind) for variable, name, kind in zip(node.variables, names, kinds, strict=True)}
    function = "elements" if len(names) == 1 else "pairs"
    loop = f"for {', '.join(names)} in {function}({operand.text}):"
    with generator.bound(variables):
        if node.macro in _QUANTIFIERS:
            return _quantifier(generator, node, loop)
        if node.macro is Macro.EXISTS_ONE:
            return _exists_one(generator, node, loop)
        return _collection(generator, node, loop, names)


def _cost(node: Comprehension) -> int:
    return step_cost(iter((node.predicate, node.transform)))


def _variable_kinds(operand: Code, count: int) -> tuple[str, ...]:
    if operand.kind != "list":
        return (DYN,) * count
    return (operand.element,) if count == 1 else ("int", operand.element)


def _quantifier(generator: Generator, node: Comprehension, loop: str) -> Code:
    """`all` and `exists`: one element that decides outweighs errors of the others."""
    is_all = node.macro is Macro.ALL
    result, error = generator.fresh(), generator.fresh("e")
    generator.emit(f"{result} = {is_all}")
    generator.emit(f"{error} = None")
    with generator.block(loop):
        generator.spend(_cost(node))
        assert node.predicate is not None  # noqa: S101  macros.py gives one to both
        with generator.aside() as lines:
            code = generator.truth(node.predicate)
            generator.emit(f"if {'not ' if is_all else ''}{code.text}:")
            generator.emit(f"    {result} = {not is_all}")
            generator.emit("    break")
        if code.total:
            generator.add(lines)
        else:
            with generator.block("try:"):
                generator.add(lines)
            with generator.block("except EvaluationError as caught:"):
                generator.emit(f"{error} = graver({error}, caught)")
    undecided = result if is_all else f"not {result}"
    generator.emit(f"if {undecided} and {error} is not None: raise {error}")
    return Code(result, "bool", total=False)


def _exists_one(generator: Generator, node: Comprehension, loop: str) -> Code:
    """`exists_one`: any error is one of the whole."""
    count = generator.fresh()
    generator.emit(f"{count} = 0")
    with generator.block(loop):
        generator.spend(_cost(node))
        assert node.predicate is not None  # noqa: S101  macros.py gives one
        generator.emit(f"if {generator.truth(node.predicate).text}: {count} += 1")
    return Code(f"({count} == 1)", "bool", total=False)


def _collection(generator: Generator, node: Comprehension, loop: str, names: list[str]) -> Code:
    """`map`, `filter` and the transforms."""
    result = generator.fresh()
    is_map = node.macro in _MAPS
    generator.emit(f"{result} = {'{}' if is_map else '[]'}")
    element = DYN
    with generator.block(loop):
        generator.spend(_cost(node))
        if node.predicate is not None:
            generator.emit(f"if not {generator.truth(node.predicate).text}: continue")
        if node.transform is None:
            generator.emit(f"{result}.append({names[0]})")
        else:
            code = generator.value(node.transform)
            element = code.kind
            if node.macro is Macro.TRANSFORM_MAP:
                generator.emit(f"{result}[map_key({names[0]})] = {code.text}")
            elif node.macro is Macro.TRANSFORM_MAP_ENTRY:
                entry = generator.fresh()
                generator.emit(f"{entry} = {code.text}")
                generator.emit(f"if type({entry}) is not dict: fail('a map was expected')")
                generator.emit(f"if {entry}.keys() & {result}.keys(): fail('a key stands twice in one map')")
                generator.emit(f"{result}.update({entry})")
            else:
                generator.emit(f"{result}.append({code.text})")
    return Code(result, "map" if is_map else "list", total=False, element=DYN if is_map else element)
