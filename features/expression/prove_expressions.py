"""Fixed inputs of the compiled loops of expressions, with known results."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from base.compiled import prove
from features.expression.kernel import instructions as op
from features.expression.texts import Text, TextNumbers

_EXPECTED = "1520e78978fe632e31cae5e4c0bf04e4a9d4b5a9dec9be966bf831419cf97abd"


def prove_expressions() -> None:
    """Compare the results of compiled functions with known ones.

    Raises:
        ConfigurationError: They differ.
    """
    prove("expressions", golden_results(), _EXPECTED)


def golden_results() -> bytes:
    """Results of all operations over the range of float64, and numbers of listed texts."""
    sizes = np.ldexp(1.0 + np.arange(64) / 64, 33 * np.arange(64) - 1074)
    special = [0.0, -1.0, np.inf, np.nan]
    x = np.concatenate([sizes, -sizes, np.linspace(-750.0, 750.0, 301), special])
    place = np.arange(len(x))
    times = (place - 40) ** 5 * 1_234_567
    inputs = (x, x[::-1], place % 2, times.view(np.float64), np.isfinite(x), place % 3)
    values = np.empty((len(inputs) + op.OPERATIONS, len(x)))
    for row, column in enumerate(inputs):
        values[row] = column
    code = np.zeros((op.OPERATIONS, op.WIDTH), np.int64)
    code[:, op.OPERATION] = np.arange(op.OPERATIONS)
    code[:, op.OUT] = code[:, op.OPERATION] + len(inputs)
    code[:, [op.A, op.B, op.C]] = [0, 1, 2]
    code[op.AND : op.OR + 1, op.A : op.C] = [2, 4]
    code[op.WHERE, op.A : op.C + 1] = [2, 0, 1]
    code[op.HOUR : op.DAY + 1, op.A : op.C] = [3, 4]
    code[op.LISTED, op.A] = 5
    code[:, op.COUNT] = 3
    op.run(code, np.array([5.0, 750.0, 0.0]), values, values.view(np.int64))
    results = values[len(inputs) :]
    results[np.isnan(results)] = np.nan
    numbers = TextNumbers({"b": 1.0, "": 2.0, "ab": 3.0, "abc": 4.0}, -1.0)
    texts = pa.array(["abc", "ab", "a", "b", "", "ba", "abcd"], pa.string())
    found = numbers.of(Text(texts, np.ones(len(texts), np.bool_)))
    return b"".join((results.tobytes(), found.tobytes()))
