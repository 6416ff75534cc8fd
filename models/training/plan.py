"""Plan a training: the days that a model may learn from, and the earlier folds that choose them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from math import ceil
from typing import Final

from base.errors import ConfigurationError
from base.times import DAY, utc
from models.training.folds import Lengths, Span, microseconds, span_start
from models.training.stray import Apart, find_apart, refuse_far
from models.training.table import TrainingTable

SPANS: Final = (7, 30, 90)
"""Numbers of days to choose from, besides all days."""
_HALF_LIFE: Final = 30
_ASSESS_DAYS: Final = 7
_MOST_ROWS: Final = 20_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """Plan of a training on one of `spans`, all ending at `train_until`; `folds` folds choose it.

    Attributes:
        begin: Time when the model goes to work, a midnight; labels known later are not used.
        first: The first day of the table. Both in microseconds since 1970 UTC.
        spans: Spans that the earlier folds choose from, shortest first.
        delay: Label delay in days.
        assess: Number of assessed days of each fold.
        folds: Number of earlier folds.
        apart: The first or last few rows of the table, where they may be wrong.
    """

    begin: int
    first: int
    spans: tuple[Span, ...]
    delay: float
    assess: int
    folds: int
    apart: tuple[Apart, ...] = ()

    @property
    def train_until(self) -> int:
        return self.begin - microseconds(self.delay)

    @property
    def lengths(self) -> Lengths:
        """Lengths of the shortest span, in days."""
        return self.lengths_of(self.spans[0])

    def lengths_of(self, span: Span) -> Lengths:
        days = (self.train_until - self.train_from(span)) / DAY
        return Lengths(days, self.delay, self.assess)

    def train_from(self, span: Span) -> int:
        return span_start(span, self.train_until, self.first)

    @property
    def reads_from(self) -> int:
        """Time of the earliest event that is needed, in microseconds since 1970 UTC."""
        back = microseconds(self.folds * self.assess + self.delay)
        starts = (span_start(span, self.train_until - back, self.first) for span in self.spans)
        return max(self.first, min(starts))

    @property
    def reads_until(self) -> int:
        """End of the last assessed day, in microseconds since 1970 UTC."""
        return self.begin - int(self.delay) * DAY


def make_plan(
    table: TrainingTable,
    *,
    since: date | None = None,
    last: date | None = None,
    delay: float | None = None,
    assess: int | None = None,
    folds: int = 4,
    span: Span | None = None,
) -> Plan:
    """Make the plan for a table and the options that were given.

    Args:
        table: The training table.
        since: The first day to train on; None leaves the span to the earlier folds.
        last: The last day; by default the last one whose labels are all known.
        delay: Label delay in days; by default the longest of the table.
        assess: Assessed days of each fold; by default seven, or fewer where the table is short.
        folds: Number of earlier folds; folds before the begin of the table are left out.
        span: Span of a model trained before; no other is tried then.

    Raises:
        ConfigurationError: where the table lacks the days, or has no fold.
    """
    if not len(table):
        raise ConfigurationError(f"--features: {table.path} holds no events")
    # Rows after a last day that is asked for do no harm.
    apart = tuple(one for one in find_apart(table) if last is None or not one.after)
    refuse_far(apart)
    if delay is None:
        delay = _whole_days(table.longest_delay())
    first = int(table.times.min()) // DAY * DAY
    end = (int(table.times.max()) // DAY + 1) * DAY
    begin = end if last is None else _midnight(last) + DAY + ceil(delay) * DAY
    until = begin - microseconds(delay)
    asked = Asked(table, first, until, end, delay, since, last, assess)
    if since is not None or last is not None:
        asked.require_days()
    if since is not None:
        span = Span((until - _midnight(since)) / DAY)
    # the folds that are assessed end where labels are known, at a midnight
    room = (begin - first) / DAY - int(delay) - delay
    if span is not None:
        shortest = span
    else:
        shortest = Span(SPANS[0]) if room >= SPANS[0] + _ASSESS_DAYS else Span(None)
    if assess is None:
        most = int(room / 2 if shortest.days is None else room - shortest.days)
        assess = max(1, min(_ASSESS_DAYS, most)) if most > 0 or room < 2 else _ASSESS_DAYS
    least = assess / 2 if shortest.days is None else shortest.days
    possible = min(folds, int((room - least) // assess))
    if possible < 1:
        asked.refuse(shortest, room, assess)
    spans = (
        (span,) if span is not None else _spans(table, shortest, room - possible * assess, until)
    )
    return Plan(begin, first, spans, delay, assess, possible, apart)


def _spans(table: TrainingTable, shortest: Span, room: float, until: int) -> tuple[Span, ...]:
    """Spans that fit into the table for all folds, and all days where these are more.

    Args:
        table: The training table.
        shortest: The shortest span.
        room: Days before the delay of the earliest fold.
        until: End of the training days, in microseconds since 1970 UTC.
    """
    if shortest.days is None:
        return (shortest,)
    fixed = [Span(days) for days in SPANS if days <= room]
    longest = fixed[-1].days or 0
    offered = [*fixed, *([Span(None), Span(None, _HALF_LIFE)] if room > longest else [])]
    return tuple(
        span for span in offered if span == fixed[0] or _rows(table, span, until) <= _MOST_ROWS
    )


def _rows(table: TrainingTable, span: Span, until: int) -> int:
    since = span_start(span, until, int(table.times.min()))
    return int(((table.times >= since) & (table.times < until)).sum())


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """Options that were given for a table, for the message that refuses them.

    Times are in microseconds since 1970 UTC, `delay` and `assess` in days; None for options that
    were not given.
    """

    table: TrainingTable
    first: int
    until: int
    end: int
    delay: float
    since: date | None
    last: date | None
    assess: int | None

    def require_days(self) -> None:
        """Raise ConfigurationError where days that were asked for are not in the table."""
        since = self.first if self.since is None else _midnight(self.since)
        if not self.first <= since < self.until <= self.end:
            given = " and ".join(
                name
                for name, value in (("--from", self.since), ("--until", self.last))
                if value is not None
            )
            raise ConfigurationError(
                f"{given}: {_day(since)} to {_day(self.until - DAY)} are no days of "
                f"{self.table.path}, which has events from {_day(self.first)} to "
                f"{_day(self.end - DAY)}"
            )

    def refuse(self, span: Span, room: float, assess: int) -> None:
        """Raise ConfigurationError with options that would work."""
        train = assess / 2 if span.days is None else span.days
        fits = int(room / 1.5 if span.days is None else room - span.days)
        total = ceil(train + self.delay + assess)
        there = (self.until - self.first) / DAY
        remedies = []
        if self.assess is not None and fits >= 1:
            remedies.append(f"give --assess {fits}")
        if self.since is not None and room - assess >= 1:
            since = self.until - int(room - assess) * DAY
            remedies.append(f"train on fewer days, with --from {_day(since)}")
        shorter = self._shorter_delay(train, assess)
        if shorter is not None:
            remedies.append(f"give --delay {shorter}, by which most labels of the table are known")
        remedies.append(f"build a table that reaches back {ceil(train + assess - room)} days more")
        raise ConfigurationError(
            f"--features: a fold before {_day(self.until)} needs {total} days ({train:g} to train "
            f"on, {self.delay:g} until labels are known, {assess} to assess), and "
            f"{self.table.path} has {max(0.0, there):.3g} days before it, from "
            f"{_day(self.first)} on; " + ", or ".join(remedies)
        )

    def _shorter_delay(self, train: float, assess: int) -> str | None:
        """A delay that covers nine of ten labels and leaves enough days, or None."""
        usual = _whole_days(self.table.usual_delay())
        if usual >= self.delay or self.last is not None:
            return None
        room = (self.end - self.first) / DAY - int(usual) - usual
        return delay_words(usual) if room - train >= assess else None


def delay_words(days: float) -> str:
    """Format a delay like the option --delay: `7d`, `90m`."""
    for unit, length in (("d", DAY), ("h", DAY // 24), ("m", DAY // 1440)):
        if microseconds(days) % length == 0:
            return f"{microseconds(days) // length}{unit}"
    return f"{ceil(microseconds(days) / 1_000_000)}s"


def _whole_days(delay: int) -> float:
    """Convert microseconds to days, rounded up above one: training days begin at midnight then."""
    return -(-delay // DAY) if delay > DAY else delay / DAY


def _midnight(day: date) -> int:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return int(start.timestamp()) * 1_000_000


def _day(time: int) -> str:
    return utc(time).date().isoformat()
