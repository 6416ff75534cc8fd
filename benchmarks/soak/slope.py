"""Slope of a series, with its standard error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BLOCKS = 20
"""Number of means that the line is fitted to."""


@dataclass(frozen=True, slots=True)
class Slope:
    """Slope of a straight line through a series.

    Attributes:
        slope: Units of the values for a unit of time.
        standard_error: Standard error of the slope.
    """

    slope: float
    standard_error: float


def block_means(values: Sequence[float]) -> list[float]:
    """Means of BLOCKS consecutive parts of a series.

    Raises:
        ValueError: The series is shorter.
    """
    if len(values) < BLOCKS:
        raise ValueError(f"{len(values)} values are too few for {BLOCKS} blocks")
    return [float(part.mean()) for part in np.array_split(np.asarray(values, float), BLOCKS)]


def slope_of(times: Sequence[float], values: Sequence[float]) -> Slope:
    """Fit a line by least squares.

    It is fitted to means of blocks: values that follow closely on each other are not independent,
    and would make the standard error too small.
    """
    x, y = np.array(block_means(times)), np.array(block_means(values))
    x -= x.mean()
    slope = float(x @ y / (x @ x))
    rest = y - y.mean() - slope * x
    variance = float(rest @ rest) / (BLOCKS - 2)
    return Slope(slope, float(np.sqrt(variance / (x @ x))))
