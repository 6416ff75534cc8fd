"""The way in which a model was trained before."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from base.errors import ConfigurationError
from models.bundle import read_manifest
from models.training.folds import Span
from models.training.recipes import Params

# Of the machine, of the features or of the rows: not taken over.
_NOT_TAKEN = {
    *("rounds", "device", "monotone_constraints"),
    *("days", "half_life", "legitimate_share", "fraud_share"),
}
# Of bundles that do not tell: there was no choice before.
_DAYS = 7


class Like(NamedTuple):
    """Parameters and rounds of a model, the value that it takes as missing (NaN: none), its days."""

    chosen: tuple[Params, int]
    missing: float
    span: Span


def parameters_of(bundle: Path) -> Like:
    """Read how a bundle was trained. Raises ConfigurationError where it does not tell."""
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
