"""What is timed: events with their features, and models of several sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks import population
from benchmarks.ground import TRAINING_EVENTS, Ground, enriched_payments, note
from benchmarks.rivals.task import BATCH_EVENTS
from features.compute.matrix import Enriched
from features.store.redis import RedisStore
from models.bundle import Bundle, load_bundle, write_bundle
from models.calibration import Calibration, logistic
from models.training.calibrate import fit_calibration
from models.training.fit import fit
from schemas.batch import EventBatch

TREES = (100, 500)
ROWS = 16_000
EXPLAINED_SHARE = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Models, and events that they were not trained on.

    batch, enriched: of a micro-batch of BATCH_EVENTS. matrix: float32[ROWS, F] of other events.
    bundles: by trees. successor: of as many trees as the first, trained on later events.
    calibration: of the first. threshold: EXPLAINED_SHARE of its scores, without that calibration,
    are at least so high.
    """

    batch: EventBatch
    enriched: Enriched
    matrix: npt.NDArray[np.float32]
    bundles: Mapping[int, Bundle]
    successor: Bundle
    calibration: Calibration
    threshold: float


def make_material(on: Ground) -> Material:
    """Train the models, in folders beside the model of the common ground, which is the first."""
    note(f"training models of {' and '.join(map(str, TREES))} trees …")
    store = RedisStore(on.valkey.url)
    _, early = enriched_payments(on.feature_set, store, 0, TRAINING_EVENTS)
    _, later = enriched_payments(on.feature_set, store, TRAINING_EVENTS, TRAINING_EVENTS)
    _, more = enriched_payments(on.feature_set, store, 2 * TRAINING_EVENTS, ROWS)
    batch, enriched = enriched_payments(on.feature_set, store, 3 * TRAINING_EVENTS, BATCH_EVENTS)
    store.close()
    first, *larger = TREES
    bundles = {trees: _train(on, f"{trees}-trees", early.matrix, trees) for trees in larger}
    booster = on.bundle.booster.copy()
    booster.set_param({"nthread": on.threads})
    margins = booster.inplace_predict(later.matrix, predict_type="margin")
    return Material(
        batch,
        enriched,
        more.matrix,
        {first: on.bundle, **bundles},
        _train(on, "successor", later.matrix, first),
        fit_calibration(margins, population.labels(later.matrix, on.feature_set.names)),
        float(np.quantile(logistic(margins), 1.0 - EXPLAINED_SHARE)),
    )


def _train(on: Ground, version: str, matrix: npt.NDArray[np.float32], trees: int) -> Bundle:
    labels = population.labels(matrix, on.feature_set.names)
    booster = fit(matrix, labels, threads=on.threads, rounds=trees)
    folder: Path = on.bundle.path.with_name(version)
    features = on.feature_set.features
    write_bundle(folder, booster, name=on.bundle.name, version=version, features=features)
    return load_bundle(folder)
