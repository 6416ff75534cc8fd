"""What has to be there before the first live event: history, lookups, a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from features.definition import FeatureSet, load_feature_set
from features.event_file import EventFile
from features.load import load_lookup
from features.store.protocol import OnlineStore
from models.backend.threads import available_threads
from models.bundle import write_bundle
from models.training.fit import fit
from schemas.batch import Kind
from schemas.decode import Decoder
from schemas.errors import ConfigurationError
from schemas.source import FileSchemaSource
from schemas.targets import PathType
from worker.demo.simulator import Simulated, customer_profiles, simulate, terminal_profiles

TRAINING_EVENTS = 200_000
_LABEL = PathType(Kind.LONG, scale=0, nullable=True)
_SEED = 20181001
_START = datetime(2018, 4, 1, tzinfo=UTC)
_CUSTOMERS, _TERMINALS = 2_000, 4_000
_HISTORY_DAYS = 25
# What a day of this population brings at least.
_EVENTS_A_DAY = 3_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """Event files: one to train on, one to play; lookups by name."""

    history: Path
    live: Path
    lookups: dict[str, Path]


def simulate_files(folder: Path, events: int) -> Prepared:
    """History and at least ``events`` live transactions, with the Handbook's column names."""
    days = _HISTORY_DAYS + 1 + events // _EVENTS_A_DAY
    everything = simulate(_CUSTOMERS, _TERMINALS, days, _START, _SEED)
    first_live = int(
        np.searchsorted(everything.tx_time, everything.tx_time[0] + _HISTORY_DAYS * 86_400_000_000)
    )
    history, live = everything[:first_live], everything[first_live:]
    updated_at = int(history.tx_time[-1])
    lookups = {
        "customer_profile": customer_profiles(history, updated_at),
        "terminal_profile": terminal_profiles(history, updated_at),
    }
    paths = {name: folder / f"{name}.parquet" for name in lookups}
    for name, table in lookups.items():
        pq.write_table(table, paths[name])
    return Prepared(
        _write(folder / "history.parquet", history), _write(folder / "live.parquet", live), paths
    )


def load_lookups(feature_set: FeatureSet, files: dict[str, Path], store: OnlineStore) -> None:
    """Fill the lookups that the feature set declares."""
    for name in feature_set.lookups:
        if name in files:
            load_lookup(feature_set, name, files[name], store)


def train(
    pipeline: Path, history: Path, store: OnlineStore, out: Path, limit: int = TRAINING_EVENTS
) -> int:
    """Fit a small model on the first ``limit`` events of a labelled file; returns how many.

    The features are computed by the code that serves them. Raises ConfigurationError when the file
    has no labels.
    """
    feature_set = load_feature_set(pipeline / "features.yaml")
    matrices, labels, left = [], [], limit
    for matrix, known in _labelled(feature_set, history, store):
        matrices.append(matrix[:left])
        labels.append(known[:left])
        left -= len(matrices[-1])
        if left == 0:
            break
    known = np.concatenate(labels)
    if len(np.unique(known)) < 2:
        raise ConfigurationError(
            f"{history}: its first {len(known)} events are all of one class; a model needs both"
        )
    booster = fit(np.concatenate(matrices), known, threads=available_threads())
    write_bundle(out, booster, name=feature_set.name, version="demo", features=feature_set.features)
    return len(known)


def _labelled(
    feature_set: FeatureSet, history: Path, store: OnlineStore
) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]]:
    label = feature_set.bindings.label
    if label is None:
        raise ConfigurationError("features.yaml: events.label is missing; name the label's column")
    decoder = Decoder(
        FileSchemaSource({}, default=feature_set.schema_path),
        feature_set.reader_schema,
        feature_set.paths,
        max_record_bytes=1_000_000,
        max_collection_items=10_000,
    )
    source = EventFile(feature_set, "history", b"")
    for chunk in source.read(history, {label.field: _LABEL}):
        if label.field not in chunk.columns:
            raise ConfigurationError(f"{history}: has no column for the label {label.field}")
        batch, errors = feature_set.bind(chunk.records, decoder.decode(chunk.records.values))
        kept = np.setdiff1d(np.arange(len(chunk.records)), list(errors)).astype(np.intp)
        matrix = feature_set.enrich(batch, store).matrix
        yield matrix, chunk.columns[label.field].values[kept]


def _write(path: Path, events: Simulated) -> Path:
    table = pa.table(
        {
            "TRANSACTION_ID": events.transaction_id,
            "TX_DATETIME": pa.array(events.tx_time, pa.timestamp("us")),
            "CUSTOMER_ID": events.customer_id,
            "TERMINAL_ID": events.terminal_id,
            "TX_AMOUNT": events.amount,
            "TX_FRAUD": events.is_fraud,
        }
    )
    pq.write_table(table, path)
    return path
