"""Preparation of the events to play: simulated files, or a file of the user's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from base.errors import ConfigurationError
from features.definition import FeatureSet
from features.tables import EventTableReader, Partitioning
from schemas.files.read import count_rows
from tools.demo.simulator import Simulated, simulate

HISTORY_DAYS = 63
"""37 to fill the longest window, 19 to train on, 7 whose labels are not known yet."""
_PARTITIONS = 4
_SEED = 20181001
_START = datetime(2018, 4, 1, tzinfo=UTC)
_CUSTOMERS, _TERMINALS = 1_000, 2_000
# Least number of events that this population makes in a day.
_EVENTS_A_DAY = 1_500


@dataclass(frozen=True, slots=True)
class Prepared:
    """Files of the events to play.

    Attributes:
        history: File to play first, as fast as possible; None without history.
        live: File to play after it.
        live_events: Number of live events to play.
        training: File to train a model on.
        known: Number of the first events of ``training`` that a model may be trained on. They are
            also the first events that are played.
    """

    history: Path | None
    live: Path
    live_events: int
    training: Path
    known: int


def partitioning(feature_set: FeatureSet) -> Partitioning | None:
    """Assignment of events to partitions by their partition key; None (one partition) without."""
    key = feature_set.bindings.partition_key
    return None if key is None else Partitioning(key.path, _PARTITIONS)


def simulate_files(folder: Path, events: int) -> Prepared:
    """Write history and at least ``events`` live transactions, with the Handbook's column names."""
    days = HISTORY_DAYS + 1 + events // _EVENTS_A_DAY
    everything = simulate(_CUSTOMERS, _TERMINALS, days, _START, _SEED)
    end_us = int((_START.timestamp() + HISTORY_DAYS * 86_400) * 1e6)
    first_live = int(np.searchsorted(everything.tx_time, end_us))
    history = _write(folder / "history.parquet", everything[:first_live])
    live = _write(folder / "live.parquet", everything[first_live:])
    return Prepared(history, live, events, history, first_live)


def require_playable(feature_set: FeatureSet, path: Path) -> None:
    """Read the beginning of a file in the way in which it will be played.

    Raises:
        ConfigurationError: The file cannot be read, lacks a column, or has no rows or labels.
    """
    label = feature_set.bindings.label
    if label is None:
        raise ConfigurationError(
            "--events-file: events.label is missing in features.yaml, and the demo trains a model on "
            "the labels of the file; name the column of the label there"
        )
    first = next(iter(EventTableReader(feature_set, [path])), None)
    if first is None or not first.rows:
        raise ConfigurationError(f"--events-file: {path} has no rows; give a file with events")
    if first.fraud is None:
        raise ConfigurationError(
            f"--events-file: {path} has no column {label.field}, and the demo trains a model on it; "
            "name the column in events.label or events.aliases of features.yaml"
        )


def own_file(path: Path, events: int | None) -> Prepared:
    """Prepare a file, or its first ``events``, to be played live; half of it is for training.

    Raises:
        ConfigurationError: The file cannot be read.
    """
    rows = count_rows(path)
    played = rows if events is None else min(rows, events)
    return Prepared(None, path, played, path, played // 2)


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
