"""Events, features and models of the proof, without servers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from base.arrays import Floats32, Longs
from benchmarks import population
from benchmarks.models.policies import write_explaining
from benchmarks.testbed import PIPELINE, enriched_payments, load_lookups, note
from features.definition import load_feature_set
from features.store.memory import MemoryStore
from models.bundle import Bundle, load_bundle, write_bundle
from models.training.fit import fit
from schemas.batch import Kind

_EVERY = 1e-9
"""Score that every event reaches."""


@dataclass(frozen=True, slots=True)
class Size:
    """Size of a run.

    Attributes:
        training: Number of events that models are trained on.
        cards: Number of cards with a profile.
        rows: Number of other events, on which they are compared and measured.
        events: Number of events in the file that `fraud-worker score` reads.
        trees: Numbers of trees; TreeSHAP is measured for all but the last.
    """

    training: int = 60_000
    cards: int = population.CARDS
    rows: int = 64_000
    events: int = 4_000
    trees: tuple[int, ...] = (100, 500, 2_000)


SMALL = Size(3_000, 10_000, 2_000, 200, (5, 10, 20))
"""Size of a rehearsal."""


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Models, and events that they were not trained on.

    Attributes:
        training: float32[N, F], features of the events that models are trained on.
        labels: Their labels.
        matrix: float32[M, F], features of other events.
        matrix_labels: Their labels.
        bundles: Bundles by number of trees, trained on the CPU.
        policy: Policy with reasons for every event.
        events: File of events.
    """

    training: Floats32
    labels: Longs
    matrix: Floats32
    matrix_labels: Longs
    bundles: Mapping[int, Bundle]
    policy: Path
    events: Path


def make_material(folder: Path, size: Size, threads: int) -> Material:
    """Compute the features and train the models, in ``folder``."""
    feature_set = load_feature_set(PIPELINE / "features.yaml")
    store = MemoryStore()
    load_lookups(folder, feature_set, store, size.cards)
    _, early = enriched_payments(feature_set, store, 0, size.training)
    _, later = enriched_payments(feature_set, store, size.training, size.rows)
    labels = population.labels(early.matrix, feature_set.names)
    bundles = {}
    for trees in size.trees:
        note(f"training {trees:,} trees on the CPU …")
        booster = fit(early.matrix, labels, threads=threads, rounds=trees)
        path = folder / f"{trees}-trees"
        write_bundle(path, booster, name="gpu", version="1", features=feature_set.features)
        bundles[trees] = load_bundle(path)
    return Material(
        early.matrix,
        labels,
        later.matrix,
        population.labels(later.matrix, feature_set.names),
        bundles,
        write_explaining(folder / "policy.yaml", _EVERY),
        _write_events(folder / "events.parquet", size.training + size.rows, size.events),
    )


def _write_events(path: Path, first: int, count: int) -> Path:
    columns = {}
    for name, column in population.payments(first, count).items():
        kind = pa.timestamp("us", "UTC") if column.kind is Kind.TIME else None
        columns[name] = pc.if_else(
            pa.array(column.valid), pa.array(column.values, kind), pa.scalar(None)
        )
    pq.write_table(pa.table(columns), path)
    return path
