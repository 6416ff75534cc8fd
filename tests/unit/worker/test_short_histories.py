"""Windows that grow over histories that were compacted for shorter ones, and labels that came before."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from features.compute.enrich import enrich
from features.definition import FeatureSet
from features.history.namespace import Namespace
from features.history.watermarks import LogState
from features.store.memory import MemoryStore
from features.store.protocol import Compaction, Hashes, MarkWrite, ReadResult
from features.values.keys import Keys
from features.windows import entity_windows
from schemas.batch import Kind
from tests.support import making
from worker.consume.offset_metadata import OffsetMetadata, log_state_of
from worker.consume.topics import InputTopic
from worker.histories.location import expiry_ms
from worker.histories.record import label_namespace, note_labelled, read_record
from worker.histories.state import StateRequest, claim, source_of

TOPIC = InputTopic("payments", "id-1", 1, None)
CARD = frozenset({"card"})
DAY = 86_400_000_000
BOTH = {"card": "layout-1", "shop": "layout-1"}


def wanted(days: int = 1, cap: int = 100, **more: Any) -> StateRequest:
    """The claim of a worker that keeps members for so many days, and keys for a week longer."""
    backs = dict.fromkeys(BOTH, days * DAY)
    kept: dict[str, Any] = {"backs": backs, "cap": cap, "expire_ms": (days + 7) * DAY // 1000}
    return StateRequest(source_of(TOPIC, "fraud"), BOTH, **kept | more)


def claimed(store: MemoryStore, asked: StateRequest) -> Namespace:
    return claim(store, "cards", "fraud", asked)


# who may look further back


@pytest.mark.parametrize(
    "more",
    [{"days": 20}, {"cap": 1000}, {"days": 2, "cap": 101}],
    ids=["longer", "more members", "both"],
)
def test_histories_that_lack_members_for_longer_windows_begin_anew(more: dict[str, Any]) -> None:
    store = MemoryStore()
    first = claimed(store, wanted())
    namespace = claimed(store, wanted(**more))
    for entity in BOTH:
        assert namespace.history_prefix(entity, "x") != first.history_prefix(entity, "x")
    # Once: they are kept for long enough from then on.
    assert claimed(store, wanted(**more)) == namespace


def test_shorter_windows_are_no_change_and_longer_ones_after_them_are() -> None:
    store = MemoryStore()
    first = claimed(store, wanted(20, 1000))
    assert claimed(store, wanted(10, 100)) == first
    assert claimed(store, wanted(20, 1000)).generations != first.generations


def test_workers_with_longer_and_shorter_windows_keep_histories_side_by_side() -> None:
    store = MemoryStore()
    shorter = claimed(store, wanted())
    longer = claimed(store, wanted(20))
    # Those of the longer windows would serve both; but a worker removes what it needs no more.
    assert claimed(store, wanted()) == shorter
    assert claimed(store, wanted(20)) == longer


def test_a_record_tells_to_the_hour_when_a_worker_had_its_histories() -> None:
    store = MemoryStore()

    def seen(at: int) -> int:
        claimed(store, wanted(at=at))
        record = read_record(store, "cards", "fraud")
        assert record is not None
        return record.histories["card"].seen

    assert [seen(at) for at in (10_000, 13_599, 13_600)] == [10_000, 10_000, 13_600]


def test_keys_that_may_have_expired_make_histories_begin_anew() -> None:
    store = MemoryStore()
    first = claimed(store, wanted(9, expire_ms=8 * DAY // 1000))
    assert claimed(store, wanted(9, expire_ms=16 * DAY // 1000)).generations != first.generations
    # Kept for ever: no key ends.
    other = MemoryStore()
    first = claimed(other, wanted(9, expire_ms=None))
    assert claimed(other, wanted(9)) == first


# labels


def test_entities_that_labels_were_not_loaded_for_are_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = MemoryStore()

    def told(*labelled: str) -> bool:
        claimed(store, wanted(labelled=frozenset(labelled)))
        return "labels_not_loaded" in capsys.readouterr().out

    # A new state may have its labels before its events.
    assert not told("card")
    assert told("card")
    note_labelled(store, "cards", "fraud", ["card"])
    assert not told("card")
    assert told("card", "shop")
    note_labelled(store, "cards", "fraud", ["shop", "card"])
    assert not told("card", "shop")
    # Labels of the card were not kept this time.
    note_labelled(store, "cards", "fraud", ["shop"])
    assert told("card", "shop")


def test_labels_may_be_loaded_before_any_worker_has_begun() -> None:
    store = MemoryStore()
    note_labelled(store, "cards", "fraud", ["card"])
    labels = label_namespace(store, "cards", "fraud")
    assert claimed(store, wanted(labelled=CARD)).key == labels.key
    record = read_record(store, "cards", "fraud")
    assert record is not None
    assert record.labelled == CARD


# numbers

FEATURES = """history: {{allowed_lateness: 1h, duplicates: {duplicates}, cap: {cap}}}
entities: {{card: card}}
features:
  - {{name: N, window: count, by: card, over: {over}, across: best_effort}}
