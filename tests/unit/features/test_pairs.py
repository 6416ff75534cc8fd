"""Pairs: from where a fill must begin, compared with the whole log before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.definition import FeatureSet
from features.history.namespace import Namespace
from features.history.pairs import MAX_PAIRS, Pair, thinned
from features.history.watermarks import LogState
from features.windows.plan import WindowRequest
from schemas.batch import Kind
from tests.support import making
from worker.consume.offset_metadata import MAX_BYTES, OffsetMetadata, log_state_of

SECOND = 1_000_000
LOCAL = Namespace.local("test")
FEATURES = """
entities: {card: card}
features: [{name: N, window: count, by: card, over: 60s}]
history: {allowed_lateness: 5s, duplicates: 15s, watermark_support: 2, max_ahead: 20s}
"""
SPAN = 80 * SECOND


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> FeatureSet:
    return making.feature_set(tmp_path_factory.mktemp("pairs"), making.EVENTS + FEATURES)


@dataclass(frozen=True)
class Event:
    """An event of a log; times in seconds."""

    partition: int
    offset: int
    time: int
    recorded: int


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    """Logs of two partitions with gaps, jumps, and events that are late, wild or early."""
    offsets, clocks, log = [draw(st.integers(0, 3)), 0], [0, draw(st.integers(0, 30))], []
    for _ in range(draw(st.integers(1, 60))):
        partition = draw(st.integers(0, 1))
        clocks[partition] += draw(st.sampled_from([0, 1, 1, 3, 10, 50]))
        wrong = draw(st.sampled_from([0] * 8 + [-3, -40, 30, 300]))
        # Half of the wild ones have a record that says so.
        recorded = clocks[partition] + draw(st.sampled_from([0, wrong]))
        log.append(Event(partition, offsets[partition], clocks[partition] + wrong, recorded))
        offsets[partition] += draw(st.sampled_from([1, 1, 1, 4]))
    return log


def behind(made: FeatureSet, events: Sequence[Event], log: LogState) -> LogState:
    """State of the log behind a batch."""
    size = len(events)
    batch = making.events(
        made,
        size,
        id=making.strings([f"{e.partition}/{e.offset}" for e in events]),
        at=making.longs([making.T0 + e.time * SECOND for e in events], Kind.TIME),
    )
    batch.records.partitions[:] = [e.partition for e in events]
    batch.records.offsets[:] = [e.offset for e in events]
    batch.records.timestamps[:] = [(making.T0 + e.recorded * SECOND) // 1000 for e in events]
    return WindowRequest(made.histories, batch, replace(LOCAL, partitions=2), log).after


def committed(log: LogState) -> LogState:
    """The state as a restart reads it."""
    texts = {p: OffsetMetadata.of("id-1", log, p).encode() for p in (0, 1)}
    assert all(len(text) <= MAX_BYTES for text in texts.values())
    return log_state_of({p: OffsetMetadata.decode(text) for p, text in texts.items()})


@given(logs(), st.data())
def test_no_event_before_the_offset_is_needed_and_the_state_there_is_that_of_the_log(
    made: FeatureSet, log: list[Event], data: st.DataObject
) -> None:
    state, left = LogState(), list(log)
    while left:
        size = data.draw(st.sampled_from([1, 1, 2, 7]))
        after = behind(made, left[:size], state)
        fate = data.draw(st.sampled_from(["go on", "restart", "lost"]))
        if fate == "lost":
            # The worker dies before the commit, and another one reads the batch again.
            state = committed(state)
            continue
        state, left = (committed(after) if fate == "restart" else after), left[size:]
    times = {event.time for event in log}
    for partition, pairs in state.pairs.items():
        for needed in {time + by for time in times for by in (-1, 0)}:
            found = state.replay_from(partition, making.T0 + needed * SECOND)
            if found is not None:
                before = [e for e in log if e.partition == partition and e.offset < found[0]]
                assert max(e.time for e in before) <= needed
        for pair in pairs:
            found = state.replay_from(partition, pair.latest)
            assert found is not None
            offset, at = found
            before = [e for e in log if e.partition == partition and e.offset < offset]
            whole = behind(made, before, LogState())
            assert (at.highest, latest(at, partition)) == (whole.highest, latest(whole, partition))
            assert at.pairs[partition] == tuple(pair for pair in pairs if pair.offset <= offset)


def latest(state: LogState, partition: int) -> int:
    """Latest time of all events, early ones included."""
    return max(state.highest[partition][0], state.early.get(partition, 0))


def test_a_fill_of_a_steady_log_reads_little_more_than_the_span(made: FeatureSet) -> None:
    state, lengths = LogState(), list[int]()
    for second in range(1000):
        state = behind(made, [Event(0, second, second, second)], state)
        needed = state.highest[0][-1] - SPAN
        found = state.replay_from(0, needed)
        if second > 300:
            assert found is not None
            lengths.append(second - found[0])
        assert len(state.pairs.get(0, ())) <= MAX_PAIRS
    # A 16th of the span lies between two pairs, two where one was dropped between them.
    assert max(lengths) <= (SPAN + 2 * SPAN // MAX_PAIRS) // SECOND + 2


def test_with_one_wild_event_an_older_pair_or_the_start_of_the_log_serves(
    made: FeatureSet,
) -> None:
    state = LogState()
    for second in range(400):
        time = 2000 if second == 200 else second
        state = behind(made, [Event(0, second, time, time)], state)
    needed = state.highest[0][-1] - SPAN
    found = state.replay_from(0, needed)
    assert found is not None
    assert 100 < found[0] <= 200
    # Those behind the wild event serve as soon as event time has passed it.
    for second in range(2000, 2400):
        state = behind(made, [Event(0, second, second, second)], state)
    found = state.replay_from(0, state.highest[0][-1] - SPAN)
    assert found is not None
    assert found[0] > 2200


def test_pairs_are_thinned_where_they_are_close_to_each_other() -> None:
    pairs = tuple(Pair(time, (time,), time) for time in (0, 10, 11, 12, 30))
    assert [pair.offset for pair in thinned(pairs)] == [0, 10, 12, 30]
    assert [pair.offset for pair in thinned(pairs[:2])] == [10]
    assert thinned(pairs[:1]) == ()
