"""Training of the demo's model on a labelled file, and loading of its labels into the store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from base.errors import ConfigurationError
from features.definition import FeatureSet
from features.history.namespace import Namespace
from features.loading import LabelFile
from features.loading.label_loader import LabelLoader
from features.store.protocol import OnlineStore
from features.tables import EventTable, EventTableReader, build
from models.backend.threads import available_threads
from models.bundle import write_bundle
from models.training.fit import fit
from tools.demo.prepare import partitioning

MOST_EVENTS = 200_000
_TABLE = "training.parquet"


@dataclass(frozen=True, slots=True)
class DemoModel:
    """Size and range of the demo model's training data.

    Attributes:
        events: Number of events that the model was trained on.
        unseen_from: First row of the file after those that were used for training.
    """

    events: int
    unseen_from: int


def train(feature_set: FeatureSet, path: Path, folder: Path, rows: int) -> DemoModel:
    """Fit a model on some of about the first ``rows`` of a labelled file, as ``folder / "model"``.

    Events are late, or not, as in the partitions that they are played into.

    Raises:
        ConfigurationError: The file has no labels, or labels of one class only.
    """
    label = feature_set.bindings.label
    if label is None:
        raise ConfigurationError("features.yaml: events.label is missing; name the label's column")
    reader = EventTableReader(feature_set, [path], partitioning(feature_set))
    source = _first(reader, rows)
    built = build(feature_set, source, folder / _TABLE, partitions=reader.partitions)
    table = pq.read_table(folder / _TABLE).slice(0, rows)
    table = table.filter(pc.is_valid(table["label"]))
    if len(table):
        known_at = table["label_time"].cast(pa.int64()).to_numpy()
        reach = max((window.reach for window in feature_set.histories.windows), default=0)
        table = table.take(pa.array(training_rows(known_at, label.delay, reach)[-MOST_EVENTS:]))
    fraud = table["label"].to_numpy()
    if len(np.unique(fraud)) < 2:
        raise ConfigurationError(
            f"{path}: {len(fraud):,} of its first {rows:,} rows are labelled events to train on, "
            f"{int(fraud.sum()):,} of them frauds ({label.field}): a model needs both classes; play "
            "more events"
        )
    matrix = np.column_stack([table[name].to_numpy() for name in feature_set.names])
    booster = fit(matrix, fraud, threads=available_threads())
    features = feature_set.features
    write_bundle(
        folder / "model", booster, name=feature_set.name, version="demo", features=features
    )
    return DemoModel(len(fraud), rows + sum(built.refused.values()))


def training_rows(
    label_time: npt.NDArray[np.int64], delay: int, reach: int
) -> npt.NDArray[np.intp]:
    """Rows of the labelled events to train on, intp[K], rising.

    Events at the end are left out, because their labels are not yet known when the last event
    happens; where this leaves none, all labels count as known. Events at the beginning are left
    out, because their windows are not yet full; but at most two thirds of the rest, so that short
    files can be used.

    Args:
        label_time: int64[N], label times in microseconds.
        delay: Label delay in microseconds.
        reach: Length of the longest window in microseconds.
    """
    first, last = label_time.min(), label_time.max()
    until = last - delay if last - delay > first else last
    full_from = first + min(reach, (until - first) * 2 // 3)
    return np.flatnonzero((label_time >= full_from) & (label_time <= until))


def load_frauds(
    feature_set: FeatureSet, path: Path, store: OnlineStore, namespace: Namespace
) -> None:
    """Load the frauds of a labelled file into the store; all other events count as no fraud."""
    loader = LabelLoader(feature_set, store, namespace, None)
    for rows, _ in LabelFile(feature_set, path):
        loader.load(rows.take(np.flatnonzero(rows.fraud)), (), str(path))


def _first(source: Iterable[EventTable], rows: int) -> Iterator[EventTable]:
    """Yield whole tables of ``source`` until they hold its first ``rows``."""
    left = rows
    for events in source:
        yield events
        left -= events.rows
        if left <= 0:
            return
