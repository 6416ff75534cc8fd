"""Build the table, train a bundle for each split, and compute its margins on the test days."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from base.times import DAY
from benchmarks.evaluate.days import LENGTHS, SPLITS, Split
from features.definition import FeatureSet
from features.tables import EventTableReader, build
from models.backend import available_threads, open_backend
from models.bundle import load_bundle
from models.calibration import Calibration
from models.training.folds import make_fold
from models.training.recipes import Params
from models.training.search import Trial
from models.training.table import TrainingTable
from models.training.train import train
from models.training.training_days import TrainingDays, find_training_days
from models.training.training_options import TrainingOptions
from models.training.write_outputs import OutputOptions, write_training

Note = Callable[[str], None]

# About four hundred frauds a week are a small sample, so parameters are chosen once, on all weeks
# before the first test in which the longest window was full. Later models are calibrated on four.
_FOLDS_TO_CHOOSE, _FOLDS = 10, 4


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """N events of the test days, in the order of the file.

    Attributes:
        split: Training and test days.
        bundle: Folder of the bundle.
        ids: StringArray[N], event ids.
        margins: float32[N], computed offline.
        assessed: bool[N], False for events of cards known to be compromised.
        labels: int8[N], 0 or 1.
        cards: int32[N], number of the card.
        days: int64[N], days since 1970-01-01 UTC.
    """

    split: Split
    bundle: Path
    ids: pa.StringArray
    margins: npt.NDArray[np.float32]
    assessed: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.int8]
    cards: npt.NDArray[np.int32]
    days: npt.NDArray[np.int64]


def build_table(feature_set: FeatureSet, raw: Path, out: Path) -> TrainingTable:
    """Build the table of all events of a file, at ``out``."""
    build(feature_set, EventTableReader(feature_set, [raw]), out)
    return TrainingTable(out)


def train_all(table: TrainingTable, folder: Path, tries: int, note: Note) -> list[Path]:
    """Train a bundle for each split, all with the parameters chosen for the first."""
    params_and_rounds: tuple[Params, int] | None = None
    bundles = []
    for split in SPLITS:
        options = TrainingOptions(
            tries=tries, params_and_rounds=params_and_rounds, threads=available_threads()
        )
        folds = _FOLDS_TO_CHOOSE if params_and_rounds is None else _FOLDS
        training = train(
            table, _training_days(table, split, folds), options, advance=_note_progress(note)
        )
        out = folder / f"bundle-{split.number}"
        write_training(training, table, OutputOptions(out, version=f"{split.train_last}"))
        bundles.append(out)
        note(f"bundle {split.number}: trained on {training.trained.rows:,} events")
        if params_and_rounds is None:
            params_and_rounds = training.best_trial.params, training.best_trial.rounds
            note(f"parameters for all splits: {_described(training.best_trial)}")
    return bundles


def expected(table: TrainingTable, split: Split, bundle: Path) -> Expected:
    """Compute the margins of a saved bundle from the features of the table."""
    days = _training_days(table, split, _FOLDS)
    since, until = _time(split.test_from), _time(split.test_until)
    train_from = days.train_from(days.spans[0])
    events = table.read(train_from, until)
    fold = make_fold(events, train_from, LENGTHS, known_by=np.iinfo(np.int64).max)
    rows = events.between(since, until)
    labels = events.labels_known(np.iinfo(np.int64).max)
    backend = open_backend(load_bundle(bundle), "cpu")
    return Expected(
        split,
        bundle,
        _ids(table, since, until),
        backend.margins(events.matrix[rows]),
        np.isin(rows, fold.assess),
        labels[rows],
        events.cards[rows],
        events.times[rows] // DAY,
    )


def scores_of(bundle: Path, margins: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Scores of margins by the calibration of the bundle, float64[N]."""
    knots = load_bundle(bundle).calibration
    if knots is None:
        raise ValueError(f"{bundle} has no calibration")
    return Calibration(knots.margins, knots.scores).apply(margins)


def _training_days(table: TrainingTable, split: Split, folds: int) -> TrainingDays:
    return find_training_days(
        table,
        since=split.train_from,
        last=split.train_last,
        delay=LENGTHS.delay,
        assess=LENGTHS.assess,
        folds=folds,
    )


def _ids(table: TrainingTable, since: int, until: int) -> pa.StringArray:
    """Event ids in the order of the table's events: by time, then by row."""
    rows = np.flatnonzero((table.times >= since) & (table.times < until))
    rows = rows[np.argsort(table.times[rows], kind="stable")]
    ids = pq.read_table(table.path, columns=["TRANSACTION_ID"])["TRANSACTION_ID"]
    return ids.take(pa.array(rows)).combine_chunks().cast(pa.string())


def _note_progress(note: Note) -> Callable[[str, int, int], None]:
    """Return a callback that prints progress after each quarter of the search."""

    def advance(what: str, done: int, of: int) -> None:
        if done and done * 4 // of != (done - 1) * 4 // of:
            note(f"{what}: {done} of {of} fits")

    return advance


def _described(trial: Trial) -> str:
    """Description of a trial.

    It is for the first model only, because the earlier folds of the others contain test days.
    """
    metrics = trial.metrics
    return (
        f"{trial.rounds} rounds, {dict(trial.params)}; on the earlier folds average precision "
        f"{metrics.average_precision:.4f}, card precision at 100 {metrics.card_precision_100:.4f}"
    )


def _time(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000
