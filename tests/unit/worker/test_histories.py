"""Histories of a worker: written before they are read, where they are, and whose they are."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from base.errors import (
    BatchAbortedError,
    ConfigurationError,
    DependencyUnavailableError,
    HistoriesLostError,
    StoreAwayError,
)
from base.times import DAY
from features.history.marks import MARK, NOT_BEGUN, Mark
from features.history.namespace import Namespace, record_key
from features.history.watermarks import LogState
from features.store.memory import MemoryStore
from features.store.protocol import (
    Compaction,
    Hashes,
    MarkWrite,
    OnlineStore,
    ReadResult,
    ServerRun,
    Writes,
)
from features.values.hash64 import KEY_BYTES
from features.values.keys import Keys
from features.windows.plan import WindowPlan
from features.windows.window import Across, Aggregate, HistoryRules, Window
from schemas.batch import Records
from tests.support.checkpoints import Guards
from tests.support.stored_state import find_namespace
from worker.consume.topics import InputTopic, retention_of
from worker.histories import Histories, HistoryWrites, NoHistories, StoredHistories
from worker.histories.location import StateLocation
from worker.histories.record import label_namespace, read_record
from worker.histories.state import SEEN_EVERY_S, StateRequest, claim, note_seen, source_of
from worker.process.metrics import REGISTRY
from worker.process.watchdog import Watchdog

NAMESPACE = Namespace("cards", "fraud", "id-1", 3, bytes(KEY_BYTES))
RECORD = record_key("cards", "fraud")
TOPIC = InputTopic("payments", "id-1", 3, 604_800_000)
COMPACTION = Compaction(b"h:2", b"long prefix", b"kept")
NO_SOURCE: Any = SimpleNamespace(bounds=None, clock=lambda: 0.0)
NO_EVENTS = Records("payments", [], [], *np.empty((3, 0), np.int64)), np.empty(0, np.int64)
PLAN = WindowPlan(
    [Window("n", Aggregate.COUNT, "card", DAY, 0, None, None, True, Across.OWN, 0.0, frozenset())],
    HistoryRules(0, DAY, 1_000, 3, None),
)
DIGEST = NAMESPACE.history_digest("card", PLAN.layouts["card"])
MARKS = NAMESPACE.marks_key("card", PLAN.layouts["card"])
WRITES = Writes([(b"h:1", b"12345678"), (b"h:2", b"1234")], [COMPACTION])
_PATIENCE_S = 20.0
_DAY_MS = 86_400_000


class Store(MemoryStore):
    """Appends as ``then`` lets it."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.then = then
        self.appended: list[tuple[object, object, int | None]] = []

    def append(
        self,
        appends: Collection[tuple[bytes, bytes]],
        compactions: Collection[Compaction] = (),
        expire_ms: int | None = None,
        marks: Sequence[MarkWrite] = (),
    ) -> None:
        self.appended.append((appends, compactions, expire_ms))
        self.then()
        super().append((), (), expire_ms, marks)


def histories_on(
    store: OnlineStore, watchdog: Watchdog | None = None, expire_ms: int | None = 5
) -> StoredHistories:
    histories = StoredHistories(
        store,
        PLAN,
        lambda _: StateLocation(NAMESPACE, expire_ms),
        watchdog or Guards(),
        NO_SOURCE,
        fills=False,
    )
    histories.open(TOPIC)
    return histories


def restore(histories: Histories, log: LogState) -> LogState:
    """Restore in one go."""
    steps = histories.restore(log)
    try:
        while True:
            next(steps)
    except StopIteration as end:
        state: LogState = end.value
        return state


def log_at(offsets: Mapping[int, int], time: int = DAY) -> LogState:
    """State of a log in which all events have the same time."""
    return LogState(dict.fromkeys(offsets, (time,) * 3), offsets=dict(offsets))


def read_at(histories: StoredHistories, store: OnlineStore, log: LogState) -> None:
    """Read for a micro-batch without events."""
    histories.checked(store, *NO_EVENTS, log).read_all([])


def announced(histories: StoredHistories, writes: Writes, begin: int, end: int) -> HistoryWrites:
    """Writes of a micro-batch of partition 0."""
    return histories.announce(writes, log_at({0: begin}), log_at({0: end}, 2 * DAY), {0: end})


