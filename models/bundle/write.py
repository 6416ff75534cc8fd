"""Write a bundle, completely or not at all."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import xgboost as xgb
from pydantic import ValidationError

from base.errors import BundleRefusedError
from base.output_file import sync_folder
from models.bundle.categories import check_categories, only_used, references
from models.bundle.draw_golden import draw_vectors
from models.bundle.golden import Golden, check_vectors, score
from models.bundle.manifest import (
    MANIFEST_FILE,
    Knots,
    Manifest,
    NamedFeature,
    TrainingRecord,
    describe_errors,
)
from models.bundle.model_checks import (
    check_accepted,
    check_agree,
    check_fraud_class,
    open_model,
)
from models.bundle.model_file import ModelDocument
from models.bundle.simplify import simplify
from models.bundle.sums import SUMS_FILE, check_size, format_sums
from models.bundle.trees import Trees, check_trees

REPORT_FILE = "report.html"


class Curve(Protocol):
    """A calibration curve: scores at margins, both strictly rising."""

    @property
    def margins(self) -> Sequence[float] | npt.NDArray[Any]: ...

    @property
    def scores(self) -> Sequence[float] | npt.NDArray[Any]: ...


def write_bundle(  # noqa: PLR0913  parts of a bundle
    folder: Path,
    booster: xgb.Booster,
    *,
    name: str,
    version: str,
    features: Sequence[NamedFeature],
    calibration: Curve | None = None,
    golden: npt.NDArray[np.float32] | None = None,
    missing: float = math.nan,
    fraud_class: int | None = None,
    trained: TrainingRecord | None = None,
    report: str | None = None,
    created_at: datetime | None = None,
) -> Path:
    """Write a model as a bundle.

    Weights of a DART model's trees are multiplied into their leaves, and the manifest keeps the
    categories by which the model splits.

    The folder appears completely or not at all: it is written under a temporary name in the same
    directory, synced, and renamed.

    Args:
        folder: Folder of the bundle, which must not exist yet.
        booster: The model.
        name: Name in the manifest.
        version: Version in the manifest.
        features: Features in the order of the training matrix's columns.
        calibration: Curve from margin to score; None for the logistic.
        golden: float32[G, F], golden vectors, whose margins the bundle records; by default vectors
            drawn along the model's thresholds.
        missing: Feature value that meant missing in training, as XGBoost's `missing`.
        fraud_class: Class that is fraud; None for a model with one output.
        trained: Origin of the model, for the manifest.
        report: HTML page of the training report.
        created_at: Time of creation; now by default.

    Returns:
        The folder.

    Raises:
        BundleRefusedError: if the folder exists, if model and features do not match, or if the
            bundle would be larger than allowed.
    """
    refuse_existing(folder)
    where = str(folder)
    simple = simplify(bytes(booster.save_raw("ubj")), where)
    named = references(features, simple.categories, where)
    content, document = _with_names(simple.content, [feature.name for feature in named], where)
    facts = document.facts
    check_fraud_class(facts, fraud_class, where)
    trees = document.trees()
    check_trees(trees, facts.columns, where)
    proof = _golden(content, trees, golden, (missing, fraud_class), where)
    manifest = make_manifest(
        folder,
        name=name,
        version=version,
        features=only_used(named, trees),
        missing="NaN" if math.isnan(missing) else missing,
        objective=facts.objective,
        trees=facts.trees,
        fraud_class=fraud_class,
        calibration=None if calibration is None else _knots(calibration),
        golden=len(proof.vectors),
        trained=trained,
        created_at=created_at or datetime.now(UTC),
    )
    check_agree(facts, manifest, where)
    check_categories(trees, manifest, where)
    pages = {} if report is None else {REPORT_FILE: report.encode()}
    write_files(folder, manifest, proof, {"model.ubj": content, **pages})
    return folder


def refuse_existing(folder: Path) -> None:
    """Raise BundleRefusedError if there is something at the path of a new bundle."""
    if folder.exists() or folder.is_symlink():
        raise BundleRefusedError(
            f"{folder}: exists already; bundles never change: write to another folder"
        )


def make_manifest(folder: Path, **values: Any) -> Manifest:
    """Make the manifest of a new bundle.

    Args:
        folder: Folder of the bundle, for messages.
        values: Values of the manifest by key.

    Raises:
        BundleRefusedError: for an invalid value.
    """
    try:
        return Manifest(**values)
    except ValidationError as error:
        raise BundleRefusedError(f"{folder}: {describe_errors(error)}") from error


def write_files(
    folder: Path, manifest: Manifest, golden: Golden, others: Mapping[str, bytes]
) -> None:
    """Write the files of a bundle and their checksums, all or none.

    Args:
        folder: Folder of the bundle, which must not exist yet.
        manifest: Its manifest.
        golden: Golden vectors and their margins.
        others: Contents of its other files by name: the model, the report.

    Raises:
        BundleRefusedError: if the bundle would be larger than allowed.
    """
    files = {**others, MANIFEST_FILE: manifest.as_bytes(), **golden.files()}
    files[SUMS_FILE] = format_sums(files)
    check_size({file: len(content) for file, content in files.items()}, folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _write_folder(folder, files)


def _with_names(content: bytes, names: list[str], where: str) -> tuple[bytes, ModelDocument]:
    """Name the columns of a model, and return the bytes of its file, and what they say."""
    facts = ModelDocument(content, where).facts
    check_accepted(facts, where)
    if facts.columns != len(names):
        raise BundleRefusedError(
            f"{where}: the model has {facts.columns} columns, and {len(names)} features were "
            "given; give one feature for each column"
        )
    if facts.names not in (None, tuple(names)):
        raise BundleRefusedError(
            f"{where}: the model was trained with other feature names, or in another order, than "
            "those given; give the features in training order"
        )
    named = open_model(content, where)
    try:
        named.feature_names = names
    except ValueError as error:
        raise BundleRefusedError(f"{where}: {error}; rename the feature") from error
    content = bytes(named.save_raw("ubj"))
    return content, ModelDocument(content, where)


def _golden(
    content: bytes,
    trees: Trees,
    vectors: npt.NDArray[np.float32] | None,
    meaning: tuple[float, int | None],
    where: str,
) -> Golden:
    """Compute the margins of golden vectors with a model that was loaded from its file.

    Args:
        content: Bytes of the model file.
        trees: Its trees, checked.
        vectors: float32[G, F]; None to draw vectors along the model's thresholds.
        meaning: Feature value that means missing, besides NaN, and the class that is fraud.
        where: Name of the model in messages.
    """
    missing, fraud_class = meaning
    booster = open_model(content, where)
    columns = booster.num_features()
    if vectors is None:
        vectors = draw_vectors(booster, trees, columns, missing=missing)
    check_vectors(vectors, columns, where)
    vectors = np.ascontiguousarray(vectors)
    margins = score(booster, vectors, missing, fraud_class)
    if not np.isfinite(margins).all():
        raise BundleRefusedError(
            f"{where}: the model gives margins that are not finite; train it again"
        )
    return Golden(vectors, margins)


def _knots(curve: Curve) -> Knots:
    return Knots(margins=tuple(map(float, curve.margins)), scores=tuple(map(float, curve.scores)))


def _write_folder(folder: Path, files: dict[str, bytes]) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for name, content in files.items():
            with (temporary / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        # With mkdtemp's mode 0700, a worker of another user could not read the bundle.
        temporary.chmod(0o755)
        sync_folder(temporary)
        temporary.rename(folder)
        sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
