"""Fixed inputs of the compiled loops of expressions, with known results."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from base.compiled import prove
from features.expression.kernel import elementary
from features.expression.operations import Text, TextNumbers

_EXPECTED = "4940c1f0197de11918e90577dc3994c20bb1eec69550fea5f8336d9b536738b6"


def prove_expressions() -> None:
    """Compare the results of compiled functions with known ones.

    Raises:
        ConfigurationError: They differ.
    """
    prove("expressions", golden_results(), _EXPECTED)


def golden_results() -> bytes:
    """Powers of e and logarithms over the range of float64, and numbers of listed texts."""
    sizes = np.ldexp(1.0 + np.arange(64) / 64, 33 * np.arange(64) - 1074)
    x = np.concatenate([sizes, -sizes, np.linspace(-750.0, 750.0, 301), [0.0, -1.0, np.inf]])
    results = np.empty((3, len(x)))
    for row, function in enumerate((elementary.exp, elementary.log, elementary.log1p)):
        function(x, results[row])
    results[np.isnan(results)] = np.nan
    numbers = TextNumbers({"b": 1.0, "": 2.0, "ab": 3.0, "abc": 4.0}, -1.0)
    texts = pa.array(["abc", "ab", "a", "b", "", "ba", "abcd"], pa.string())
    found = numbers.of(Text(texts, np.ones(len(texts), np.bool_)))
    return results.tobytes() + found.tobytes()