def sample(name: str) -> float:
    return REGISTRY.get_sample_value(f"fraud_worker_{name}") or 0.0


# read your writes


def test_reads_of_histories_wait_for_announced_writes() -> None:
    go, order = threading.Event(), list[str]()

    def slowly() -> None:
        assert go.wait(_PATIENCE_S)
        order.append("written")

    watchdog = Guards()
    histories = histories_on(Store(slowly), watchdog)
    restore(histories, log_at({0: 0}))
    writes = announced(histories, WRITES, 0, 2)
    writing = threading.Thread(target=histories.write, args=(writes,))

    def read() -> None:
        histories.await_written()
        order.append("read")

    reading = threading.Thread(target=read)
    # The reader comes first: between the announcement and the write nothing may be read.
    reading.start()
    until = time.monotonic() + _PATIENCE_S
    while watchdog.guarded != ["await_histories"]:
        assert time.monotonic() < until
    writing.start()
    go.set()
    for thread in (reading, writing):
        thread.join(_PATIENCE_S)
    assert order == ["written", "read"]
    assert watchdog.guarded == ["await_histories", "write_histories"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (DependencyUnavailableError("out of memory"), StoreAwayError),
        (ConfigurationError("no right"), ConfigurationError),
        (ZeroDivisionError("a bug"), ZeroDivisionError),
    ],
    ids=lambda value: value.__class__.__name__ if isinstance(value, Exception) else None,
)
def test_a_write_that_fails_is_told_and_no_reader_waits_for_it(
    error: Exception, told: type[Exception]
) -> None:
    def fail() -> None:
        raise error

    store = Store(fail)
    histories = histories_on(store)
    restore(histories, log_at({0: 0}))
    writes = announced(histories, WRITES, 0, 2)
    before = sample("history_bytes_total")
    with pytest.raises(told, match=str(error)):
        histories.write(writes)
    histories.await_written()
    assert sample("history_bytes_total") == before
    # No mark stands for members that may be missing.
    with pytest.raises(HistoriesLostError):
        read_at(histories, store, log_at({0: 2}))


def test_a_store_that_is_away_aborts_the_batch_for_certain() -> None:
    assert issubclass(StoreAwayError, BatchAbortedError)


def test_a_batch_without_members_writes_its_marks_alone() -> None:
    store, watchdog = Store(), Guards()
    histories = histories_on(store, watchdog)
    restore(histories, log_at({0: 0}))
    histories.write(announced(histories, Writes(), 0, 7))
    histories.await_written()
    assert store.appended == [((), (), 5)]
    assert watchdog.guarded == ["write_histories"]
    read_at(histories, store, log_at({0: 7}))


def test_a_write_has_its_expiry_and_is_counted() -> None:
    store = Store()
    names = ("history_bytes_total", "history_compactions_total")
    before = [sample(name) for name in names]
    histories = histories_on(store, expire_ms=1234)
    restore(histories, log_at({0: 0}))
    histories.write(announced(histories, WRITES, 0, 2))
    assert store.appended[-1:] == [(WRITES.appends, WRITES.compactions, 1234)]
    assert [sample(n) - b for n, b in zip(names, before, strict=True)] == [12.0, 1.0]


# where they are


def test_partitions_that_came_later_are_refused() -> None:
    histories = histories_on(MemoryStore())
    restore(histories, log_at({}))
    restore(histories, log_at({0: 0, 2: 0}))
    with pytest.raises(
        ConfigurationError, match=r"partition 3 is new.*fraud is of 3.*--from-topic"
    ):
        restore(histories, log_at({1: 0, 3: 0}))


def test_without_windows_there_is_nothing_to_find_or_to_wait_for() -> None:
    histories, store, log = NoHistories(), MemoryStore(), log_at({99: 0})
    histories.open(TOPIC)
    assert restore(histories, log) is log
    assert histories.checked(store, *NO_EVENTS, log) is store
    histories.write(histories.announce(WRITES, log, log, {99: 1}))
    histories.await_written()
    assert histories.namespace() is None


# lost members


def begun(store: OnlineStore, log: LogState) -> StoredHistories:
    """Histories that hold all events before the state of the log."""
    histories = histories_on(store)
    restore(histories, replace(log, offsets=dict.fromkeys(log.offsets, 0)))
    before = log_at(dict.fromkeys(log.offsets, 0))
    histories.write(histories.announce(WRITES, before, log, log.offsets))
    return histories


