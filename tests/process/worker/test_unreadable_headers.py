"""Records whose headers cannot be read, wherever a topic is read: refused alone, told with the code."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import fastavro
import numpy as np
import pytest

from base.errors import ErrorCode, RecordError
from schemas.batch import Headers, Records
from tests.support.fakes import FakeMessage
from tests.support.payments import good_record, write_pipeline
from tools.checks.finding import State
from tools.checks.sample import check_sample
from tools.compare.score_log import read_letters
from tools.topics.topic_events import TopicEvents
from tools.topics.topic_labels import TopicLabels
from worker.consume.micro_batch import records_of
from worker.pipeline import Pipeline, load_pipeline
from worker.schema_sources import label_schema
from worker.stages.dead_letter import HEADER_PREFIX

LABEL_ID = 77


@dataclass(slots=True)
class Log:
    """A topic that is read in one go."""

    records: Records
    partitions: int = 1
    unfinished: set[int] = field(default_factory=set)

    def count(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Records]:
        yield self.records

    def pause(self, _partitions: Any) -> None:
        """Nothing comes behind."""


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return load_pipeline(write_pipeline(tmp_path_factory.mktemp("payments") / "pipeline", {}))


def read(*values: bytes | None, unreadable: int) -> Records:
    """Records as they are made of consumed messages; the headers of one cannot be read."""
    messages = [
        FakeMessage((0, row), value, unreadable=row == unreadable)
        for row, value in enumerate(values)
    ]
    return records_of("in", cast("Any", messages))


def test_events_for_a_table(pipeline: Pipeline) -> None:
    log = Log(read(good_record(0), good_record(1), good_record(2), unreadable=1))
    (events,) = TopicEvents(
        pipeline.feature_set, pipeline.settings, pipeline.rules, cast("Any", log)
    )
    assert events.batch.event_id.to_pylist() == ["p-0", "p-2"]
    assert [(refusal.code, refusal.where) for refusal in events.refused] == [
        ("header_invalid", "partition 0, offset 1")
    ]


def test_labels(pipeline: Pipeline) -> None:
    schema = fastavro.parse_schema(label_schema())

    def label(number: int) -> bytes:
        out = io.BytesIO()
        known = {"event_id": f"p-{number}", "fraud": True, "entity_keys": {}}
        times = dict.fromkeys(("event_time", "label_time"), 1_700_000_000_000_000)
        fastavro.schemaless_writer(out, schema, known | times)
        return b"\x00" + LABEL_ID.to_bytes(4, "big") + out.getvalue()

    log = Log(read(label(0), label(1), label(2), unreadable=1))
    ((labels, refused),) = TopicLabels(pipeline.feature_set, pipeline.settings, cast("Any", log))
    assert labels.offsets.tolist() == [0, 2]
    assert [refusal.code for refusal in refused] == ["header_invalid"]


def test_the_sample_of_check(pipeline: Pipeline) -> None:
    records = read(good_record(0), good_record(1), good_record(2), unreadable=1)
    found = check_sample(
        pipeline.settings, pipeline.feature_set, pipeline.rules, {}, records, None
    )[0]
    assert found.state is State.WARNING
    assert "1 of the last 3 would be dead letters: header_invalid 1" in found.found


def test_dead_letters_that_other_programs_wrote_are_no_positions(tmp_path: Path) -> None:
    def headers(partition: bytes, topic: bytes = b"in") -> Headers:
        told = {"topic": topic, "partition": partition, "offset": b"5"}
        return [(HEADER_PREFIX + name, value) for name, value in told.items()]

    n = 5
    records = Records(
        "dead",
        [None] * n,
        [None] * n,
        np.zeros(n, np.int32),
        np.arange(n),
        np.zeros(n, np.int64),
        [headers(b"0"), headers(b"x"), headers(b"0", b"\xff"), None, [("h", b"1")]],
        {3: RecordError(ErrorCode.HEADER_INVALID, "not UTF-8")},
    )
    letters = read_letters(cast("Any", Log(records)))
    assert {place: offsets.tolist() for place, offsets in letters.items()} == {("in", 0): [5]}
