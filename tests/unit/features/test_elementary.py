from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest

from features.expression.kernel import instructions as op
from tests.support.interpreted import interpreted

Function = Callable[[Any], Any]


def function(code: int) -> Function:
    def compute(x: Any) -> Any:
        values = np.array([x, x], np.float64)
        instruction = np.array([[code, 1, 0, 0, 0, 0, 0]])
        op.run(instruction, np.empty(0), values, values.view(np.int64))
        return values[1]

    return compute


exp, log, log1p = function(op.EXP), function(op.LOG), function(op.LOG1P)


def halved(numbers: Any) -> Any:
    """Powers of one half, which kernels alone call, as Python runs them."""
    power_of_half = interpreted("features.expression")["elementary"].power_of_half
    return np.array([power_of_half(float(number)) for number in numbers])


def worst_error(computed: Any, inputs: Any, truth: Callable[[Decimal], Decimal]) -> float:
    """The largest error, in units in the last place."""
    with localcontext() as context:
        context.prec = 50
        return max(
            float(abs(Decimal(float(got)) - truth(Decimal(float(x)))) / Decimal(math.ulp(got)))
            for x, got in zip(inputs, computed, strict=True)
        )


def test_log_is_within_one_unit_in_the_last_place() -> None:
    rng = np.random.default_rng(1)
    x = np.concatenate(
        [
            10.0 ** rng.uniform(-300, 300, 400),
            rng.uniform(0.5, 2.0, 400),
            1.0 + rng.normal(0, 1e-8, 100),
            [5e-324, 1e-310, 1.7e308],
        ]
    )
    assert worst_error(log(x), x, lambda d: d.ln()) < 0.8


def test_exp_is_within_one_unit_in_the_last_place() -> None:
    rng = np.random.default_rng(2)
    x = np.concatenate(
        [rng.uniform(-700, 709, 400), rng.uniform(-1, 1, 400), rng.normal(0, 1e-6, 100)]
    )
    assert worst_error(exp(x), x, lambda d: d.exp()) < 0.8


def test_log1p_is_within_one_unit_in_the_last_place() -> None:
    rng = np.random.default_rng(3)
    x = np.concatenate(
        [
            10.0 ** rng.uniform(-20, 300, 300),
            -(10.0 ** rng.uniform(-20, -0.001, 300)),
            rng.uniform(-0.99, 1.0, 300),
        ]
    )
    assert worst_error(log1p(x), x, lambda d: (1 + d).ln()) < 0.8


def test_powers_of_half_are_within_one_unit_in_the_last_place() -> None:
    rng = np.random.default_rng(4)
    parts = rng.uniform(0, 1000, 400), rng.uniform(0, 2, 400), 10 ** rng.uniform(-9, 0, 99)
    x = np.concatenate(parts)
    assert worst_error(halved(x), x, lambda d: Decimal("0.5") ** d) < 0.9
    np.testing.assert_array_equal(halved(range(1074)), [math.ldexp(1, -k) for k in range(1074)])
    np.testing.assert_array_equal(halved([1076, 1e300]), [0, 0])
    falling = halved(np.linspace(0, 4, 5_001))
    assert (np.diff(falling) <= 0).all()


@pytest.mark.parametrize(
    ("function", "x", "expected"),
    [
        (exp, 0.0, 1.0),
        (exp, 710.0, math.inf),
        (exp, -746.0, 0.0),
        (exp, math.inf, math.inf),
        (exp, -math.inf, 0.0),
        (exp, math.nan, math.nan),
        (log, 1.0, 0.0),
        (log, 0.0, math.nan),
        (log, -1.0, math.nan),
        (log, math.inf, math.inf),
        (log, math.nan, math.nan),
        (log1p, 0.0, 0.0),
        (log1p, -1.0, math.nan),
        (log1p, -1.5, math.nan),
        (log1p, math.inf, math.inf),
    ],
)
def test_edges(function: Function, x: float, expected: float) -> None:
    np.testing.assert_equal(function(np.array([x]))[0], expected)


@pytest.mark.parametrize("function", [exp, log, log1p])
def test_a_row_has_the_same_bits_at_every_alignment_and_length(function: Function) -> None:
    rng = np.random.default_rng(4)
    x = rng.lognormal(0, 2, 200)
    whole = function(x).view(np.int64)
    for start in range(9):
        for length in range(1, 40):
            part = function(x[start : start + length]).view(np.int64)
            np.testing.assert_array_equal(part, whole[start : start + length])
    np.testing.assert_array_equal(function(x[::3].copy()).view(np.int64), whole[::3])
    np.testing.assert_array_equal(function(x[::3]).view(np.int64), whole[::3])


def test_bits_are_those_of_every_other_machine() -> None:
    """Recorded once; numpy's own functions give other bits on other processors."""
    x = np.array([0.1, 2.5, 3.141592653589793, 12.34, 100.01, 7.7e-5])
    assert [float(v).hex() for v in exp(x)] == EXP
    assert [float(v).hex() for v in log(x)] == LOG
    assert [float(v).hex() for v in log1p(x)] == LOG1P


EXP = [
    "0x1.1aec7b35a00d4p+0",
    "0x1.85d6fd931e0bbp+3",
    "0x1.724046eb09339p+4",
    "0x1.be9af9dcff5f0p+17",
    "0x1.37ae97afb3080p+144",
    "0x1.00050be536ecbp+0",
]
LOG = [
    "-0x1.26bb1bbb55515p+1",
    "0x1.d5240f0e0e078p-1",
    "0x1.250d048e7a1bdp+0",
    "0x1.41a4f0369f2d2p+1",
    "0x1.26bcbf2425b6ep+2",
    "-0x1.2f18355e9e682p+3",
]
LOG1P = [
    "0x1.8663f793c46c7p-4",
    "0x1.40b512eb53d60p+0",
    "0x1.6bcbed09f00afp+0",
    "0x1.4b9e411f39660p+1",
    "0x1.275fc1b38ac4ap+2",
    "0x1.42f2f0003ef65p-14",
]
