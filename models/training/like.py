"""The parameters of a model that was trained before."""

from __future__ import annotations

from pathlib import Path

from models.bundle import read_manifest
from models.training.search import Params
from schemas.errors import ConfigurationError

# Of the machine or of the features: not taken over.
_NOT_TAKEN = {"rounds", "device", "monotone_constraints"}


def parameters_of(bundle: Path) -> tuple[Params, int]:
    """Parameters and rounds of a bundle. Raises ConfigurationError where it does not tell them."""
    trained = read_manifest(bundle).trained
    rounds = None if trained is None else trained.params.get("rounds")
    if trained is None or not isinstance(rounds, int):
        raise ConfigurationError(
            f"--like: {bundle} does not tell how it was trained; give one that fraud-worker train "
            "has written"
        )
    return {k: v for k, v in trained.params.items() if k not in _NOT_TAKEN}, rounds