def lose(store: OnlineStore, mark: Mark | None) -> None:
    """Put another mark of partition 0 in place of the one that is there."""
    server = store.read_all([], [], [MARKS]).server
    assert server is not None
    text = bytes(MARK.itemsize) if mark is None else mark.encode(server)
    store.write_marks([MarkWrite(MARKS, 0, None, text)])


@pytest.mark.parametrize("mark", [None, Mark(0, 4)], ids=["all", "the newest"])
def test_a_read_notices_that_members_are_lost(mark: Mark | None) -> None:
    store, log = MemoryStore(), log_at({0: 5, 1: 8})
    histories = begun(store, log)
    read_at(histories, store, log)
    lose(store, mark)
    with pytest.raises(HistoriesLostError, match="histories of card: the mark of partition 0 "):
        read_at(histories, store, log)
    # A worker that reads other partitions goes on.
    read_at(histories, store, log_at({1: 8}))


def test_a_write_notices_that_members_are_lost_and_no_reader_waits_for_it() -> None:
    store, log = MemoryStore(), log_at({0: 5})
    histories = begun(store, log)
    writes = announced(histories, WRITES, 5, 9)
    lose(store, None)
    with pytest.raises(HistoriesLostError):
        histories.write(writes)
    histories.await_written()


def test_a_write_notices_the_loss_of_members_that_it_does_not_append_again() -> None:
    """A failover between read and write: the mark falls back, not below the micro-batch."""
    store = MemoryStore()
    histories = begun(store, log_at({0: 5}))
    histories.write(announced(histories, WRITES, 5, 9))  # applied, and not committed
    restore(histories, log_at({0: 5}))
    writes = announced(histories, WRITES, 5, 7)
    lose(store, Mark(0, 5))
    with pytest.raises(HistoriesLostError):
        histories.write(writes)


def test_members_ahead_of_the_checkpoint_are_no_loss() -> None:
    store = MemoryStore()
    histories = begun(store, log_at({0: 5}))
    behind = log_at({0: 3})
    assert restore(histories, behind) == behind
    read_at(histories, store, behind)
    # Scored again: the mark stays where it was.
    histories.write(announced(histories, WRITES, 3, 4))
    read_at(histories, store, log_at({0: 5}))


@pytest.mark.parametrize(
    ("server", "is_lost"),
    [
        (ServerRun("run", 0), False),
        (ServerRun("run", 1), True),
        (ServerRun("started again", 0), False),
        (ServerRun("started again", 1), True),
    ],
)
def test_evicted_keys_are_noticed_although_their_marks_stay(
    server: ServerRun, is_lost: bool
) -> None:
    class Evicting(MemoryStore):
        server = ServerRun("run", 0)

        def read_all(
            self,
            keys: Sequence[Keys],
            hashes: Sequence[Hashes] = (),
            marks: Sequence[bytes] = (),
        ) -> ReadResult:
            return super().read_all(keys, hashes, marks)._replace(server=self.server)

    store, log = Evicting(), log_at({0: 5})
    histories = begun(store, log)
    store.server = server
    if is_lost:
        with pytest.raises(HistoriesLostError, match="has evicted keys"):
            read_at(histories, store, log)
        restore(histories, log)
    read_at(histories, store, log)


def test_the_number_of_filled_events_is_known_until_a_checkpoint_tells_it() -> None:
    store, log = MemoryStore(), log_at({0: 2})
    filled = Mark(0, 2, lowest=NOT_BEGUN, counted=2)
    lose(store, filled)
    assert restore(histories_on(store), log).counted == {0: {DIGEST: 2}}
    later = replace(log, counted={0: {DIGEST: 1}})
    assert restore(histories_on(store), later).counted == {0: {DIGEST: 1}}
    begun_since = replace(log, lowest={0: {DIGEST: DAY}})
    assert restore(histories_on(store), begun_since).counted == {}


def test_histories_that_were_never_opened_close() -> None:
    StoredHistories(
        MemoryStore(), PLAN, lambda _: StateLocation(NAMESPACE, 5), Guards(), NO_SOURCE, fills=True
    ).close()


