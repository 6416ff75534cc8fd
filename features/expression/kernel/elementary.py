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
from base.compiled import leaf

# ln 2 in two parts: the first has 21 zero bits at its end, so that its product with an exponent
# (at most 11 bits) is exact.
_LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1")
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_LN2 = 0.6931471805599453
_INVERSE_LN2 = 1.4426950408889634
_SQRT_HALF = 0.7071067811865476
_LARGEST_EXP = 709.782712893384
_SMALLEST_EXP = -745.1332191019412
_LARGEST_POWER = 1075
_HALVED = np.array([math.ldexp(1.0, -k) for k in range(_LARGEST_POWER + 1)])
# Taylor coefficients 1/n! of exp on |r| <= ln(2)/2; the term left out is below 2**-58.
_EXP = tuple(1.0 / math.factorial(n) for n in range(14, 1, -1))
# atanh(s) = s + s**3/3 + s**5/5 ... on |s| <= 0.1716; the term left out is below 2**-60.
_ATANH = tuple(2.0 / (2 * n + 1) for n in range(11, 0, -1))


@leaf
def exp(numbers: Floats, result: Floats) -> None:
    """e**x of float64[N]; inf above 709.78, 0 below -745.13, NaN for NaN."""
    for row in range(len(numbers)):
        x = numbers[row]
        if x > _LARGEST_EXP:
            result[row] = np.inf
        elif x < _SMALLEST_EXP:
            result[row] = 0.0
        elif x != x:  # noqa: PLR0124 - NaN
            result[row] = np.nan
        else:
            k = np.rint(x * _INVERSE_LN2)
            low = k * _LN2_LOW
            high = x - k * _LN2_HIGH
            r = high - low
            # Adds back, to first order, what rounding removed from r.
            result[row] = math.ldexp(_exp_near_zero(r, (high - r) - low), int(k))


@leaf
def power_of_half(x: float) -> float:
    """0.5**x of a number from 0 on; exact where x is whole."""
    if x > _LARGEST_POWER:
        return 0.0
    k = np.rint(x)
    # A call of ldexp takes as long as the rest.
    return _exp_near_zero((k - x) * _LN2, 0.0) * _HALVED[int(k)]


@leaf
def _exp_near_zero(r: float, lost: float) -> float:
    """e**(r + lost), where |r| <= ln(2)/2 and lost is the rounding error of r."""
    series = 0.0
    for coefficient in _EXP:
        series = series * r + coefficient
    # 1 is added last, to the small rest.
    rest = series * (r * r) + lost
    return 1.0 + (r + rest)


@leaf
def natural_log(x: float) -> float:
    """The natural logarithm of a number; NaN for 0 and below, and for NaN."""
    return _log_of_sum(x, 0.0)


@leaf
def log(numbers: Floats, result: Floats) -> None:
    """The natural logarithm of float64[N]; NaN for 0 and below, and for NaN."""
    for row in range(len(numbers)):
        result[row] = natural_log(numbers[row])


@leaf
def log1p(numbers: Floats, result: Floats) -> None:
    """log(1 + x) of float64[N], exact where x is small; NaN for -1 and below, and for NaN."""
    for row in range(len(numbers)):
        x = numbers[row]
        total = 1.0 + x
        lost = 0.0
        if math.isfinite(total):
            # The rounding error of 1 + x, by the two-sum of Knuth.
            back = total - x
            lost = (1.0 - back) + (x - (total - back))
        result[row] = _log_of_sum(total, lost)


@leaf
def _log_of_sum(x: float, lost: float) -> float:
    """log(x + lost), where lost is below half a unit in the last place of x."""
    if not (x > 0.0 and x < np.inf):
        return np.inf if x > 0.0 else np.nan
    mantissa, exponent = math.frexp(x)
    if mantissa < _SQRT_HALF:
        mantissa *= 2.0
        exponent -= 1
    f = mantissa - 1.0
    s = f / (2.0 + f)
    z = s * s
    series = 0.0
    for coefficient in _ATANH:
        series = series * z + coefficient
    # log(1 + f) = f - (f*f/2 - s*(f*f/2 + rest)): f itself is exact, so only the small rest rounds.
    half_square = 0.5 * f * f
    rest = s * (half_square + series * z)
    correction = lost / x + exponent * _LN2_LOW
    return exponent * _LN2_HIGH + (f - (half_square - (rest + correction)))
