"""Constants, lists, maps and bound values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from config.cel import ast
from config.cel.codegen import Code, Generator, article, fault, generates
from config.cel.overloads import DYN, KINDS


@generates(ast.Literal)
def literal(generator: Generator, node: ast.Literal) -> Code:
    kind = KINDS[type(node.value)]
    plain = kind in {"int", "string", "bool", "null", "bytes"}
    return Code(repr(node.value) if plain else generator.constant(node.value), kind, constant=node)


@generates(ast.ListLiteral)
def list_literal(generator: Generator, node: ast.ListLiteral) -> Code:
    codes = [generator.value(element.value) for element in node.elements]
    kinds = {code.kind for code in codes}
    element = kinds.pop() if len(kinds) == 1 else DYN
    total = all(code.total for code in codes)
    if not any(element.optional for element in node.elements):
        return Code("[" + ", ".join(code.text for code in codes) + "]", "list", total, element)
    result = generator.fresh()
    generator.emit(f"{result} = []")
    for code, item in zip(codes, node.elements, strict=True):
        if not item.optional:
            generator.emit(f"{result}.append({code.text})")
            continue
        name = _optional(generator, item.value, code)
        total = total and code.kind == "optional"
        generator.emit(f"if {name}.present: {result}.append({name}.content)")
    return Code(result, "list", total)


def _optional(generator: Generator, node: ast.Node, code: Code) -> str:
    """Generate the check that a value is an optional, and return its name."""
    if code.kind not in {DYN, "optional"}:
        raise fault(node, f"an optional is needed after '?', not {article(code.kind)}")
    name = generator.fresh()
    generator.emit(f"{name} = {code.text}")
    if code.kind == DYN:
        generator.emit(f"if type({name}) is not Optional: fail('an optional was expected')")
    return name


@generates(ast.MapLiteral)
def map_literal(generator: Generator, node: ast.MapLiteral) -> Code:
    result, total = generator.fresh(), True
    generator.emit(f"{result} = {{}}")
    seen: set[tuple[type, Any]] = set()
    for entry in node.entries:
        key, item = generator.value(entry.key), generator.value(entry.value)
        if key.kind not in {DYN, "bool", "int", "uint", "string"}:
            raise fault(entry.key, f"a map key is a bool, int, uint or string, not {article(key.kind)}")
        if key.constant is not None:
            identity = (bool if key.kind == "bool" else object, key.constant.value)
            if identity in seen:
                raise fault(entry.key, "the key stands twice in one map")
            seen.add(identity)
        total = total and key.total and item.total and key.constant is not None
        name = generator.fresh()
        generator.emit(f"{name} = map_key({key.text})")
        if key.constant is None or len(seen) < len(node.entries):
            generator.emit(f"if {name} in {result}: fail('a key stands twice in one map')")
            total = False
        if entry.optional:
            optional = _optional(generator, entry.value, item)
            total = total and item.kind == "optional"
            generator.emit(f"if {optional}.present: {result}[{name}] = {optional}.content")
        else:
            generator.emit(f"{result}[{name}] = {item.text}")
    return Code(result, "map", total)


@generates(ast.Bind)
def bind(generator: Generator, node: ast.Bind) -> Code:
    code = generator.value(node.value)
    name = generator.fresh("v")
    generator.emit(f"{name} = {code.text}")
    with generator.bound({node.name: replace(code, text=name, total=True, constant=None)}):
        body = generator.value(node.body)
    return replace(body, total=body.total and code.total)