def test_lost_histories_begin_again_at_the_checkpoint_and_forget_how_far_they_reached() -> None:
    known = {DIGEST: DAY, "of another entity": 3}
    log = replace(log_at({0: 5}), lowest={0: known}, counted={0: {DIGEST: 2}})
    store = MemoryStore()
    histories = begun(store, log)
    assert restore(histories, log).lowest == {0: known}
    lose(store, None)
    for _ in range(2):  # also after a crash before the next checkpoint
        restored = restore(histories_on(store), log)
        assert (restored.lowest, restored.counted) == ({0: {"of another entity": 3}}, {})
    later = replace(log, offsets={0: 6})
    histories = histories_on(store)
    restore(histories, log)
    histories.write(announced(histories, WRITES, 5, 6))
    # A checkpoint behind the begin says how far back they reach.
    assert restore(histories_on(store), later).lowest == {0: known}


def test_a_lost_state_is_claimed_again() -> None:
    store, log = MemoryStore(), log_at({0: 5})
    places = iter([replace(NAMESPACE, key=bytes([n] * KEY_BYTES)) for n in (0, 1, 2, 2)])
    histories = StoredHistories(
        store, PLAN, lambda _: StateLocation(next(places), 5), Guards(), NO_SOURCE, fills=False
    )
    histories.open(TOPIC)
    # The record is lost again while the histories of the second one begin.
    restore(histories, log)
    assert histories.namespace().key == bytes([2] * KEY_BYTES)
    read_at(histories, store, log)


def test_a_worker_notes_at_times_that_it_has_its_histories_and_claims_no_others() -> None:
    store = MemoryStore()
    own = claimed(store, wanted(layouts={"card": "l-1", "shop": "l-1"}, at=DAY_S))
    claimed(store, wanted(layouts={"card": "l-2"}, at=DAY_S))
    record = read_record(store, "cards", "fraud")
    assert record is not None
    note_seen(store, own, ["card"], DAY_S + SEEN_EVERY_S - 1)
    assert read_record(store, "cards", "fraud") == record
    note_seen(store, own, ["card"], 2 * DAY_S)
    (noted,) = (replace(one, seen=2 * DAY_S) for one in record.beside["card"])
    assert read_record(store, "cards", "fraud") == replace(record, beside={"card": (noted,)})
    store.drop([record_key("cards", "fraud")])
    note_seen(store, own, ["card"], 3 * DAY_S)
    assert read_record(store, "cards", "fraud") is None


# whose they are


DAY_S = 86_400


def wanted(topic: InputTopic = TOPIC, group: str = "fraud", **more: Any) -> StateRequest:
    return StateRequest(source_of(topic, group), **{"layouts": {"card": "layout-1"}} | more)


def claimed(store: OnlineStore, asked: StateRequest) -> Namespace:
    return claim(store, "cards", "fraud", asked)


def test_a_new_state_is_claimed_for_the_topic_and_found_again_from_the_store_alone() -> None:
    store = MemoryStore()
    assert find_namespace(store, "cards", "fraud") is None
    namespace = claimed(store, wanted())
    assert (namespace.topic_id, namespace.partitions) == ("id-1", 3)
    assert find_namespace(store, "cards", "fraud") == namespace
    assert claimed(store, wanted()) == namespace
    (value,) = store.read([RECORD])
    record = json.loads(value or b"")
    (begun,) = record.pop("histories")["card"]
    assert begun["layout"] == "layout-1"
    assert record == {
        "topic": "payments",
        "topic_id": "id-1",
        "partitions": 3,
        "group": "fraud",
        "key": namespace.key.hex(),
        "labelled": [],
    }


def test_a_state_has_a_key_of_its_own_and_nothing_shows_it() -> None:
    store = MemoryStore()
    namespace = claimed(store, wanted())
    assert len(namespace.key) == KEY_BYTES
    assert claim(store, "cards", "other", wanted()).key != namespace.key
    record = read_record(store, "cards", "fraud")
    for shown in (str(namespace), str(record), str(namespace.label_prefix("card"))):
        assert str(namespace.key) not in shown
        assert namespace.key.hex() not in shown


def test_a_lost_key_is_a_lost_state_and_never_a_mix() -> None:
    before, after = claimed(MemoryStore(), wanted()), claimed(MemoryStore(), wanted())
    assert before.history_prefix("card", "x") != after.history_prefix("card", "x")
    assert before.label_prefix("card") != after.label_prefix("card")
    # All but the key are the same.
    other = replace(after, generations=before.generations)
    assert before.history_prefix("card", "x") != other.history_prefix("card", "x")
    assert before == replace(other, key=before.key)


