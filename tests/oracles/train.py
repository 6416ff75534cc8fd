"""Create the model and the lookups' files for the pipeline of the system tests.

``python -m tests.oracles.train DIR`` writes ``DIR/model`` and ``DIR/LOOKUP.parquet``, the same in
every run. The model depends on each feature that a serial run determines; it serves no other
purpose.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from features.compute.bind import bind
from features.compute.enrich import enrich
from features.definition import FeatureSet, load_feature_set
from features.history.watermarks import LogState
from features.loading.lookup_files import load_lookup
from features.store.memory import MemoryStore
from features.tables.event_records import EventRecordReader
from features.windows.window import Across, Window
from models.bundle import write_bundle
from models.bundle.manifest import NamedFeature
from models.training.fit import fit
from schemas.avro.decoder import Decoder
from schemas.registry.source import FileSchemaSource

PIPELINE = Path(__file__).parents[1] / "system" / "pipeline"
_SEED = 20181001
_EVENTS, _CUSTOMERS, _TERMINALS = 5_000, 200, 400
_FIRST_TIME_MS = 1_522_540_800_000  # 2018-04-01 UTC


def best_effort(feature_set: FeatureSet) -> list[Window]:
    """Windows that a serial run cannot reproduce."""
    return [
        window for window in feature_set.histories.windows if window.across is Across.BEST_EFFORT
    ]


def types_of(features: Sequence[NamedFeature]) -> list[str]:
    """XGBoost's types of features: those with categories are split by category."""
    return ["q" if feature.categories is None else "c" for feature in features]


def main() -> None:
    """Simulate lookups and events, compute the features with the worker's code, and train."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    folder: Path = parser.parse_args().folder
    random = np.random.default_rng(_SEED)
    feature_set = load_feature_set(PIPELINE / "features.yaml")
    store = MemoryStore()
    for name, table in _lookups(random).items():
        path = folder / f"{name}.parquet"
        pq.write_table(table, path)
        load_lookup(feature_set, name, path, store)
    pq.write_table(_events(random), folder / "events.parquet")
    matrix = _matrix(feature_set, folder / "events.parquet", store)
    left_out = {window.name for window in best_effort(feature_set)}
    kept = [i for i, name in enumerate(feature_set.names) if name not in left_out]
    used = np.ascontiguousarray(matrix[:, kept])
    features = [feature_set.features[i] for i in kept]
    types = types_of(features)
    booster = fit(used, _labels(used, random), threads=1, rounds=50, types=types)
    write_bundle(folder / "model", booster, name="system", version="1", features=features)


def _lookups(random: np.random.Generator) -> dict[str, pa.Table]:
    return {
        "customer_profile": pa.table(
            {
                "customer_id": np.arange(_CUSTOMERS),
                "avg_amount": random.lognormal(3.5, 0.5, _CUSTOMERS),
                "nb_tx_per_day": random.gamma(2.0, 1.0, _CUSTOMERS),
            }
        ),
        "terminal_profile": pa.table(
            {"terminal_id": np.arange(_TERMINALS), "risk": random.random(_TERMINALS)}
        ),
    }


def _events(random: np.random.Generator) -> pa.Table:
    times = _FIRST_TIME_MS + 4_000 * np.arange(_EVENTS)
    return pa.table(
        {
            "transaction_id": [f"tx-{i}" for i in range(_EVENTS)],
            "tx_time": pa.array(times, pa.timestamp("ms", "UTC")),
            "customer_id": random.integers(0, _CUSTOMERS, _EVENTS).astype(str),
            "terminal_id": random.integers(0, _TERMINALS, _EVENTS).astype(str),
            "amount": random.lognormal(3.5, 1.0, _EVENTS).round(2),
            "country": random.choice(["BE", "FR", "LU", "NL"], _EVENTS),
        }
    )


def _matrix(feature_set: FeatureSet, events: Path, store: MemoryStore) -> npt.NDArray[np.float32]:
    decoder = Decoder(
        FileSchemaSource({}, default=feature_set.schema_path),
        feature_set.reader_schema,
        feature_set.paths,
        max_record_bytes=1_000_000,
        max_collection_items=10_000,
    )
    rows, log = [], LogState()
    for chunk in EventRecordReader(feature_set, "history", b"").read(events):
        batch, _ = bind(feature_set, chunk.records, decoder.decode(chunk.records.values))
        enriched = enrich(feature_set, batch, store, log)
        store.append(enriched.writes.appends, enriched.writes.compactions)
        log = enriched.after
        rows.append(enriched.matrix)
    return np.concatenate(rows)


def _labels(matrix: npt.NDArray[np.float32], random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Labels: the tenth of the events with the highest sum of normalized features is fraud."""
    known = np.nan_to_num(matrix).astype(np.float64)
    shares = (known - known.mean(axis=0)) / (known.std(axis=0) + 1e-9)
    margin = shares @ random.normal(1.0, 0.5, matrix.shape[1])
    labels: npt.NDArray[np.int64] = (margin > np.quantile(margin, 0.9)).astype(np.int64)
    return labels


if __name__ == "__main__":
    main()
