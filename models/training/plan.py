"""Which days a model is trained on, and which earlier ones it is chosen by."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

from models.training.folds import DAY, Lengths
from models.training.table import TrainingTable
from schemas.errors import ConfigurationError

_TRAIN_DAYS = 7


@dataclass(frozen=True, slots=True)
class Plan:
    """Trained on `lengths.train` days from `train_from` on, chosen by `folds` earlier folds.

    train_from: microseconds since 1970 UTC, a midnight.
    """

    train_from: int
    lengths: Lengths
    folds: int

    @property
    def train_until(self) -> int:
        return self.train_from + self.lengths.train * DAY

    @property
    def known_by(self) -> int:
        """When the model would go to work; what is not known then is not learned from."""
        return self.train_until + self.lengths.delay * DAY

    @property
    def first(self) -> int:
        """The earliest event that is needed."""
        back = self.folds * self.lengths.assess + self.lengths.train + self.lengths.delay
        return min(self.train_from, self.train_until - back * DAY)


def make_plan(
    table: TrainingTable,
    *,
    since: date | None,
    last: date | None,
    delay: int | None,
    assess: int,
    folds: int,
) -> Plan:
    """The plan that is asked for.

    since, last: the first and the last day to train on; by default the last seven days of the table
    whose labels are all known. delay: days until labels are known; by default the longest of the
    table. assess: days of each fold. Folds that the table does not reach back for are left out. Raises ConfigurationError where
    the days are not there, or none of the folds is.
    """
    if not len(table):
        raise ConfigurationError(f"--features: {table.path} holds no events")
    if delay is None:
        delay = -(-table.longest_delay() // DAY)
    first = int(table.times.min()) // DAY * DAY
    end = (int(table.times.max()) // DAY + 1) * DAY
    until = end - delay * DAY if last is None else _midnight(last) + DAY
    train_from = until - _TRAIN_DAYS * DAY if since is None else _midnight(since)
    if not first <= train_from < until <= end:
        raise ConfigurationError(
            f"--from and --until: {_day(train_from)} to {_day(until - DAY)} are no days of "
            f"{table.path}, which has events from {_day(first)} to {_day(end - DAY)}"
        )
    lengths = Lengths((until - train_from) // DAY, delay, assess)
    back = (until - first) // DAY - lengths.train - lengths.delay
    possible = min(folds, back // assess)
    if possible < 1:
        raise ConfigurationError(
            f"--features: a fold before {_day(until)} needs {lengths.total} days (trained on "
            f"{lengths.train}, {lengths.delay} until labels are known, {lengths.assess} to "
            f"assess), and {table.path} begins on {_day(first)}; train on later or fewer days, or "
            "build a table that reaches back further"
        )
    return Plan(train_from, lengths, possible)


def _midnight(day: date) -> int:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return int(start.timestamp()) * 1_000_000


def _day(time: int) -> str:
    return datetime.fromtimestamp(time // 1_000_000, UTC).date().isoformat()
