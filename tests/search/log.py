"""Input of a schedule: a small log, its events as columns, and the answer that each must get."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from unittest import mock

import numpy as np

from features.compute.bind import bind
from features.definition import FeatureSet
from features.windows import entity_windows
from schemas.batch import Decoded, EventBatch, Kind, Records
from tests.oracles.windows import Event, Place, Rules, VisibleHistory, Window, serial, value
from tests.support.fakes import FakeMessage
from tests.support.making import T0, feature_set, longs, strings

SECOND = 1_000_000
LOGS = 64
"""Number of different logs; schedules differ far more by what happens to them."""
_REACH, _CAP = 6 * SECOND, 4
_FEATURES = """\
name: search
events: {schema: event.avsc, id: id, time: at, partition_key: card}
entities: {card: card}
history: {allowed_lateness: 1s, duplicates: 3s, cap: 4, watermark_support: 2}
features:
  - {name: NUMBER, window: count, by: card, over: 6s}
  - {name: TOTAL, window: sum, of: cents, by: card, over: 3s, delay: 1s}
"""
_RULES = Rules(SECOND, 3 * SECOND, _CAP, {"card": _REACH}, support=2)
_NUMBER = Window("NUMBER", "count", "card", _REACH, current=True, default=0.0)
_TOTAL = Window(
    "TOTAL", "sum", "card", 3 * SECOND, delay=SECOND, of="cents", current=False, default=0.0
)


@cache
def search_features() -> FeatureSet:
    # Histories as short as these would never be compacted.
    with (
        mock.patch.object(entity_windows, "WORTH", 1),
        tempfile.TemporaryDirectory() as folder,
    ):
        return feature_set(Path(folder), _FEATURES)


@dataclass(frozen=True, eq=False)
class Log:
    """An input topic.

    Attributes:
        entries: Entries of each partition, as its consumers get them; None for control records
            and aborted records.
        events: All valid events, as columns.
        rows: Row in ``events`` of each valid event.
        answers: Value of the score, or of the dead letter, of each record.
    """

    entries: Sequence[Sequence[FakeMessage | None]]
    events: EventBatch
    rows: Mapping[Place, int]
    answers: Mapping[Place, bytes]
    _batches: dict[tuple[int, ...], EventBatch] = field(default_factory=dict)

    @property
    def partitions(self) -> int:
        return len(self.entries)

    def batch(self, rows: tuple[int, ...]) -> EventBatch:
        """The events at some rows; the same few batches occur again and again."""
        if rows not in self._batches:
            self._batches[rows] = self.events.take(np.array(rows, np.intp))
        return self._batches[rows]


@cache
def make_log(number: int) -> Log:
    rng = random.Random(number)
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
            time += rng.randint(0, 4 * SECOND)
            if kind < 0.22:
                bad.append((partition, offset))
            else:
                events.append(_event(rng, partition, offset, time))
            entries[-1].append(_message(partition, offset))
        # Behind the last record there may be control records.
        entries[-1] += [None] * rng.randint(0, 1)
    return _log(entries, events, bad)


def answer(place: Place, features: bytes, flags: Sequence[str]) -> bytes:
    """A score as the search compares it: place, features in float32, names of the flags."""
    return b"%d/%d %s %s" % (*place, features.hex().encode(), ",".join(flags).encode())


def place_of(value: bytes) -> Place:
    """The place of the record that a score or dead letter answers."""
    partition, _, offset = value.split(b" ")[0].partition(b"/")
    return int(partition), int(offset)


def _event(rng: random.Random, partition: int, offset: int, time: int) -> Event:
    card = f"{partition}{rng.choice('aab')}"
    # Some are late, and some come twice.
    at = time - (rng.randint(0, 6) * SECOND if rng.random() < 0.3 else 0)
    name = f"{card}-{offset - rng.choice((0, 0, 0, 0, 0, 1, 2))}"
    return Event(partition, offset, name, at, {"card": card}, {"cents": rng.randint(1, 99)})


def _message(partition: int, offset: int) -> FakeMessage:
    return FakeMessage((partition, offset), b"%d/%d" % (partition, offset), b"%d" % partition)


def _log(entries: list[list[FakeMessage | None]], events: list[Event], bad: Sequence[Place]) -> Log:
    sights = serial(_RULES, "card", events)
    answers = {at: b"%d/%d" % at for at in bad}
    answers |= {e.place: _expected(e, sights[e.place]) for e in events}
    rows = {event.place: row for row, event in enumerate(events)}
    return Log(entries, _batch(events), rows, answers)


def _expected(x: Event, sight: VisibleHistory) -> bytes:
    values = [value(window, _CAP, x, sight, ()) for window in (_NUMBER, _TOTAL)]
    carried = {
        "late": sight.late,
        "ahead": sight.ahead,
        "duplicate": sight.duplicate,
        "history_capped:card": sight.capped,
        "history_short:card": sight.short,
    }
    flags = [name for name in search_features().flags.names if carried[name]]
    return answer(x.place, np.array(values, np.float32).tobytes(), flags)


def _batch(events: Sequence[Event]) -> EventBatch:
    records = Records(
        "in",
        [b"%d" % event.partition for event in events],
        [b"%d/%d" % event.place for event in events],
        np.array([event.partition for event in events], np.int32),
        np.array([event.offset for event in events], np.int64),
        np.full(len(events), -1, np.int64),
    )
    columns = {
        "id": strings([event.id for event in events]),
        "at": longs([event.time for event in events], Kind.TIME),
        "card": strings([event.keys["card"] for event in events]),
        "cents": longs([int(event.values["cents"] or 0) for event in events]),
    }
    batch, errors = bind(search_features(), records, Decoded(columns, {}))
    assert not errors
    return batch
