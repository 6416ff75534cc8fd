"""Load a bundle: check its sums first, then its manifest, then its model against both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xgboost as xgb

from base.errors import BundleRefusedError
from models.bundle.facts import check_accepted, check_agree, open_model
from models.bundle.golden import Golden, check_margins, read_golden, score
from models.bundle.manifest import (
    MANIFEST_FILE,
    FeatureRef,
    Knots,
    Manifest,
    NamedFeature,
    NamedFeatures,
    TrainingRecord,
    parse_manifest,
)
from models.bundle.model_file import ModelDocument
from models.bundle.sums import read_verified
from models.bundle.trees import check_trees

MODEL_FILES = ("model.ubj", "model.json")
MAX_MANIFEST_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A model whose files were checked, with the facts of its manifest."""

    path: Path
    name: str
    version: str
    features: tuple[FeatureRef, ...]
    """In the order of the model's columns."""
    objective: str
    trees: int
    calibration: Knots | None
    """None: the score is the logistic of the margin."""
    golden: Golden
    trained: TrainingRecord | None
    missing: float
    """A feature of this value is missing, as one that is NaN; NaN where there is no such value."""
    created_at: datetime
    sums: str
    """SHA-256 of its SHA256SUMS."""
    booster: xgb.Booster
    """As loaded, for one thread; a backend works on a copy of its own."""

    def columns_for(self, feature_set: NamedFeatures) -> npt.NDArray[np.intp] | None:
        """Places of the model's columns in the matrix of `feature_set`.

        The set may be wider than the model.

        Returns:
            intp[F] in the model's order, or None where the matrix is the model's input as it is
            (same features, same order: no copy needed).

        Raises:
            BundleRefusedError: naming every feature that the set lacks or defines otherwise.
        """
        return columns_in(
            self.features, feature_set.features, self.path, f"{self.name} {self.version}"
        )


def columns_in(
    wanted: Sequence[FeatureRef], given: Sequence[NamedFeature], path: Path, model: str
) -> npt.NDArray[np.intp] | None:
    """Places of a model's columns in a matrix of given features, as for `Bundle.columns_for`.

    Args:
        wanted: Features of the model, in its order.
        given: Features of the matrix, in its order.
        path: The bundle's folder, for messages.
        model: The model's name and version, for messages.

    Returns:
        intp[F] in the model's order, or None where the matrix is the model's input as it is.

    Raises:
        BundleRefusedError: naming every feature that is not given or is defined otherwise.
    """
    at = {feature.name: i for i, feature in enumerate(given)}
    absent = [feature.name for feature in wanted if feature.name not in at]
    if absent:
        raise BundleRefusedError(
            f"{path}: the feature set does not define {', '.join(absent)}, which the model "
            f"{model} needs; add them to features.yaml, or use a model trained on this feature set"
        )
    unknown = [feature.name for feature in wanted if not feature.fingerprint]
    if unknown:
        raise BundleRefusedError(
            f"{path}: the model {model} was packed without the definitions of "
            f"{', '.join(unknown)}; pack it again with --features-from FEATURES.yaml"
        )
    changed = [
        feature.name
        for feature in wanted
        if given[at[feature.name]].fingerprint != feature.fingerprint
    ]
    if changed:
        raise BundleRefusedError(
            f"{path}: the model {model} was trained on other definitions of "
            f"{', '.join(changed)}; restore the definitions (and bindings) in features.yaml, or "
            "train the model again"
        )
    columns = np.array([at[feature.name] for feature in wanted], dtype=np.intp)
    if np.array_equal(columns, np.arange(len(given))):
        return None
    return columns


def load_bundle(path: Path, *, proven: str | None = None) -> Bundle:
    """Load the bundle in folder `path`.

    Args:
        path: The bundle's folder.
        proven: The `sums` of this bundle as `verify` returned them. The model's content and its
            golden margins are not checked again then: a child process has checked them.

    Raises:
        BundleRefusedError: naming the file, what was found and what to do, where files are missing,
            too many, too large, linked or changed, where the manifest is not exactly as this
            version writes it, and where the model is not what the manifest says.
    """
    files, sums = read_verified(path)
    if proven not in (None, sums):
        raise BundleRefusedError(
            f"{path}: is another bundle than the one that was verified a moment ago; bundles "
            "never change: put each into a folder of its own"
        )
    manifest = manifest_of(files, path)
    where, content = _model(files, path)
    if proven is None:
        document = ModelDocument(content, where)
        check_accepted(document.facts, where)
        check_agree(document.facts, manifest, where)
        check_trees(document.trees(), document.facts.columns, where)
    golden = read_golden(files, manifest, str(path))
    booster = open_model(content, where)
    # a backend goes by position; what the names could prove has been proven
    booster.feature_names = None
    if proven is None:
        margins = score(booster, golden.vectors, manifest.missing_value)
        check_margins(margins, golden, where)
    return Bundle(
        path=path,
        name=manifest.name,
        version=manifest.version,
        features=manifest.features,
        objective=manifest.objective,
        trees=manifest.trees,
        calibration=manifest.calibration,
        golden=golden,
        trained=manifest.trained,
        missing=manifest.missing_value,
        created_at=manifest.created_at,
        sums=sums,
        booster=booster,
    )


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of the bundle in folder `path`; its model is checksummed, but not loaded.

    Raises BundleRefusedError as `load_bundle` does.
    """
    files, _ = read_verified(path)
    return manifest_of(files, path)


def manifest_of(files: Mapping[str, bytes], path: Path) -> Manifest:
    """The manifest among the files of a bundle. Raises BundleRefusedError."""
    if MANIFEST_FILE not in files:
        raise BundleRefusedError(f"{path}: has no {MANIFEST_FILE}; write the bundle again")
    text = files[MANIFEST_FILE]
    if len(text) > MAX_MANIFEST_BYTES:
        raise BundleRefusedError(
            f"{path / MANIFEST_FILE}: is larger than the {MAX_MANIFEST_BYTES} bytes allowed here"
        )
    return parse_manifest(text, str(path / MANIFEST_FILE))


def _model(files: Mapping[str, bytes], path: Path) -> tuple[str, bytes]:
    """Path of the model file, for messages, and its bytes."""
    models = [name for name in MODEL_FILES if name in files]
    if len(models) != 1:
        raise BundleRefusedError(
            f"{path}: expected one of {' and '.join(MODEL_FILES)} (XGBoost's own formats, never a "
            f"pickle), found {' and '.join(models) or 'none'}"
        )
    return str(path / models[0]), files[models[0]]
