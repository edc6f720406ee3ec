"""The implementations of CEL that are not ours, by name.

Ours joins them as one more function `(Case) -> Result`: it returns `Result(value=...)` in the tagged form of `cases`,
or `failure(error)`, and leaves the verdict to `passes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cel_conformance.cel_expr import run_cel_expr
from tests.cel_conformance.cel_python import run_cel_python
from tests.cel_conformance.results import Result, failure, passes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cel_conformance.cases import Case

ORACLES: dict[str, Callable[[Case], Result]] = {"cel-python": run_cel_python, "cel-expr-python": run_cel_expr}

__all__ = ["ORACLES", "Result", "failure", "passes", "run_cel_expr", "run_cel_python"]
