"""CEL: expressions checked once, at load, and evaluated for many requests.

The rest of the project compiles with `compile_expression`, asks the `Expression` it returns, and knows two errors.
Behind them stand cel-python's grammar and a generator of Python code (decision 3).
"""

from config.cel.errors import EvaluationError, ExpressionError
from config.cel.expression import Expression, compile_expression

__all__ = ["EvaluationError", "Expression", "ExpressionError", "compile_expression"]
