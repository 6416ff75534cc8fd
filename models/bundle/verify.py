"""A bundle proves itself in a process of its own before it is used."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from models.bundle.load import columns_in
from models.bundle.manifest import FeatureRef, NamedFeature
from models.sandbox.process import DEFAULT_LIMITS, Limits, ask, garbage


class Verified(BaseModel):
    """What a bundle has proven. sums: the SHA-256 of its SHA256SUMS, for `load_bundle`."""

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

    expected: the features, in matrix order, that it is to serve; None: any.
    device: `cpu`; `cuda`: there as well; `auto`: there as well where there is a GPU.

    Raises BundleRefusedError with the reason: that of `load_bundle`, other features, a limit, or
    how the child ended.
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
    """Have a child process load a model file, look through it, and save it as the file `saved`.

    Raises BundleRefusedError with the reason why no bundle can be made of it.
    """
    ask("save", model, str(saved), limits)
