"""Parameter spaces of the search: one for few frauds, one for many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

Params = Mapping[str, Any]

MANY_FRAUDS: Final = 2_000
"""Smallest number of frauds in the training rows for deep trees."""


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """Parameters of tree growth, fixed and searched.

    Attributes:
        fixed: Parameters that all trials share.
        start: Parameters of the first trial.
        space: Values that the other trials draw from, by parameter.
        assess_at: Numbers of rounds times the learning rate. A trial is assessed at each of them,
            and ends at the last.
    """

    fixed: Params
    start: Params
    space: Mapping[str, tuple[Any, ...]]
    assess_at: tuple[float, ...]


# With few frauds, wide bins hide the thresholds that separate frauds from other events, so there are
# many bins. A single tree overfits, so each round grows several. Deeper trees found fewer
# compromised cards on the Handbook's weeks before August, at the same average precision
# (docs/explanation/decisions/0013-training.md).
SHALLOW: Final = Recipe(
    fixed={"max_bin": 4096, "num_parallel_tree": 8},
    start={
        "max_depth": 3,
        "learning_rate": 0.2,
        "min_child_weight": 1.0,
        "subsample": 0.5,
        "colsample_bynode": 0.7,
        "reg_lambda": 1.0,
        "scale_pos_weight": 1.0,
    },
    space={
        "max_depth": (3, 4),
        "learning_rate": (0.2, 0.3),
        "min_child_weight": (1.0, 3.0, 10.0),
        "subsample": (0.5, 0.7),
        "colsample_bynode": (0.5, 0.7, 0.85),
        "reg_lambda": (0.3, 1.0, 5.0),
        "scale_pos_weight": (1.0, 3.0),
    },
    assess_at=(5.0, 7.5, 10.0, 12.5),
)
# With thousands of frauds, overfitting matters less and there is more to learn: one deep tree in
# each round, and more rounds.
DEEP: Final = Recipe(
    fixed={"max_bin": 1024, "num_parallel_tree": 1},
    start={
        "max_depth": 7,
        "learning_rate": 0.15,
        "min_child_weight": 1.0,
        "subsample": 0.7,
        "colsample_bynode": 0.7,
        "reg_lambda": 1.0,
        "scale_pos_weight": 1.0,
    },
    space={
        "max_depth": (5, 6, 7, 8),
        "learning_rate": (0.15, 0.2, 0.3),
        "min_child_weight": (1.0, 3.0, 10.0),
        "subsample": (0.5, 0.7, 0.85),
        "colsample_bynode": (0.5, 0.7, 0.85),
        "reg_lambda": (0.3, 1.0, 5.0),
        "scale_pos_weight": (1.0, 3.0),
    },
    assess_at=(7.5, 12.5, 20.0, 30.0),
)


def candidates(recipe: Recipe, count: int, seed: int) -> list[Params]:
    """Draw distinct parameter sets from the recipe's space; the first is the recipe's start.

    Equal seeds give equal parameter sets.
    """
    random = np.random.default_rng(seed)
    parameter_sets: list[Params] = [recipe.start]
    size = int(np.prod([len(values) for values in recipe.space.values()]))
    while len(parameter_sets) < min(count, size):
        drawn = {
            name: values[random.integers(len(values))] for name, values in recipe.space.items()
        }
        if drawn not in parameter_sets:
            parameter_sets.append(drawn)
    return parameter_sets
