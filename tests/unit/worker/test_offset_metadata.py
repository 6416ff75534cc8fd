"""Offset metadata: what is committed with an offset, and what is made of metadata that others wrote."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.compute.bind import LATEST
from features.definition.spec import MAX_WATERMARK_SUPPORT
from features.history.watermarks import LogState, enough_to_begin
from worker.consume.offset_metadata import OffsetMetadata, log_state_of

TIMES = st.integers(-(2**63), 2**63 - 1)
METADATA = st.builds(
    OffsetMetadata,
    st.none() | st.text(max_size=40),
    st.lists(TIMES, max_size=4).map(tuple),
    st.dictionaries(st.text(max_size=12), TIMES, max_size=3),
    st.dictionaries(st.text(max_size=12), st.integers(0, 199), max_size=3),
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
    ],
)
def test_metadata_of_other_programs_says_nothing(text: str) -> None:
    assert OffsetMetadata.decode(text) == OffsetMetadata()


@given(st.text(max_size=80))
def test_any_metadata_can_be_read(text: str) -> None:
    OffsetMetadata.decode(text)


def test_fields_of_later_versions_are_passed_over() -> None:
    later = json.dumps({"topic_id": "a", "highest_event_times": [5, 4], "marks": [1]})
    assert OffsetMetadata.decode(later) == OffsetMetadata("a", (5, 4))


def test_metadata_of_an_earlier_version_counts_no_events() -> None:
    before = '{"topic_id": "a", "highest_event_times": [5, 4], "lowest_event_time": {"h": 3}}'
    assert OffsetMetadata.decode(before) == OffsetMetadata("a", (5, 4), {"h": 3}, {})


def test_the_highest_time_in_metadata_of_an_earlier_version_is_that_of_one_event() -> None:
    assert OffsetMetadata.decode('{"topic_id": "a", "highest_event_time": 5}') == OffsetMetadata(
        "a", (5,)
    )


def test_the_longest_metadata_is_accepted_by_brokers() -> None:
    """Of the most support, and of as many entities as there are flags for."""
    latest = (LATEST,) * MAX_WATERMARK_SUPPORT
    lowest = {f"{entity:012x}": LATEST for entity in range(31)}
    assert len(OffsetMetadata("x" * 22, latest, lowest).encode().encode()) < 4096
    # Histories have begun or have not: the count is shorter than the time.
    few = {entity: enough_to_begin(MAX_WATERMARK_SUPPORT) for entity in lowest}
    assert len(OffsetMetadata("x" * 22, latest, {}, few).encode().encode()) < 4096


def test_metadata_of_partitions_tells_the_state_of_the_log() -> None:
    metadata = {
        0: OffsetMetadata("a", (7,), {"h": 3}),
        1: OffsetMetadata("a"),
        2: OffsetMetadata("a", (9, 8), {}, {"h": 4}),
    }
    log = LogState({0: (7,), 2: (9, 8)}, {0: {"h": 3}}, {2: {"h": 4}})
    assert log_state_of(metadata) == log
    assert {p: OffsetMetadata.of("a", log, p) for p in metadata} == metadata
