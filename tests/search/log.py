"""Input of a schedule: a small log, its events as columns, and the answer that each must get."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from unittest import mock

import numpy as np

from base.errors import ErrorCode, RecordError
from base.times import DAY
from features.compute.bind import bind
from features.definition import FeatureSet
from features.windows import entity_windows
from schemas.batch import Column, Decoded, EventBatch, Kind, Records
from tests.oracles.windows import (
    Event,
    Place,
    Rules,
    VisibleHistory,
    Window,
    serial,
    timeless,
    value,
    watermark,
)
from tests.support.fakes import FakeMessage
from tests.support.making import T0, feature_set, longs, strings

SECOND = 1_000_000
LOGS = 512
"""Number of different logs; schedules differ far more by what happens to them."""
_FAR = 2 * DAY
"""Distance of a wild event time."""
_OWN, _SHARED = "card", "shop"
_REACH, _OVER, _TOTAL_DELAY, _REMEMBERED, _CAP, _SUPPORT = 6, 3, 1, 3, 4, 2
_FEATURES = """\
name: search
events: {{schema: event.avsc, id: id, time: at, partition_key: card}}
entities: {{card: card, shop: shop}}
history: {{allowed_lateness: {lateness}s, duplicates: 3s, cap: 4, watermark_support: 2}}
features:
  - {{name: NUMBER, window: count, by: card, over: 6s}}
  - {{name: TOTAL, window: sum, of: cents, by: card, over: 3s, delay: 1s}}
  - {{name: SHOP_NUMBER, window: count, by: shop, over: 6s, delay: {delay}s, across: aligned}}
  - {{name: SHOP_TOTAL, window: sum, of: cents, by: shop, over: 3s, delay: {longer}s, across: aligned}}
"""


@dataclass(frozen=True)
class Rulebook:
    """Feature set of a log, for the worker and for the oracle.

    Attributes:
        lateness: Allowed lateness in seconds.
        delay: Delay in seconds of the aligned window that ends soonest.
    """

    lateness: int
    delay: int

    @property
    def longer(self) -> int:
        return self.delay + 1

    @property
    def rules(self) -> Rules:
        reaches = [
            (self.delay * SECOND, (self.delay + _REACH) * SECOND),
            (self.longer * SECOND, (self.longer + _OVER) * SECOND),
        ]
        horizons = {_OWN: _REACH * SECOND, _SHARED: max(reach for _, reach in reaches)}
        return Rules(
            self.lateness * SECOND,
            _REMEMBERED * SECOND,
            _CAP,
            horizons,
            _SUPPORT,
            shared={_SHARED: reaches},
        )

    @property
    def windows(self) -> Sequence[Window]:
        return [
            _window("NUMBER", "count", _OWN, _REACH, current=True),
            _window("TOTAL", "sum", _OWN, _OVER, _TOTAL_DELAY, of="cents"),
            _window("SHOP_NUMBER", "count", _SHARED, _REACH, self.delay),
            _window("SHOP_TOTAL", "sum", _SHARED, _OVER, self.longer, of="cents"),
        ]


def _window(
    name: str,
    kind: str,
    entity: str,
    over: int,
    delay: int = 0,
    *,
    of: str = "",
    current: bool = False,
) -> Window:
    return Window(
        name, kind, entity, over * SECOND, delay * SECOND, of=of, current=current, default=0.0
    )


@cache
def search_features(book: Rulebook) -> FeatureSet:
    # Histories as short as these would never be compacted.
    with (
        mock.patch.object(entity_windows, "WORTH", 1),
        tempfile.TemporaryDirectory() as folder,
    ):
        text = _FEATURES.format(lateness=book.lateness, delay=book.delay, longer=book.longer)
        return feature_set(Path(folder), text)


@dataclass(frozen=True, eq=False)
class Log:
    """An input topic.

    Attributes:
        features: Feature set of its events.
        entries: Entries of each partition, as its consumers get them; None for control records
            and aborted records.
        events: All valid events, as columns.
        rows: Row in ``events`` of each valid event.
        answers: Value of the score, or of the dead letter, of each record.
        needs: For each event, the ends that other partitions must have before it comes. An event
            that comes after another partition was scored past it is in none of its windows, and
            is flagged across_late.
    """

    features: FeatureSet
    entries: Sequence[Sequence[FakeMessage | None]]
    events: EventBatch
    rows: Mapping[Place, int]
    answers: Mapping[Place, bytes]
    needs: Mapping[Place, Mapping[int, int]]
    _columns: Mapping[str, Column]
    _batches: dict[tuple[int, ...], EventBatch] = field(default_factory=dict)

    @property
    def partitions(self) -> int:
        return len(self.entries)

    def batch(self, rows: tuple[int, ...]) -> EventBatch:
        """The events at some rows; the same few batches occur again and again."""
        if rows not in self._batches:
            self._batches[rows] = self.events.take(np.array(rows, np.intp))
        return self._batches[rows]

    def decode(self, values: Sequence[bytes | None], _: object = None) -> Decoded:
        """Decode records, as the worker's decoder does."""
        null = len(self.events)
        rows = [self.rows.get(place_of(value or b""), null) for value in values]
        taken = np.array(rows, np.intp)
        columns = {path: column.take(taken) for path, column in self._columns.items()}
        return Decoded(columns, {i: INVALID for i, row in enumerate(rows) if row == null})


INVALID = RecordError(ErrorCode.BODY_TRUNCATED, "cut")
"""Error of the records that are not events."""