"""


class Expiring(MemoryStore):
    """Keys end after their time, as on a server. now: microseconds."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self._ends: dict[bytes, int] = {}

    def read_all(
        self, keys: Sequence[Keys], hashes: Sequence[Hashes] = (), marks: Sequence[bytes] = ()
    ) -> ReadResult:
        self.drop(key for key, end in self._ends.items() if end < self.now)
        return super().read_all(keys, hashes, marks)

    def append(
        self,
        appends: Collection[tuple[bytes, bytes]],
        compactions: Collection[Compaction] = (),
        expire_ms: int | None = None,
        marks: Sequence[MarkWrite] = (),
    ) -> None:
        super().append(appends, compactions, marks=marks)
        if expire_ms is not None:
            self._ends.update((key, self.now + 1000 * expire_ms) for key, _ in appends)


class Worker:
    """Restarts with another feature set between two batches; only store and offset metadata stay."""

    def __init__(self) -> None:
        self.store = Expiring()
        self.offset_metadata = ""
        self.offset = 0

    def run(
        self, made: FeatureSet, events: Sequence[tuple[int, str]]
    ) -> list[tuple[float, set[str]]]:
        """N and the flags of each event, a time and a card."""
        kept = made.histories
        expire_ms = expiry_ms(made, 7 * DAY // 1000, None)
        asked = StateRequest(source_of(TOPIC, "fraud"), kept.layouts, backs=kept.backs)
        namespace = claimed(
            self.store,
            replace(asked, cap=kept.rules.cap, expire_ms=expire_ms, labelled=frozenset()),
        )
        log = (
            log_state_of({0: OffsetMetadata.decode(self.offset_metadata)})
            if self.offset_metadata
            else LogState()
        )
        found: list[tuple[float, set[str]]] = []
        for first in range(0, len(events), 13):
            part = events[first : first + 13]
            batch = making.events(
                made,
                len(part),
                id=making.strings([f"e{self.offset + row}" for row in range(len(part))]),
                at=making.longs([time for time, _ in part], Kind.TIME),
                card=making.strings([card for _, card in part]),
            )
            batch.records.offsets[:] += self.offset
            self.offset += len(part)
            self.store.now = max(self.store.now, part[0][0])
            enriched = enrich(made, batch, self.store, log, namespace)
            self.store.append(enriched.writes.appends, enriched.writes.compactions, expire_ms)
            log = enriched.after
            flags = [{*made.flags.decode(mask)} for mask in enriched.flags.tolist()]
            found += zip(enriched.matrix[:, 0].tolist(), flags, strict=True)
        self.offset_metadata = OffsetMetadata.of("id-1", log, 0).encode()
        return found


RULES = [
    {"over": "1d", "duplicates": "1d", "cap": 1000},
    {"over": "5d", "duplicates": "1d", "cap": 1000},
    {"over": "20d", "duplicates": "1d", "cap": 1000},
    {"over": "20d", "duplicates": "1d", "cap": 5},
    {"over": "1d", "duplicates": "5d", "cap": 1000},
]
ORDERS = [
    [0, 2],
    [0, 1, 2],
    [3, 2],
    [2, 0, 2],
    [4, 1],
    [0, 1, 0, 1, 2],
    [2, 3, 2],
    [1, 3, 0, 2, 3, 1],
]


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_a_number_that_is_not_flagged_short_is_that_of_the_whole_log(
    tmp_path: Path, order: list[int], seed: int
) -> None:
    sets = [making.EVENTS + FEATURES.format(**rules) for rules in RULES]
    draw = random.Random(seed)
    events, time = [], making.T0
    for _ in range(1800):
        time += draw.randrange(DAY // 6)
        # Two busy cards, and many that are seldom seen.
        card = draw.choice(["a", "a", "a", "b", str(draw.randrange(40))])
        events.append((time - draw.choice([0, 0, 0, DAY // 48]), card))
    with mock.patch.object(entity_windows, "WORTH", 1):
        made = [making.feature_set(_folder(tmp_path, i), text) for i, text in enumerate(sets)]
        whole = {number: Worker().run(made[number], events) for number in {*order}}
        worker, size, found = Worker(), len(events) // len(order), []
        for step, number in enumerate(order):
            part = slice(step * size, (step + 1) * size)
            found = worker.run(made[number], events[part])
            right = whole[number][part]
            assert [told for told in found if "history_short:card" not in told[1]] == [
                known
                for told, known in zip(found, right, strict=True)
                if "history_short:card" not in told[1]
            ]
    # Histories have filled: the last are not flagged.
    assert "history_short:card" not in found[-1][1]


def _folder(parent: Path, number: int) -> Path:
    folder = parent / str(number)
    folder.mkdir()
    return folder
