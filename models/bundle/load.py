"""Load a bundle: check its checksums, then its manifest, then the model against both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from base.errors import BundleRefusedError
from models.bundle.categories import describe_difference
from models.bundle.formats import FORMATS, Model
from models.bundle.golden import Golden, check_margins, read_golden
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
from models.bundle.sums import read_verified

MAX_MANIFEST_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A loaded model with the contents of its manifest; its files were checked.

    Attributes:
        path: Folder of the bundle.
        name: Name of the model.
        version: Version of the model.
        features: Features in the order of the model's columns.
        objective: Objective of XGBoost; None for a model of another format.
        trees: Number of trees of XGBoost; None for a model of another format.
        fraud_class: Class whose log-odds are the margin; None for a model with one output.
        calibration: Calibration curve; None if the score is the logistic of the margin.
        golden: Golden vectors with their margins.
        trained: Origin of the model; None if it is not recorded.
        missing: Feature value that means missing, besides NaN; NaN if there is none.
        created_at: Time when the bundle was written.
        sums: SHA-256 of its SHA256SUMS.
        model: The model. `models.backend.open_backend` puts it on a device.
    """

    path: Path
    name: str
    version: str
    features: tuple[FeatureRef, ...]
    objective: str | None
    trees: int | None
    fraud_class: int | None
    calibration: Knots | None
    golden: Golden
    trained: TrainingRecord | None
    missing: float
    created_at: datetime
    sums: str
    model: Model

    def columns_for(self, feature_set: NamedFeatures) -> npt.NDArray[np.intp] | None:
        """Find the model's columns in the matrix of a feature set, which may have more features.

        Returns:
            intp[F], a column of the matrix for each column of the model. None if the matrix has the
            same features in the same order, so that no copy is needed.

        Raises:
            BundleRefusedError: naming every feature that the set lacks or defines differently.
        """
        return columns_in(
            self.features, feature_set.features, self.path, f"{self.name} {self.version}"
        )


def columns_in(
    wanted: Sequence[FeatureRef], given: Sequence[NamedFeature], path: Path, model: str
) -> npt.NDArray[np.intp] | None:
    """Find the columns of a model in a matrix, as `Bundle.columns_for` does.

    Args:
        wanted: Features of the model, in its order.
        given: Features of the matrix, in its order.
        path: The bundle's folder, for messages.
        model: The model's name and version, for messages.

    Returns:
        intp[F], a column of the matrix for each column of the model; None if the matrix has the
        same features in the same order.

    Raises:
        BundleRefusedError: naming every feature that the matrix lacks or defines differently.
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
    for feature in wanted:
        theirs = given[at[feature.name]].categories
        difference = feature.categories and describe_difference(feature.categories, theirs)
        if difference:
            raise BundleRefusedError(
                f"{path}: the categories of {feature.name} in the model {model} differ from those "
                f"of the feature set: {difference}; restore them in features.yaml, or train the "
                "model again"
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
    """Load a bundle.

    Args:
        path: The bundle's folder.
        proven: The `sums` of this bundle, as `verify` returned them. Then the model's content and
            its golden margins are not checked again, because a child process has checked them.

    Raises:
        BundleRefusedError: naming the file, the fault and the remedy. Faults are: files are
            missing, too many, too large, links, or changed; the manifest is not as this version
            writes it; the model is not the one in the manifest.
    """
    files, sums = read_verified(path)
    if proven not in (None, sums):
        raise BundleRefusedError(
            f"{path}: was replaced by another bundle after its verification; bundles never change: "
            "put each bundle into a new folder"
        )
    manifest = manifest_of(files, path)
    where, content = _model_file(files, manifest, path)
    kind = FORMATS[manifest.format]
    if proven is None:
        kind.check(content, manifest, where)
    golden = read_golden(files, manifest, str(path))
    model = kind.load(content, manifest, where)
    if proven is None:
        check_margins(model.margins(golden.vectors), golden, where, kind.TOLERANCE)
    return Bundle(
        path=path,
        name=manifest.name,
        version=manifest.version,
        features=manifest.features,
        objective=manifest.objective,
        trees=manifest.trees,
        fraud_class=manifest.fraud_class,
        calibration=manifest.calibration,
        golden=golden,
        trained=manifest.trained,
        missing=manifest.missing_value,
        created_at=manifest.created_at,
        sums=sums,
        model=model,
    )


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of a bundle; the checksum of the model is checked, but it is not loaded.

    Args:
        path: The bundle's folder.

    Raises:
        BundleRefusedError: as for `load_bundle`.
    """
    files, _ = read_verified(path)
    return manifest_of(files, path)


def manifest_of(files: Mapping[str, bytes], path: Path) -> Manifest:
    """Parse the manifest of a bundle.

    Args:
        files: Contents of the bundle's files, by name.
        path: The bundle's folder, for messages.

    Raises:
        BundleRefusedError: if there is no valid manifest.
    """
    if MANIFEST_FILE not in files:
        raise BundleRefusedError(f"{path}: has no {MANIFEST_FILE}; write the bundle again")
    text = files[MANIFEST_FILE]
    if len(text) > MAX_MANIFEST_BYTES:
        raise BundleRefusedError(
            f"{path / MANIFEST_FILE}: has {len(text):,} bytes; at most {MAX_MANIFEST_BYTES:,} are "
            "allowed: write the bundle again"
        )
    return parse_manifest(text, str(path / MANIFEST_FILE))


def _model_file(files: Mapping[str, bytes], manifest: Manifest, path: Path) -> tuple[str, bytes]:
    """Path of the model file, for messages, and its bytes."""
    accepted = FORMATS[manifest.format].FILES
    models = [name for kind in FORMATS.values() for name in kind.FILES if name in files]
    if len(models) != 1 or models[0] not in accepted:
        raise BundleRefusedError(
            f"{path}: the manifest says format: {manifest.format}, for which the model is "
            f"{' or '.join(accepted)} (never a pickle); found {' and '.join(models) or 'none'}: "
            "write the bundle again"
        )
    return str(path / models[0]), files[models[0]]