@cache
def make_log(number: int) -> Log:
    rng = random.Random(number)
    book = Rulebook(*rng.choice(((1, 2), (1, 5), (3, 1), (3, 2), (1, 1))))
    longest_gap = rng.choice((4, 4, 12))
    has_wild = rng.random() < 0.3
    entries: list[list[FakeMessage | None]] = []
    events: list[Event] = []
    bad: list[Place] = []
    for partition in range(rng.choice((2, 2, 3))):
        entries.append([])
        time = T0
        for offset in range(rng.choice((4, 8, 8, 16))):
            kind = rng.random()
            if kind < 0.15:
                entries[-1].append(None)
                continue
            time += rng.randint(0, rng.choice((4, longest_gap)) * SECOND)
            if kind < 0.22:
                bad.append((partition, offset))
            else:
                far = _FAR if has_wild and rng.random() < 0.1 else 0
                events.append(_event(rng, (partition, offset), time + far, events))
            entries[-1].append(_message(partition, offset))
        # Behind the last record there may be control records.
        entries[-1] += [None] * rng.randint(0, 1)
    return _log(book, entries, events, bad)


def answer(place: Place, features: bytes, flags: Sequence[str]) -> bytes:
    """A score as the search compares it: place, features in float32, names of the flags."""
    return b"%d/%d %s %s" % (*place, features.hex().encode(), ",".join(flags).encode())


def place_of(value: bytes) -> Place:
    """The place of the record that a score or dead letter answers."""
    partition, _, offset = value.split(b" ")[0].partition(b"/")
    return int(partition), int(offset)


def _event(rng: random.Random, place: Place, time: int, before: Sequence[Event]) -> Event:
    partition, offset = place
    card, shop = f"{partition}{rng.choice('aab')}", rng.choice("xxy")
    # Some are late, and some come twice.
    at = time - (rng.randint(0, 6) * SECOND if rng.random() < 0.3 else 0)
    seen = Counter(event.id for event in before)
    # Of three with one id, a fill that begins behind the first cannot tell which ones count.
    near = [event.id for event in before if abs(event.time - at) < _REMEMBERED * SECOND]
    again = [name for name in near if seen[name] == 1]
    name = rng.choice(again) if again and rng.random() < 0.3 else f"{partition}-{offset}"
    values = {"cents": rng.randint(1, 99)}
    return Event(partition, offset, name, at, {_OWN: card, _SHARED: shop}, values)


def _message(partition: int, offset: int) -> FakeMessage:
    return FakeMessage((partition, offset), b"%d/%d" % (partition, offset), b"%d" % partition)


def _log(
    book: Rulebook,
    entries: list[list[FakeMessage | None]],
    events: list[Event],
    bad: Sequence[Place],
) -> Log:
    sights = {
        _OWN: serial(book.rules, _OWN, events),
        _SHARED: timeless(book.rules, _SHARED, events),
    }
    answers = {at: b"%d/%d" % at for at in bad}
    for x in events:
        seen = {entity: of_entity[x.place] for entity, of_entity in sights.items()}
        answers[x.place] = _expected(book, x, seen)
    rows = {event.place: row for row, event in enumerate(events)}
    needs = {x.place: _needs(book, x, events, sights[_SHARED]) for x in events}
    batch = _batch(book, events)
    return Log(
        search_features(book), entries, batch, rows, answers, needs, _columns([*events, None])
    )


def _needs(
    book: Rulebook, x: Event, events: Sequence[Event], sights: Mapping[Place, VisibleHistory]
) -> Mapping[int, int]:
    """Ends without which an event would miss a member, or one behind them be across_late."""
    sight, delay = sights[x.place], book.delay * SECOND
    to_here = [m.time for m in events if m.partition == x.partition and m.offset <= x.offset]
    reached = watermark(book.rules, to_here)
    ends: dict[int, int] = {}
    for m in events:
        until = sight.base if m in sight.members else reached
        if m.partition != x.partition and not sights[m.place].late and m.time + delay <= until:
            ends[m.partition] = max(m.offset + 1, ends.get(m.partition, 0))
    return ends


def _expected(book: Rulebook, x: Event, sights: Mapping[str, VisibleHistory]) -> bytes:
    values = [value(window, _CAP, x, sights[window.entity], ()) for window in book.windows]
    every = sights.values()
    carried = {
        "late": any(sight.late for sight in every),
        "ahead": any(sight.ahead for sight in every),
        "duplicate": any(sight.duplicate for sight in every),
        # No event comes after others were scored past it, see `Log.needs`.
        "across_late": False,
        **{f"history_capped:{entity}": sight.capped for entity, sight in sights.items()},
        **{f"history_short:{entity}": sight.short for entity, sight in sights.items()},
    }
    flags = [name for name in search_features(book).flags.names if carried[name]]
    return answer(x.place, np.array(values, np.float32).tobytes(), flags)


def _columns(events: Sequence[Event | None]) -> dict[str, Column]:
    """Columns of events; None for a record that cannot be decoded."""
    return {
        "id": strings([event.id if event else None for event in events]),
        "at": longs([event.time if event else None for event in events], Kind.TIME),
        "card": strings([event.keys[_OWN] if event else None for event in events]),
        "shop": strings([event.keys[_SHARED] if event else None for event in events]),
        "cents": longs([int(event.values["cents"] or 0) if event else None for event in events]),
    }


def _batch(book: Rulebook, events: Sequence[Event]) -> EventBatch:
    records = Records(
        "in",
        [b"%d" % event.partition for event in events],
        [b"%d/%d" % event.place for event in events],
        np.array([event.partition for event in events], np.int32),
        np.array([event.offset for event in events], np.int64),
        np.full(len(events), -1, np.int64),
    )
    batch, errors = bind(search_features(book), records, Decoded(_columns(events), {}))
    assert not errors
    return batch
