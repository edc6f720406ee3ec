"""Calls: operators that absorb errors or compare anything, and functions chosen from the library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from config.cel import ast
from config.cel.codegen import SCALARS, Code, article, fault, generates
from config.cel.errors import EvaluationError
from config.cel.macros import MACRO_NAMES
from config.cel.optionals import stand_in
from config.cel.overloads import DYN, LIBRARY, NUMBERS
from config.cel.patterns import searcher
from config.cel.selections import header
from config.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from config.cel.codegen import Generator
    from config.cel.overloads import Overload

Lines = list[tuple[int, str]]


def logical(generator: Generator, node: ast.Call) -> Code:
    """Generate `a && b && ...` or `a || b || ...`: one operand that decides outweighs errors in the others."""
    is_and = node.function == "_&&_"
    easy: list[str] = []
    hard: list[tuple[Lines, Code]] = []
    for argument in node.arguments:
        with generator.aside() as lines:
            code = generator.truth(argument)
        if code.total and not lines:
            easy.append(code.text)
        else:
            hard.append((lines, code))
    word = " and " if is_and else " or "
    if not hard:
        return Code(f"({word.join(easy)})", "bool")
    if len(hard) == 1 and not hard[0][0]:
        return Code(f"({word.join([*easy, hard[0][1].text])})", "bool", total=False)
    return _absorbing(generator, is_and=is_and, easy=word.join(easy), hard=hard)


def _absorbing(generator: Generator, *, is_and: bool, easy: str, hard: list[tuple[Lines, Code]]) -> Code:
    """Generate operands that may fail: each is tried until one decides; an error counts if none did."""
    result, error = generator.fresh(), generator.fresh("e")
    undecided = result if is_and else f"not {result}"
    generator.emit(f"{result} = {easy or is_and}")
    generator.emit(f"{error} = None")
    total = True
    for lines, code in hard:
        with generator.block(f"if {undecided}:"):
            if code.total:
                generator.add(lines)
                generator.emit(f"{result} = {code.text}")
                continue
            total = False
            with generator.block("try:"):
                generator.add(lines)
                generator.emit(f"{result} = {code.text}")
            with generator.block("except EvaluationError as caught:"):
                generator.emit(f"{error} = graver({error}, caught)")
    if not total:
        generator.emit(f"if {undecided} and {error} is not None: raise {error}")
    return Code(result, "bool", total)


def conditional(generator: Generator, node: ast.Call) -> Code:
    """`c ? a : b`: only the chosen branch is evaluated."""
    condition = generator.truth(node.arguments[0])
    branches = []
    for argument in node.arguments[1:]:
        with generator.aside() as lines:
            branches.append((lines, generator.value(argument)))
    (then_lines, then), (else_lines, otherwise) = branches
    kind = then.kind if then.kind == otherwise.kind else DYN
    total = condition.total and then.total and otherwise.total
    if not then_lines and not else_lines:
        return Code(f"({then.text} if {condition.text} else {otherwise.text})", kind, total)
    result = generator.fresh()
    for head, lines, code in ((f"if {condition.text}:", then_lines, then), ("else:", else_lines, otherwise)):
        with generator.block(head):
            generator.add(lines)
            generator.emit(f"{result} = {code.text}")
    return Code(result, kind, total)


def equality(generator: Generator, node: ast.Call) -> Code:
    """`==` and `!=`: by value among numbers and within one type, false across types."""
    left, right = map(generator.value, node.arguments)
    known = DYN not in (left.kind, right.kind)
    if known and left.kind != right.kind and not {left.kind, right.kind} <= NUMBERS:
        raise fault(node, f"{article(left.kind)} never equals {article(right.kind)}")
    negated = node.function == "_!=_"
    total = left.total and right.total
    kinds = {left.kind, right.kind}
    if "null" in kinds:
        return Code(f"({left.text} is {'not ' * negated}{right.text})", "bool", total)
    # Python compares these as CEL does, also with a value of another type: a string equals strings only.
    if kinds & {"string", "bytes"} or (known and kinds <= SCALARS):
        return Code(f"({left.text} {'!=' if negated else '=='} {right.text})", "bool", total)
    text = f"equal({left.text}, {right.text})"
    return Code(f"(not {text})" if negated else text, "bool", total)


def membership(generator: Generator, node: ast.Call) -> Code:
    """`x in list` and `x in map`; among constants of one kind it is one look-up."""
    item_node, container_node = node.arguments
    item, container = generator.value(item_node), generator.node(container_node)
    if container.kind == "headers":
        return header(container, item, test=True)
    container = generator.whole(container)
    if container.kind in SCALARS:
        raise fault(container_node, f"'in' wants a list or a map on its right, not {article(container.kind)}")
    if container.kind == "list" and DYN not in (item.kind, container.element):
        if item.kind != container.element and not {item.kind, container.element} <= NUMBERS:
            raise fault(node, f"{article(item.kind)} is never in a list of {container.element}")
        constants = _constants(container_node)
        if constants is not None and item.kind == container.element and item.kind in {"string", "int", "bytes"}:
            return Code(f"({item.text} in {generator.constant(frozenset(constants))})", "bool", item.total)
    total = item.total and container.total and container.kind == "list"
    return Code(f"contains({item.text}, {container.text})", "bool", total)


def _constants(node: ast.Node) -> list[Any] | None:
    """Return the values of a list of constants; none for any other node."""
    if not isinstance(node, ast.ListLiteral):
        return None
    literals = [element.value for element in node.elements if not element.optional]
    found = [literal.value for literal in literals if isinstance(literal, ast.Literal)]
    return found if len(found) == len(node.elements) else None


def matching(generator: Generator, node: ast.Call) -> Code:
    """Generate `matches`; a constant pattern is compiled, and refused, at load."""
    if len(node.arguments) == 2 and isinstance(pattern := node.arguments[1], ast.Literal):  # noqa: PLR2004  text, pattern
        text = generator.value(node.arguments[0])
        if isinstance(pattern.value, str) and text.kind in {"string", DYN}:
            try:
                search = searcher(pattern.value)
            except EvaluationError as error:
                raise fault(pattern, ": ".join(filter(None, (str(error), _reason(error))))) from None
            return Code(f"{generator.constant(search)}({text.text})", "bool", total=False)
    return _library_call(generator, node)


def _reason(error: EvaluationError) -> str:
    """Return what RE2 says of a pattern; only the operator, who wrote it, reads this."""
    detail = error.__cause__.args[0] if error.__cause__ and error.__cause__.args else ""
    return detail.decode(errors="replace") if isinstance(detail, bytes) else str(detail)


def default(generator: Generator, node: ast.Call) -> Code:
    """`default(x, d)`: `d` where `x` is null or not there. Any other error stays one."""
    if node.is_method or len(node.arguments) != 2:  # noqa: PLR2004  value, default
        raise fault(node, "default() takes a value and what stands in for it")
    result = generator.fresh()
    with generator.block("try:"):
        value = generator.value(node.arguments[0])
        generator.emit(f"{result} = {value.text}")
    with generator.block("except NoSuchKeyError:"):
        generator.emit(f"{result} = None")
    with generator.block(f"if {result} is None:"):
        stand_in = generator.value(node.arguments[1])
        generator.emit(f"{result} = {stand_in.text}")
    return Code(result, value.kind if value.kind == stand_in.kind else DYN, value.total and stand_in.total)


def coalesce(generator: Generator, node: ast.Call) -> Code:
    """`coalesce(a, b, ...)`: the first that is neither null nor an error; else null, or the last error if none was.

    A repeated header in a rule stays an error: else sending one twice would have a Deny read the stand-in.
    """
    if node.is_method or not node.arguments:
        raise fault(node, "coalesce() takes one or more values")
    result, error, was_null = generator.fresh(), generator.fresh("e"), generator.fresh()
    generator.emit(f"{result} = {error} = None")
    generator.emit(f"{was_null} = False")
    kinds = set()
    for argument in node.arguments:
        with generator.block(f"if {result} is None:"):
            with generator.block("try:"):
                code = generator.value(argument)
                generator.emit(f"{result} = {code.text}")
                generator.emit(f"{was_null} = {was_null} or {result} is None")
            generator.emit("except RepeatedHeaderError: raise")
            with generator.block("except EvaluationError as caught:"):
                generator.emit(f"{error} = caught")
        kinds.add(code.kind)
    generator.emit(f"if {result} is None and {error} is not None and not {was_null}: raise {error}")
    return Code(result, kinds.pop() if len(kinds) == 1 else DYN, total=False)


def alternative(generator: Generator, node: ast.Call) -> Code:
    """`a.or(b)` and `a.orValue(b)`: `b` is evaluated only where `a` is empty."""
    return stand_in(generator, node) or _library_call(generator, node)


SPECIAL_FORMS: Final[dict[str, Callable[[Generator, ast.Call], Code]]] = {
    "_&&_": logical,
    "_||_": logical,
    "_?_:_": conditional,
    "_==_": equality,
    "_!=_": equality,
    "_in_": membership,
    "matches": matching,
    "default": default,
    "coalesce": coalesce,
    "or": alternative,
    "orValue": alternative,
}
"""Calls that evaluate their arguments in their own way."""

FUNCTION_NAMES: Final = frozenset({"default", "coalesce"}) | MACRO_NAMES


@generates(ast.Call)
def call(generator: Generator, node: ast.Call) -> Code:
    """Generate a call."""
    return SPECIAL_FORMS.get(node.function, _library_call)(generator, node)


def _library_call(generator: Generator, node: ast.Call) -> Code:
    """Generate the call of a library function."""
    name, is_method, arguments = node.function, node.is_method, node.arguments
    if is_method and (namespaced := _namespaced(generator, node)):
        name, is_method, arguments = namespaced, False, node.arguments[1:]
    overloads = LIBRARY.overloads.get((name, is_method))
    if overloads is None:
        if (name, not is_method) in LIBRARY.overloads:
            form = f"{name}(x)" if is_method else f"x.{name}()"
            raise fault(node, f"{name} is called as {form}")
        if name in MACRO_NAMES:
            raise fault(node, f"the macro {name} does not take these arguments")
        known = {known for known in LIBRARY.names if known[0] not in "_!-@"} | FUNCTION_NAMES
        raise fault(node, f"unknown function {name!r}", nearest(name, known, otherwise="docs/cel.md lists them"))
    codes = [generator.value(argument) for argument in arguments]
    kinds = [code.kind for code in codes]
    candidates = [overload for overload in overloads if overload.accepts(kinds)]
    if not candidates:
        raise fault(node, f"there is no {_form(name, kinds, is_method=is_method)}", _signatures(overloads))
    texts = [code.text for code in codes]
    total = all(code.total for code in codes)
    overload = next((candidate for candidate in candidates if _is_exact(candidate, kinds)), None)
    if overload is not None and (len(candidates) == 1 or DYN not in kinds):
        if overload.inline is not None:
            return Code(overload.inline.format(*texts), overload.result, total and overload.total)
        text = f"{generator.constant(overload.code)}({', '.join(texts)})"
        return Code(text, overload.result, total and overload.total)
    results = {overload.result for overload in candidates}
    dispatch = generator.constant(LIBRARY.dispatcher(name, is_method=is_method))
    return Code(f"{dispatch}({', '.join(texts)})", results.pop() if len(results) == 1 else DYN, total=False)


def _namespaced(generator: Generator, node: ast.Call) -> str | None:
    """Return the full name of `math.abs(x)` and its like, where `math` is no variable."""
    names = []
    target = node.arguments[0]
    while isinstance(target, ast.Select) and not (target.optional or target.test):
        names.append(target.name)
        target = target.operand
    if not isinstance(target, ast.Name) or target.name in generator.scope:
        return None
    qualified = ".".join([target.name, *reversed(names), node.function])
    return qualified if (qualified, False) in LIBRARY.overloads else None


def _is_exact(overload: Overload, kinds: list[str]) -> bool:
    parameters = overload.parameters
    if overload.variadic:
        parameters += parameters[-1:] * (len(kinds) - len(parameters))
    return all(parameter in (DYN, kind) for parameter, kind in zip(parameters, kinds, strict=True))


def _form(name: str, kinds: Sequence[str], *, is_method: bool) -> str:
    """Return how a call looks with arguments of these kinds: `string.startsWith(string)`, `int + string`."""
    if name[0] in "_!-":
        operator = name.strip("_")
        return f"{kinds[0]} {operator} {kinds[1]}" if len(kinds) > 1 else f"{operator}{kinds[0]}"
    if is_method:
        return f"{kinds[0]}.{name}({', '.join(kinds[1:])})"
    return f"{name}({', '.join(kinds)})"


def _signatures(overloads: list[Overload]) -> str:
    forms = sorted({_form(o.function, o.parameters, is_method=o.is_method) for o in overloads})
    return f"there is {', '.join(forms[:8])}"
