"""Verify a bundle in a child process before it is used."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from models.bundle.load import columns_in
from models.bundle.manifest import FeatureRef, NamedFeature
from models.sandbox.process import DEFAULT_LIMITS, Limits, run_child, unreadable_answer


class Verified(BaseModel):
    """Result of a verification.

    Attributes:
        name: The model's name.
        version: The model's version.
        features: Features in the order of the model's columns.
        sums: SHA-256 of its SHA256SUMS, for `load_bundle`.
        device: Device on which it was verified.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    version: str
    features: tuple[FeatureRef, ...]
    sums: str
    device: str


class SavedModel(BaseModel):
    """Facts about a model file that was saved again.

    Attributes:
        categories: Categories that the file named, by column; the saved file names none.
        was_dart: True if its trees had weights, which are in the leaves of the saved file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    categories: dict[int, tuple[str | int, ...]]
    was_dart: bool


def verify(
    path: Path,
    *,
    expected: Sequence[NamedFeature] | None = None,
    device: str = "cpu",
    limits: Limits = DEFAULT_LIMITS,
) -> Verified:
    """Load a bundle and score its golden vectors in a child process.

    Args:
        path: The bundle's folder.
        expected: Features of the matrix that the bundle will score, in matrix order; None for any.
        device: `cpu`; `cuda` to verify on the GPU as well; `auto` to do so if there is one.
        limits: Limits of the child process.

    Raises:
        BundleRefusedError: with the reason: an error of `load_bundle`, other features, an exceeded
            limit, or a crash of the child.
    """
    result = run_child("verify", path, device, limits)
    try:
        verified = Verified.model_validate_json(json.dumps(result))
    except ValidationError as error:
        raise unreadable_answer(path, error) from error
    if expected is not None:
        columns_in(verified.features, expected, path, f"{verified.name} {verified.version}")
    return verified


def save_again(model: Path, saved: Path, limits: Limits = DEFAULT_LIMITS) -> SavedModel:
    """Load, validate and save a model file in a child process.

    Args:
        model: The model file.
        saved: The file to write.
        limits: Limits of the child process.

    Raises:
        BundleRefusedError: with the reason why the model cannot be packed.
    """
    result = run_child("save", model, str(saved), limits)
    try:
        return SavedModel.model_validate_json(json.dumps(result))
    except ValidationError as error:
        raise unreadable_answer(model, error) from error
