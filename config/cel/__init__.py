"""CEL: expressions checked once, at load, and evaluated for many requests.

The rest of the project knows three names of this package: `compile_expression`, the `Expression` it returns, and the
two errors. What stands behind them is cel-python's parser and, for now, its interpreter.
"""

from config.cel.errors import EvaluationError, ExpressionError
from config.cel.expression import Expression, compile_expression

__all__ = ["EvaluationError", "Expression", "ExpressionError", "compile_expression"]
