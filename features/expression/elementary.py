"""exp, log and log1p made of correctly rounded operations only.

numpy's own functions differ in the last bit between processors (AVX-512 or not; measured: 175 of
4,097 values of exp, 273 of log1p), and its power differs between a scalar and an array. A feature
must have the same bits alone and in a batch, on this machine and on the next. So these functions
use only operations that IEEE 754 rounds correctly: + - * / and exact scaling by powers of two.
Results are within 2 units in the last place of the true value; tests check this bound.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from base.arrays import Floats
from features.expression.kernel import elementary


def exp(x: Floats) -> Floats:
    """e**x, float64[N]; inf above 709.78, 0 below -745.13, NaN for NaN."""
    return _map(elementary.exp, x)


def log(x: Floats) -> Floats:
    """The natural logarithm, float64[N]; -inf for 0, NaN below 0 and for NaN."""
    return _map(elementary.log, x)


def log1p(x: Floats) -> Floats:
    """log(1 + x), float64[N], exact where x is small; -inf for -1, NaN below -1 and for NaN."""
    return _map(elementary.log1p, x)


def _map(kernel: Callable[[Floats, Floats], None], x: Floats) -> Floats:
    # A copy: the kernels are compiled for arrays that are contiguous and can be written to.
    numbers = np.array(x, np.float64).reshape(-1)
    result = np.empty(len(numbers))
    kernel(numbers, result)
    return result.reshape(np.shape(x))
