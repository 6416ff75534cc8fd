"""Input of the measurements: events with their features, and models of several sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks import population
from benchmarks.rivals.task import BATCH_EVENTS
from benchmarks.testbed import TRAINING_EVENTS, Testbed, enriched_payments, note
from features.compute.matrix import Enriched
from features.store.redis import RedisStore
from models.backend import open_backend
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

    Attributes:
        batch: Micro-batch of BATCH_EVENTS events.
        enriched: Features of the micro-batch.
        matrix: float32[ROWS, F], features of other events.
        bundles: Bundles by number of trees.
        successor: Bundle with as many trees as the first, trained on later events.
        calibration: Calibration of the first bundle.
        threshold: Score that EXPLAINED_SHARE of the first bundle's uncalibrated scores reach.
    """

    batch: EventBatch
    enriched: Enriched
    matrix: npt.NDArray[np.float32]
    bundles: Mapping[int, Bundle]
    successor: Bundle
    calibration: Calibration
    threshold: float


def make_material(testbed: Testbed) -> Material:
    """Train the models, in folders beside the testbed's model, which is the first."""
    note(f"training models of {' and '.join(map(str, TREES))} trees …")
    store = RedisStore(testbed.valkey.url)
    _, early = enriched_payments(testbed.feature_set, store, 0, TRAINING_EVENTS)
    _, later = enriched_payments(testbed.feature_set, store, TRAINING_EVENTS, TRAINING_EVENTS)
    _, more = enriched_payments(testbed.feature_set, store, 2 * TRAINING_EVENTS, ROWS)
    batch, enriched = enriched_payments(
        testbed.feature_set, store, 3 * TRAINING_EVENTS, BATCH_EVENTS
    )
    store.close()
    first, *larger = TREES
    bundles = {trees: _train(testbed, f"{trees}-trees", early.matrix, trees) for trees in larger}
    margins = open_backend(testbed.bundle, "cpu", testbed.threads).margins(later.matrix)
    return Material(
        batch,
        enriched,
        more.matrix,
        {first: testbed.bundle, **bundles},
        _train(testbed, "successor", later.matrix, first),
        fit_calibration(margins, population.labels(later.matrix, testbed.feature_set.names)),
        float(np.quantile(logistic(margins), 1.0 - EXPLAINED_SHARE)),
    )


def _train(testbed: Testbed, version: str, matrix: npt.NDArray[np.float32], trees: int) -> Bundle:
    labels = population.labels(matrix, testbed.feature_set.names)
    booster = fit(matrix, labels, threads=testbed.threads, rounds=trees)
    folder: Path = testbed.bundle.path.with_name(version)
    features = testbed.feature_set.features
    write_bundle(folder, booster, name=testbed.bundle.name, version=version, features=features)
    return load_bundle(folder)
