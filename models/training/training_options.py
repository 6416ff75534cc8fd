"""Options of a training, given by the user or read from the bundle of an earlier training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from base.errors import ConfigurationError
from models.bundle import read_manifest
from models.training.fit import Device
from models.training.folds import Span
from models.training.recipes import Params
from models.training.sample import FIT_ROWS, SEARCH_ROWS

# Parameters that depend on the machine, the features or the rows. A new training has its own.
_NOT_REUSED = {
    *("rounds", "device", "monotone_constraints"),
    *("days", "half_life", "legitimate_share", "fraud_share"),
}
# Training days of a bundle that does not record them. Earlier versions always used this number.
_DEFAULT_DAYS = 7


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """Options of a training.

    Attributes:
        seed: Random seed of the samples, the search and the models.
        tries: Number of parameter sets that the search tries.
        forest: Trees grown in parallel in each round, each on its own sample; None for the
            recipe's number.
        params: Parameters that all trials share.
        params_and_rounds: The model's parameters and number of rounds, used without a search and
            with the first span; None to search.
        missing: Feature value that means missing, besides NaN.
        monotone: +1 or -1 by feature.
        by_category: True to split `category` features by sets of their values; False to split
            them by thresholds on their codes.
        device: Device on which trees are grown.
        threads: Threads of the last fit; in the search, the number of parallel fits.
        search_rows: Largest number of rows of each fold that the search uses.
        fit_rows: Largest number of rows that the model and the models of the folds are fitted on.
    """

    seed: int = 0
    tries: int = 16
    forest: int | None = None
    params: Params = field(default_factory=dict)
    params_and_rounds: tuple[Params, int] | None = None
    missing: float = math.nan
    monotone: Mapping[str, int] = field(default_factory=dict)
    by_category: bool = False
    device: Device = "cpu"
    threads: int = 1
    search_rows: int = SEARCH_ROWS
    fit_rows: int = FIT_ROWS

    @property
    def workers(self) -> int:
        """Number of parallel fits."""
        return 1 if self.device == "cuda" else self.threads


class EarlierTraining(NamedTuple):
    """Parameters, missing value and span of an earlier training.

    Attributes:
        params_and_rounds: Parameters and number of rounds.
        missing: Value that the model treats as missing; NaN where there is none.
        span: Days that the model was trained on.
        by_category: True if the model splits by categories.
    """

    params_and_rounds: tuple[Params, int]
    missing: float
    span: Span
    by_category: bool


def read_earlier_training(bundle: Path) -> EarlierTraining:
    """Read the parameters that a bundle's model was trained with.

    Raises:
        ConfigurationError: if the bundle does not record them.
    """
    manifest = read_manifest(bundle)
    trained = manifest.trained
    rounds = None if trained is None else trained.params.get("rounds")
    if trained is None or not isinstance(rounds, int):
        raise ConfigurationError(
            f"--like: {bundle} does not record how it was trained; give a bundle that fraud-worker "
            "train has written"
        )
    params = {name: value for name, value in trained.params.items() if name not in _NOT_REUSED}
    days, half_life = trained.params.get("days", _DEFAULT_DAYS), trained.params.get("half_life")
    span = Span(
        days if isinstance(days, int | float) else None,
        half_life if isinstance(half_life, int | float) else None,
    )
    by_category = any(feature.categories is not None for feature in manifest.features)
    return EarlierTraining((params, rounds), manifest.missing_value, span, by_category)