def test_labels_that_come_before_any_worker_have_the_key_of_the_state() -> None:
    store = MemoryStore()
    labels = label_namespace(store, "cards", "fraud")
    assert find_namespace(store, "cards", "fraud") is None
    namespace = claimed(store, wanted())
    assert namespace.label_prefix("card") == labels.label_prefix("card")
    assert label_namespace(store, "cards", "fraud").key == namespace.key == labels.key


def test_more_partitions_are_refused_unless_histories_are_filled_from_all_of_them() -> None:
    store, more = MemoryStore(), InputTopic("payments", "id-1", 4, None)
    namespace = claimed(store, wanted())
    with pytest.raises(
        ConfigurationError, match=r"partitions changed.* features fill --from-topic"
    ):
        claimed(store, wanted(more))
    assert find_namespace(store, "cards", "fraud") == namespace
    moved = claimed(store, wanted(more, moves=True))
    assert (moved.partitions, moved.key) == (4, namespace.key)
    assert moved.generations != namespace.generations
    assert claimed(store, wanted(more)) == moved
    with pytest.raises(ConfigurationError, match="another topic"):
        claimed(store, wanted(InputTopic("others", "id-2", 4, None), moves=True))


def test_states_and_feature_sets_are_apart() -> None:
    store = MemoryStore()
    namespace = claimed(store, wanted())
    other = InputTopic("payments", "id-2", 8, None)
    assert claim(store, "cards", "challenger", wanted(other)).topic_id == "id-2"
    assert claim(store, "merchants", "fraud", wanted(other)).partitions == 8
    assert find_namespace(store, "cards", "fraud") == namespace


def test_an_accepted_topic_takes_the_place_of_the_one_before_with_empty_histories() -> None:
    store = MemoryStore()
    first = claimed(store, wanted())
    again = InputTopic("payments", "id-9", 5, None)
    with pytest.raises(ConfigurationError):
        claimed(store, wanted(again))
    namespace = claimed(store, wanted(again, accept_topic=True))
    assert (namespace.topic_id, namespace.partitions) == ("id-9", 5)
    assert find_namespace(store, "cards", "fraud") == namespace
    # Back to the first, as after a cluster was down: its histories have a gap by now.
    back = claimed(store, wanted(accept_topic=True))
    assert back.history_prefix("card", "layout-1") != first.history_prefix("card", "layout-1")


@pytest.mark.parametrize(
    "topic", [InputTopic("others", "id-9", 3, None), InputTopic("payments", "id-1", 4, None)]
)
def test_accept_topic_allows_no_other_name_or_partitions(
    topic: InputTopic,
) -> None:
    store = MemoryStore()
    claimed(store, wanted())
    with pytest.raises(ConfigurationError):
        claimed(store, wanted(topic, accept_topic=True))


@pytest.mark.parametrize(
    ("topic", "why", "remedy"),
    [
        (InputTopic("others", "id-9", 3, None), "another topic", "kafka.input_topic to payments"),
        (InputTopic("payments", "id-9", 3, None), "created again", "kafka.accept_topic: id-9"),
    ],
    ids=["another", "anew"],
)
def test_a_state_of_another_log_is_refused_with_both_remedies(
    topic: InputTopic, why: str, remedy: str
) -> None:
    store = MemoryStore()
    namespace = claimed(store, wanted())
    with pytest.raises(ConfigurationError) as refused:
        claimed(store, wanted(topic))
    message = str(refused.value)
    assert why in message
    assert remedy in message
    assert "name another store.state, whose histories are filled from the topic" in message
    assert f"(id {topic.topic_id}, partitions {topic.partitions})" in message
    assert find_namespace(store, "cards", "fraud") == namespace


def test_a_state_of_another_group_is_refused_until_it_is_accepted() -> None:
    store = MemoryStore()
    namespace = claimed(store, wanted(group="refill"))
    with pytest.raises(ConfigurationError) as refused:
        claimed(store, wanted())
    assert "fraud holds histories of group refill, kafka.group is fraud" in str(refused.value)
    assert "name another store.state" in str(refused.value)
    assert "store.accept_group: refill" in str(refused.value)
    with pytest.raises(ConfigurationError):
        claimed(store, wanted(accept_group="another"))
    assert claimed(store, wanted(accept_group="refill")) == namespace
    with pytest.raises(ConfigurationError, match=r"of group fraud, kafka\.group is refill"):
        claimed(store, wanted(group="refill"))


