"""Verify a bundle in a child process before it is used."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from models.bundle.load import columns_in
from models.bundle.manifest import FeatureRef, NamedFeature
from models.sandbox.process import DEFAULT_LIMITS, Limits, ask, garbage


class Verified(BaseModel):
    """Facts of a bundle that passed verification.

    Attributes:
        name: The model's name.
        version: The model's version.
        features: Features in the order of the model's columns.
        sums: The SHA-256 of its SHA256SUMS, for `load_bundle`.
        device: Device on which it was verified.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    version: str
    features: tuple[FeatureRef, ...]
    sums: str
    device: str


def verify(
    path: Path,
    *,
    expected: Sequence[NamedFeature] | None = None,
    device: str = "cpu",
    limits: Limits = DEFAULT_LIMITS,
) -> Verified:
    """Have a child process load the bundle at `path` and score its golden vectors.

    Args:
        path: The bundle's folder.
        expected: Features that the bundle is to serve, in matrix order; None for any.
        device: `cpu`; `cuda` verifies on the GPU as well; `auto` does so where there is one.
        limits: Limits of the child process.

    Raises:
        BundleRefusedError: with the reason: an error of `load_bundle`, other features, an exceeded
            limit, or a crash of the child.
    """
    said = ask("verify", path, device, limits)
    try:
        verified = Verified.model_validate_json(json.dumps(said))
    except ValidationError as error:
        raise garbage(path, error) from error
    if expected is not None:
        columns_in(verified.features, expected, path, f"{verified.name} {verified.version}")
    return verified


def save_anew(model: Path, saved: Path, limits: Limits = DEFAULT_LIMITS) -> None:
    """Have a child process load a model file, validate it, and save it as the file `saved`.

    Raises BundleRefusedError with the reason why no bundle can be made of it.
    """
    ask("save", model, str(saved), limits)
