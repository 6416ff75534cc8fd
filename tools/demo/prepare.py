"""What is there to be played: simulated files, or a file of the user's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from base.errors import ConfigurationError
from features.definition import FeatureSet
from features.tables import FileEvents
from schemas.files.read import count_rows
from tools.demo.simulator import Simulated, simulate

HISTORY_DAYS = 63
"""37 until the longest window is full, 19 to train on, 7 whose labels nobody knows yet."""
_SEED = 20181001
_START = datetime(2018, 4, 1, tzinfo=UTC)
_CUSTOMERS, _TERMINALS = 1_000, 2_000
# What a day of this population brings at least.
_EVENTS_A_DAY = 1_500


@dataclass(frozen=True, slots=True)
class Prepared:
    """Events to play: ``history`` first, as fast as it goes, None where there is none, then ``live``.

    live_events: how many of the live ones. A model may be trained on the first ``known`` of the
    file ``training``, and these are the first ``known`` that are played.
    """

    history: Path | None
    live: Path
    live_events: int
    training: Path
    known: int


def simulate_files(folder: Path, events: int) -> Prepared:
    """History and at least ``events`` live transactions, with the Handbook's column names."""
    days = HISTORY_DAYS + 1 + events // _EVENTS_A_DAY
    everything = simulate(_CUSTOMERS, _TERMINALS, days, _START, _SEED)
    end_us = int((_START.timestamp() + HISTORY_DAYS * 86_400) * 1e6)
    first_live = int(np.searchsorted(everything.tx_time, end_us))
    history = _write(folder / "history.parquet", everything[:first_live])
    live = _write(folder / "live.parquet", everything[first_live:])
    return Prepared(history, live, events, history, first_live)


def require_playable(feature_set: FeatureSet, path: Path) -> None:
    """Read the beginning of a file as it will be read.

    Raises ConfigurationError where it cannot be read, lacks a column, or holds nothing to train on.
    """
    label = feature_set.bindings.label
    if label is None:
        raise ConfigurationError(
            "--events-file: a model is trained on it, and events.label in features.yaml is missing; "
            "name the label's column there"
        )
    first = next(iter(FileEvents(feature_set, [path])), None)
    if first is None or not first.rows:
        raise ConfigurationError(f"--events-file: {path} holds no rows; play one with events")
    if first.fraud is None:
        raise ConfigurationError(
            f"--events-file: {path} has no column {label.field}, and a model is trained on it; name "
            "the column in events.label or events.aliases of features.yaml"
        )


def own_file(path: Path, events: int | None) -> Prepared:
    """All of a file, or its first ``events``, live; half of that to train on.

    Raises ConfigurationError for a file that cannot be read.
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
