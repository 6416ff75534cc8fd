"""The way in which a model was trained before."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from models.bundle import read_manifest
from models.training.search import Params
from schemas.errors import ConfigurationError

# Of the machine or of the features: not taken over.
_NOT_TAKEN = {"rounds", "device", "monotone_constraints"}


class Like(NamedTuple):
    """Parameters and rounds of a model, and the value that it takes as missing (NaN: none)."""

    chosen: tuple[Params, int]
    missing: float


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
    return Like((params, rounds), manifest.missing_value)
