"""Labels that come while workers score, on real servers: every feature is that of a training table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import redis
from confluent_kafka import Consumer, TopicPartition

from features.history.marks import read_marks
from tests.conftest import SharedKafka
from tests.support.fleet import Worker
from tests.support.rig import await_that
from tests.support.skew_rig import PARTITIONS, SkewRig

EVENTS, SHARES = 190_000, 5
"""Three weeks of all customers; windows count labels from the second week on."""
_PATIENCE_S = 240.0


class LabelMarks:
    """How far the labels topic is applied to the store.

    Args:
        rig: Pipeline of the workers.
        redis_url: URL of their store.
    """

    def __init__(self, rig: SkewRig, redis_url: str) -> None:
        self._rig = rig
        self._store = redis.Redis.from_url(redis_url)
        self._kafka = Consumer({"bootstrap.servers": rig.bootstrap, "group.id": "ends"})

    def missing(self) -> int:
        """Number of offsets of the labels topic that are not applied."""
        marks = read_marks(None, PARTITIONS)["reached"]
        for key in self._store.scan_iter(b"fw:*:marks:labels:*"):
            value: Any = self._store.get(key)
            marks = np.maximum(marks, read_marks(value, PARTITIONS)["reached"])
        at = [TopicPartition(self._rig.topics["labels"], p) for p in range(PARTITIONS)]
        ends = [self._kafka.get_watermark_offsets(one, timeout=30)[1] for one in at]
        return int(np.maximum(np.array(ends) + 1 - marks, 0).sum())

    def close(self) -> None:
        self._store.close()
        self._kafka.close()


def flush_while_scoring(rig: SkewRig, redis_url: str) -> None:
    before = rig.lag()
    await_that(lambda: rig.lag() < before, _PATIENCE_S, "scoring", rig.lag)
    with redis.Redis.from_url(redis_url) as client:
        # The other databases of the server are those of other tests.
        client.flushdb()


@pytest.mark.timeout(900)
def test_labels_that_come_while_workers_score_are_counted_also_after_a_flush(
    data_dir: Path, tmp_path: Path, kafka: SharedKafka, redis_url: str
) -> None:
    servers = (kafka.bootstrap, redis_url)
    rig = SkewRig(tmp_path / "labelled", data_dir / "handbook_raw.parquet", EVENTS, servers, 7)
    workers = [Worker(rig, "one"), Worker(rig, "two")]
    marks = LabelMarks(rig, redis_url)
    try:
        for share in range(SHARES):
            end = rig.rows * (share + 1) // SHARES
            rig.label(end)
            await_that(lambda: marks.missing() == 0, _PATIENCE_S, "labels applied", marks.missing)
            rig.play(end)
            if share == SHARES - 2:
                flush_while_scoring(rig, redis_url)
        await_that(lambda: rig.lag() == 0, _PATIENCE_S, "all scored", rig.lag)
    finally:
        for worker in workers:
            worker.kill()
        marks.close()
    verdict = rig.compare()
    shown = verdict.pop("shown")
    assert verdict == {
        "events": rig.rows,
        "mismatches": 0,
        "suspect": 0,
        "lost": 0,
        "duplicated": 0,
        "across_late": 0,
    }, shown
    table = pq.read_table(rig.folder / "table.parquet", columns=["TERMINAL_ID_RISK_30DAY_WINDOW"])
    assert (table["TERMINAL_ID_RISK_30DAY_WINDOW"].to_numpy() > 0).sum() > 1_000
    assert rig.label(rig.rows) > EVENTS // 2