class Racing(MemoryStore):
    """Another worker's claim comes right after the first look."""

    def __init__(self, other: StateRequest) -> None:
        super().__init__()
        self._other: StateRequest | None = other

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        found = super().read(keys)
        if self._other is not None:
            other, self._other = self._other, None
            claim(self, "cards", "fraud", other)
        return found


def test_of_two_workers_that_claim_a_state_at_once_for_different_topics_one_gives_way() -> None:
    other = wanted(InputTopic("others", "id-9", 1, None))
    with pytest.raises(ConfigurationError, match="another topic"):
        claimed(Racing(other), wanted())


def test_two_workers_that_claim_a_state_at_once_have_one_key() -> None:
    store = Racing(wanted())
    assert claimed(store, wanted()) == find_namespace(store, "cards", "fraud")


@pytest.mark.parametrize(
    "value",
    [
        b"no JSON",
        b"[1]",
        b"3",
        b"\xff",
        b'{"topic": "payments", "topic_id": "id-1", "partitions": 3}',
        b'{"key": "00", "histories": {}}',
        b'{"key": "00112233445566778899aabbccddeeff", "histories": []}',
        b'{"key": "00112233445566778899aabbccddeeff", "histories": {}, "topic": "x"}',
    ],
)
def test_a_damaged_record_and_one_of_an_earlier_version_are_refused(value: bytes) -> None:
    store = MemoryStore()
    store.write([(RECORD, value)])
    for look in (find_namespace, label_namespace):
        with pytest.raises(
            ConfigurationError,
            match=r"store\.state: the value at fw:cards:fraud:topic .* name another store\.state",
        ):
            look(store, "cards", "fraud")


def test_a_topic_that_was_renamed_is_the_same_topic() -> None:
    store = MemoryStore()
    namespace = claimed(store, wanted(replace(TOPIC, name="before")))
    assert read_record(MemoryStore(), "cards", "fraud") is None
    assert claimed(store, wanted()) == namespace


# what they keep


@pytest.mark.parametrize(
    "layouts",
    [{"card": "layout-2", "shop": "layout-1"}, {"card": "layout-2"}],
    ids=["beside others", "alone"],
)
def test_histories_that_keep_other_values_begin_anew_and_the_others_stay(
    layouts: dict[str, str],
) -> None:
    store = MemoryStore()
    first = claimed(store, wanted(layouts={"card": "layout-1", "shop": "layout-1"}))
    namespace = claimed(store, wanted(layouts=layouts))
    assert namespace.history_prefix("shop", "x") == first.history_prefix("shop", "x")
    assert namespace.history_prefix("card", "x") != first.history_prefix("card", "x")
    assert claimed(store, wanted(layouts=layouts)) == namespace


def test_workers_with_other_windows_keep_their_histories_side_by_side(
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = MemoryStore()
    old, new = wanted(), wanted(layouts={"card": "layout-2"})
    first = claimed(store, old)
    assert "histories_begin_anew" not in capsys.readouterr().out
    second = claimed(store, new)
    assert "histories_begin_anew" in capsys.readouterr().out
    assert second.generations != first.generations
    # Each claims its own again, whenever partitions move.
    for _ in range(2):
        assert claimed(store, old) == first
        assert claimed(store, new) == second
    assert "histories_begin_anew" not in capsys.readouterr().out


def test_an_entity_without_windows_for_a_while_keeps_its_place() -> None:
    store = MemoryStore()
    first = claimed(store, wanted())
    claimed(store, wanted(layouts={"shop": "layout-1"}))
    assert claimed(store, wanted()).generations["card"] == first.generations["card"]


@pytest.mark.parametrize(
    ("settings", "retention_ms"),
    [({"retention.ms": "1000"}, 1000), ({"retention.ms": "-1"}, None), ({}, None)],
)
def test_retention_is_the_topics_and_unknown_where_it_may_not_be_read(
    settings: dict[str, str], retention_ms: int | None
) -> None:
    assert retention_of(settings) == retention_ms
