"""Names, fields and indexes: how an expression reaches its data."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from config.cel import ast, values
from config.cel.codegen import SCALARS, Code, Generator, article, fault, generates
from config.cel.overloads import DYN, NUMBERS
from config.errors import nearest

if TYPE_CHECKING:
    from config.cel.environment import Record

_TYPES: Final = {name: values.CelType(name) for name in values.TYPE_NAMES.values()}


@generates(ast.Name)
def name(generator: Generator, node: ast.Name) -> Code:
    if not node.rooted and (found := generator.scope.get(node.name)):
        return found
    if variable := generator.environment.variables.get(node.name):
        return generator.read(variable, "r")
    if found_type := _TYPES.get(node.name):
        return Code(generator.constant(found_type), "type")
    raise fault(node, f"unknown variable {node.name!r}", nearest(node.name, generator.environment.variables))


@generates(ast.Select)
def select(generator: Generator, node: ast.Select) -> Code:
    qualified = _qualified(generator, node)
    if qualified is not None:
        return qualified
    operand = generator.node(node.operand)
    if operand.kind == "headers":
        return header(operand, Code(repr(node.name), "string"), optional=node.optional, test=node.test)
    if operand.record is not None and not node.optional:
        return _field(generator, node, operand, operand.record)
    operand = generator.whole(operand)
    if operand.kind in SCALARS or operand.kind == "list":
        raise fault(node, f"{article(operand.kind)} has no field {node.name!r}", place=node.place)
    if node.test:
        return Code(f"has({operand.text}, {node.name!r})", "bool", total=False)
    if node.optional:
        return Code(f"optional_select({operand.text}, {node.name!r})", "optional", total=False)
    kind = "optional" if operand.kind == "optional" else DYN
    return Code(f"select({operand.text}, {node.name!r})", kind, total=False)


def _qualified(generator: Generator, node: ast.Select) -> Code | None:
    """Generate a variable or type whose name holds dots; none for a plain selection."""
    names: list[str] = [node.name]
    inner = node.operand
    while isinstance(inner, ast.Select) and not (inner.optional or inner.test):
        names.append(inner.name)
        inner = inner.operand
    if node.optional or node.test or not isinstance(inner, ast.Name):
        return None
    if inner.name in generator.scope and not inner.rooted:
        return None
    name = ".".join([inner.name, *reversed(names)])
    if variable := generator.environment.variables.get(name):
        return generator.read(variable, "r")
    return Code(generator.constant(_TYPES[name]), "type") if name in _TYPES else None


def _field(generator: Generator, node: ast.Select, operand: Code, record: Record) -> Code:
    variable = record.fields.get(node.name)
    if variable is None:
        hint = nearest(node.name, record.fields)
        raise fault(node, f"unknown field of {record.name} {node.name!r}", hint, place=node.place)
    parent = operand.text
    if record.nullable:
        parent = generator.fresh()
        generator.emit(f"{parent} = {operand.text}")
        generator.emit(f"if {parent} is None: raise NoSuchKeyError('{record.name} is null')")
        if node.test:
            return Code("True", "bool", total=False)
        return replace(generator.read(variable, parent), total=False)
    return Code("True", "bool") if node.test else generator.read(variable, parent)


def header(headers: Code, name: Code, *, optional: bool = False, test: bool = False) -> Code:
    """Generate the look-up of one header, which does not make the map of all."""
    text = f"({headers.text}, {name.text})"
    if test:
        return Code(f"has_header{text}", "bool", total=False)
    if optional:
        return Code(f"optional_header{text}", "optional", total=False)
    return Code(f"header{text}", DYN, total=False)


@generates(ast.Index)
def indexed(generator: Generator, node: ast.Index) -> Code:
    operand = generator.node(node.operand)
    if operand.kind == "headers":
        return header(operand, generator.value(node.index), optional=node.optional)
    if operand.record is not None and not node.optional and isinstance(node.index, ast.Literal):
        name = node.index.value
        if isinstance(name, str):
            return _field(generator, ast.Select(node.index.position, node.operand, name), operand, operand.record)
    operand, key = generator.whole(operand), generator.value(node.index)
    if operand.kind in SCALARS:
        raise fault(node, f"{article(operand.kind)} cannot be indexed")
    if operand.kind == "list" and key.kind in SCALARS - NUMBERS:
        raise fault(node.index, f"a list is indexed by an int, not by {article(key.kind)}")
    if node.optional:
        return Code(f"optional_select({operand.text}, {key.text})", "optional", total=False)
    if operand.kind == "optional":
        return Code(f"optional_select({operand.text}, {key.text})", "optional", total=False)
    return Code(f"index({operand.text}, {key.text})", operand.element, total=False)
