"""Offset metadata: what is committed with an offset, and what is made of metadata that others wrote."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.errors import ConfigurationError
from features.compute.bind import EARLIEST, LATEST
from features.definition.spec import MAX_WATERMARK_SUPPORT
from features.history.pairs import MAX_PAIRS, Pair
from features.history.recent_records import SPAN, RecentRecords
from features.history.watermarks import LogState, enough_to_begin
from worker.consume.offset_metadata import MAX_BYTES, OffsetMetadata, log_state_of

TIMES = st.integers(-(2**63), 2**63 - 1)
DIGESTS = st.integers(0, 16**12 - 1).map("{:012x}".format)
FALLING = st.lists(TIMES, max_size=4).map(lambda times: tuple(sorted(times, reverse=True)))
PAIRS = st.lists(
    st.builds(Pair, st.integers(0, 2**63 - 1), FALLING.filter(bool), TIMES), max_size=4
)
METADATA = st.builds(
    OffsetMetadata,
    st.none() | st.text(max_size=40),
    FALLING,
    st.dictionaries(DIGESTS, TIMES, max_size=3),
    st.dictionaries(DIGESTS, st.integers(0, 199), max_size=3),
    st.none() | TIMES,
    PAIRS.map(tuple),
)


@given(METADATA)
def test_metadata_is_read_as_it_was_written(metadata: OffsetMetadata) -> None:
    assert OffsetMetadata.decode(metadata.encode()) == metadata


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "7",
        "{",
        "[" * 100_000,
        "9" * 5000,
        '{"highest_event_time": 1e999}',
        '{"topic_id": 7, "highest_event_time": "7"}',
        '{"highest_event_time": true}',
        '{"highest_event_time": 7.0}',
        '{"lowest_event_time": 7}',
        '{"lowest_event_time": {"a": "7", "b": true}}',
        '{"highest_event_times": 7}',
        '{"highest_event_times": [7, "7"]}',
        '{"highest_event_times": [true]}',
        '{"counted_events": 7}',
        '{"counted_events": {"a": "7", "b": true}}',
        '{"version": "7"}',
        '{"version": true}',
        '{"version": 1}',
        '{"version": 1, "state": 7}',
        '{"version": 1, "state": "?"}',
        '{"version": 1, "state": "gA=="}',
        '{"version": 1, "state": "Ag=="}',
        '{"version": 1, "pairs": "AgAA"}',
        '{"version": 1, "pairs": ["AgAA"]}',
    ],
)
def test_metadata_of_other_programs_says_nothing(text: str) -> None:
    assert OffsetMetadata.decode(text) == OffsetMetadata()


@given(st.text(max_size=80))
def test_any_metadata_can_be_read(text: str) -> None:
    OffsetMetadata.decode(text)


def test_fields_that_a_version_does_not_know_are_ignored() -> None:
    written = OffsetMetadata(
        "a", (5, 4), {"0" * 12: 3}, {}, 7, (Pair(3, (2, 1), 2),), RecentRecords(3, 0b101)
    )
    more = json.dumps({**json.loads(written.encode()), "marks": [1]})
    assert OffsetMetadata.decode(more) == written


def test_metadata_of_a_later_worker_is_refused_with_the_remedy() -> None:
    later = json.dumps({**json.loads(OffsetMetadata("a", (5,)).encode()), "version": 2})
    with pytest.raises(ConfigurationError, match=r"has version 2, .* run that one or a later one"):
        OffsetMetadata.decode(later)


@pytest.mark.parametrize("damaged", ["?", "gA==", "Ag==", 7])
def test_damaged_metadata_still_tells_the_topic(damaged: object) -> None:
    values = {**json.loads(OffsetMetadata("a", (5,)).encode()), "state": damaged}
    assert OffsetMetadata.decode(json.dumps(values)) == OffsetMetadata("a")


def test_metadata_of_an_earlier_version_counts_no_events() -> None:
    before = '{"topic_id": "a", "highest_event_times": [5, 4], "lowest_event_time": {"h": 3}}'
    assert OffsetMetadata.decode(before) == OffsetMetadata("a", (5, 4), {"h": 3}, {})


def test_the_highest_time_in_metadata_of_an_earlier_version_is_that_of_one_event() -> None:
    assert OffsetMetadata.decode('{"topic_id": "a", "highest_event_time": 5}') == OffsetMetadata(
        "a", (5,)
    )


EVENT_TIMES = st.integers(EARLIEST, LATEST)


def falling(size: int) -> st.SearchStrategy[tuple[int, ...]]:
    times = st.lists(EVENT_TIMES, min_size=size, max_size=size)
    return times.map(lambda times: tuple(sorted(times, reverse=True)))


LARGEST = st.builds(
    OffsetMetadata,
    st.just("x" * 22),
    falling(MAX_WATERMARK_SUPPORT),
    st.dictionaries(DIGESTS, EVENT_TIMES, min_size=31, max_size=31),
    st.just({}),
    EVENT_TIMES,
    st.just(()),
    st.just(RecentRecords(SPAN, (1 << SPAN) - 1)),
)


@given(LARGEST, st.integers(1, MAX_WATERMARK_SUPPORT).flatmap(falling))
def test_the_longest_metadata_is_short_and_has_the_pairs_that_there_is_room_for(
    metadata: OffsetMetadata, highest: tuple[int, ...]
) -> None:
    """Of the most support, and of as many entities as there are flags for."""
    pairs = tuple(Pair(2**40 * of, highest, LATEST) for of in range(MAX_PAIRS))
    for some in (metadata, OffsetMetadata("x" * 22, highest)):
        text = replace(some, pairs=pairs).encode()
        assert len(text.encode()) <= MAX_BYTES
        read = OffsetMetadata.decode(text)
        assert replace(read, pairs=()) == some
        assert {*read.pairs} <= {*pairs}
        # There is room for all pairs of the usual support, however far apart their times are.
        assert read.pairs == pairs or some is metadata or len(highest) > 3


def test_metadata_of_histories_that_have_not_begun_is_short() -> None:
    few = dict.fromkeys(
        (f"{entity:012x}" for entity in range(31)), enough_to_begin(MAX_WATERMARK_SUPPORT)
    )
    latest = (LATEST,) * MAX_WATERMARK_SUPPORT
    assert len(OffsetMetadata("x" * 22, latest, {}, few).encode()) <= MAX_BYTES


def test_metadata_of_partitions_tells_the_state_of_the_log() -> None:
    pairs = (Pair(2, (4, 3), 4), Pair(5, (9, 8), 10))
    metadata = {
        0: OffsetMetadata("a", (7,), {"h": 3}),
        1: OffsetMetadata("a"),
        2: OffsetMetadata("a", (9, 8), {}, {"h": 4}, 10, pairs, RecentRecords(4, 0b1000)),
    }
    log = LogState(
        {0: (7,), 2: (9, 8)},
        {0: {"h": 3}},
        {2: {"h": 4}},
        early={2: 10},
        pairs={2: pairs},
        recent={2: RecentRecords(4, 0b1000)},
    )
    assert log_state_of(metadata) == log
    assert {p: OffsetMetadata.of("a", log, p) for p in metadata} == metadata
