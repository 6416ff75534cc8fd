"""exp, log and log1p made of correctly rounded operations only.

numpy's own functions differ in the last bit between processors (AVX-512 or not; measured: 175 of
4,097 values of exp, 273 of log1p), and its power differs between a scalar and an array. A feature
must have the same bits alone and in a batch, on this machine and on the next. So these functions
use only operations that IEEE 754 rounds correctly: + - * / and exact scaling by powers of two.
Results are within 2 units in the last place of the true value; tests check this bound.
"""

from __future__ import annotations

import math

import numpy as np

from base.arrays import Floats

# ln 2 in two parts: the first has 21 zero bits at its end, so that its product with an exponent
# (at most 11 bits) is exact.
_LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1")
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_INVERSE_LN2 = 1.4426950408889634
_SQRT_HALF = 0.7071067811865476
_LARGEST_EXP = 709.782712893384
_SMALLEST_EXP = -745.1332191019412
# Taylor coefficients 1/n! of exp on |r| <= ln(2)/2; the term left out is below 2**-58.
_EXP = tuple(1.0 / math.factorial(n) for n in range(14, 1, -1))
# atanh(s) = s + s**3/3 + s**5/5 ... on |s| <= 0.1716; the term left out is below 2**-60.
_ATANH = tuple(2.0 / (2 * n + 1) for n in range(11, 0, -1))


def exp(x: Floats) -> Floats:
    """e**x, float64[N]; inf above 709.78, 0 below -745.13, NaN for NaN."""
    inside = np.where(np.isnan(x), 0.0, np.minimum(np.maximum(x, _SMALLEST_EXP), _LARGEST_EXP))
    k = np.rint(inside * _INVERSE_LN2)
    low = k * _LN2_LOW
    high = inside - k * _LN2_HIGH
    r = high - low
    series = np.full_like(r, _EXP[0])
    for coefficient in _EXP[1:]:
        series = series * r + coefficient
    # Adds back, to first order, what rounding removed from r; 1 is added last, to the small rest.
    rest = series * (r * r) + ((high - r) - low)
    result = np.ldexp(1.0 + (r + rest), k.astype(np.int32))
    result = np.where(x > _LARGEST_EXP, np.inf, np.where(x < _SMALLEST_EXP, 0.0, result))
    return np.where(np.isnan(x), np.nan, result)


def log(x: Floats) -> Floats:
    """The natural logarithm, float64[N]; -inf for 0, NaN below 0 and for NaN."""
    return _log_of_sum(x, np.zeros_like(x))


def log1p(x: Floats) -> Floats:
    """log(1 + x), float64[N], exact where x is small; -inf for -1, NaN below -1 and for NaN."""
    total = 1.0 + x
    # The rounding error of 1 + x, by the two-sum of Knuth; 0 where the sum is infinite.
    back = total - x
    lost = np.where(np.isfinite(total), (1.0 - back) + (x - (total - back)), 0.0)
    return _log_of_sum(total, lost)


def _log_of_sum(x: Floats, lost: Floats) -> Floats:
    """log(x + lost), where lost is below half a unit in the last place of x."""
    usable = (x > 0.0) & (x < np.inf)
    safe = np.where(usable, x, 1.0)
    mantissa, exponent = np.frexp(safe)
    low_half = mantissa < _SQRT_HALF
    mantissa = np.where(low_half, mantissa * 2.0, mantissa)
    exponent = exponent - low_half
    f = mantissa - 1.0
    s = f / (2.0 + f)
    z = s * s
    series = np.full_like(z, _ATANH[0])
    for coefficient in _ATANH[1:]:
        series = series * z + coefficient
    # log(1 + f) = f - (f*f/2 - s*(f*f/2 + rest)): f itself is exact, so only the small rest rounds.
    half_square = 0.5 * f * f
    rest = s * (half_square + series * z)
    correction = np.where(usable, lost / safe, 0.0) + exponent * _LN2_LOW
    result = exponent * _LN2_HIGH + (f - (half_square - (rest + correction)))
    outside = np.where(x == 0.0, -np.inf, np.where(x > 0.0, np.inf, np.nan))
    return np.where(usable, result, outside)
