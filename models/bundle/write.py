"""Write a bundle, completely or not at all."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import xgboost as xgb
from pydantic import ValidationError

from base.errors import BundleRefusedError
from models.bundle.draw import draw_vectors
from models.bundle.facts import check_accepted, check_agree, open_model
from models.bundle.golden import Golden, check_vectors, score
from models.bundle.manifest import (
    MANIFEST_FILE,
    FeatureRef,
    Knots,
    Manifest,
    NamedFeature,
    TrainingRecord,
    told,
)
from models.bundle.model_file import ModelDocument, ModelFacts
from models.bundle.sums import SUMS_FILE, check_size, format_sums
from models.bundle.trees import check_trees

REPORT_FILE = "report.html"


class Curve(Protocol):
    """A calibration: scores at margins, both strictly rising."""

    @property
    def margins(self) -> Sequence[float] | npt.NDArray[Any]: ...

    @property
    def scores(self) -> Sequence[float] | npt.NDArray[Any]: ...


def write_bundle(  # noqa: PLR0913  a bundle has as many parts
    folder: Path,
    booster: xgb.Booster,
    *,
    name: str,
    version: str,
    features: Sequence[NamedFeature],
    calibration: Curve | None = None,
    golden: npt.NDArray[np.float32] | None = None,
    missing: float = math.nan,
    trained: TrainingRecord | None = None,
    report: str | None = None,
    created_at: datetime | None = None,
) -> Path:
    """Write `booster` as the bundle `folder`, which must not exist yet; returns `folder`.

    The folder appears completely or not at all: it is filled under a temporary name beside its
    place, synced, and renamed.

    Args:
        folder: Folder of the bundle.
        booster: The model.
        name: Name in the manifest.
        version: Version in the manifest.
        features: Features in the order of the training matrix's columns.
        calibration: Curve from margin to score; None for the logistic.
        golden: Vectors float32[G, F] whose margins the bundle keeps as proof; by default some along
            the model's own thresholds.
        missing: Value that the model was trained to take as missing, as XGBoost's `missing`.
        trained: Origin of the model, for the manifest.
        report: An HTML page.
        created_at: Time of creation; now by default.

    Raises:
        BundleRefusedError: where the folder exists, where model and features do not belong
            together, and where the bundle would be larger than allowed.
    """
    if folder.exists() or folder.is_symlink():
        raise BundleRefusedError(
            f"{folder}: exists already; bundles never change: write to another folder"
        )
    where = str(folder)
    content, facts, proof = _model(booster, features, golden, missing, where)
    try:
        manifest = Manifest(
            name=name,
            version=version,
            features=tuple(FeatureRef(name=f.name, fingerprint=f.fingerprint) for f in features),
            missing="NaN" if math.isnan(missing) else missing,
            objective=facts.objective,
            trees=facts.trees,
            calibration=None if calibration is None else _knots(calibration),
            golden=len(proof.vectors),
            trained=trained,
            created_at=created_at or datetime.now(UTC),
        )
    except ValidationError as error:
        raise BundleRefusedError(f"{folder}: {told(error)}") from error
    check_agree(facts, manifest, where)
    files = {"model.ubj": content, MANIFEST_FILE: manifest.as_bytes(), **proof.files()}
    if report is not None:
        files[REPORT_FILE] = report.encode()
    files[SUMS_FILE] = format_sums(files)
    check_size({file: len(held) for file, held in files.items()}, folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _write_folder(folder, files)
    return folder


def _model(
    booster: xgb.Booster,
    features: Sequence[NamedFeature],
    golden: npt.NDArray[np.float32] | None,
    missing: float,
    where: str,
) -> tuple[bytes, ModelFacts, Golden]:
    """Bytes of model.ubj with the feature names, facts of the model, and its golden vectors."""
    own = ModelDocument(bytes(booster.save_raw("ubj")), where).facts
    check_accepted(own, where)
    names = tuple(feature.name for feature in features)
    if own.columns != len(names):
        raise BundleRefusedError(
            f"{where}: the model has {own.columns} columns, and {len(names)} features were given"
        )
    if own.names not in (None, names):
        raise BundleRefusedError(
            f"{where}: the model was trained with other feature names, or in another order, than "
            "those given; give the features in training order"
        )
    named = booster.copy()
    try:
        named.feature_names = list(names)
    except ValueError as error:
        raise BundleRefusedError(f"{where}: {error}; rename the feature") from error
    content = bytes(named.save_raw("ubj"))
    document = ModelDocument(content, where)
    trees = document.trees()
    check_trees(trees, own.columns, where)
    kept = open_model(content, where)
    vectors = golden
    if vectors is None:
        vectors = draw_vectors(kept, trees, own.columns, missing=missing)
    check_vectors(vectors, own.columns, where)
    vectors = np.ascontiguousarray(vectors)
    margins = score(kept, vectors, missing)
    if not np.isfinite(margins).all():
        raise BundleRefusedError(f"{where}: the model gives margins that are not finite")
    return content, document.facts, Golden(vectors, margins)


def _knots(curve: Curve) -> Knots:
    return Knots(margins=tuple(map(float, curve.margins)), scores=tuple(map(float, curve.scores)))


def _write_folder(folder: Path, files: dict[str, bytes]) -> None:
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for name, content in files.items():
            with (beside / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        beside.chmod(0o755)  # mkdtemp's 0700 would lock out a worker that runs as another user
        sync_folder(beside)
        beside.rename(folder)
        sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make renames within a folder survive a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
