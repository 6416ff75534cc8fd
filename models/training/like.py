"""Parameters of an earlier training, read from the bundle of its model."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from base.errors import ConfigurationError
from models.bundle import read_manifest
from models.training.folds import Span
from models.training.recipes import Params

# Parameters of the machine, the features or the rows, which a new training does not take over.
_NOT_TAKEN = {
    *("rounds", "device", "monotone_constraints"),
    *("days", "half_life", "legitimate_share", "fraud_share"),
}
# Days of bundles that do not record them: earlier versions had no choice of days.
_DAYS = 7


class Like(NamedTuple):
    """Parameters, missing value and span of an earlier training.

    Attributes:
        chosen: Parameters and number of rounds.
        missing: Value that the model takes as missing; NaN where there is none.
        span: Days that the model learned from.
    """

    chosen: tuple[Params, int]
    missing: float
    span: Span


def parameters_of(bundle: Path) -> Like:
    """Read the parameters that a bundle's model was trained with.

    Raises ConfigurationError where the bundle does not record them.
    """
    manifest = read_manifest(bundle)
    trained = manifest.trained
    rounds = None if trained is None else trained.params.get("rounds")
    if trained is None or not isinstance(rounds, int):
        raise ConfigurationError(
            f"--like: {bundle} does not tell how it was trained; give one that fraud-worker train "
            "has written"
        )
    params = {k: v for k, v in trained.params.items() if k not in _NOT_TAKEN}
    days, half_life = trained.params.get("days", _DAYS), trained.params.get("half_life")
    span = Span(
        days if isinstance(days, int | float) else None,
        half_life if isinstance(half_life, int | float) else None,
    )
    return Like((params, rounds), manifest.missing_value, span)
