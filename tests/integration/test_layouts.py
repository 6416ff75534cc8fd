"""Two versions of the windows in one group on real servers: each goes on, and counts all events."""

from __future__ import annotations

import io
import json
import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import fastavro
import pytest
from confluent_kafka import Producer

from tests.conftest import MakeTopic, SharedKafka
from tests.support.fork_server import run_forked
from tests.support.healthy import edit
from tests.support.payments import good_record
from tests.support.windowed import windowed_pipeline
from tests.support.worker_process import read_until, worker
from worker.schema_sources import score_schema

NUMBER, LAST = "CARD_NB", "CARD_LAST"
_SHARED: dict[str, Any] = {"by": "card", "over": "1h", "delay": "30m", "across": "aligned"}
COUNT: dict[str, Any] = {"name": NUMBER, "window": "count", **_SHARED}
NEWEST: dict[str, Any] = {"name": LAST, "window": "last", "of": "amount", **_SHARED}
ROUND = 14
_END_S = 90.0


class Bench:
    """A topic of two partitions, and the pipelines of an old and a new version."""

    def __init__(self, folder: Path, kafka: SharedKafka, redis_url: str, make: MakeTopic) -> None:
        self.bootstrap = kafka.bootstrap
        self.input, self.output = make("in", 2), make("out")
        self.old = windowed_pipeline(
            folder / "old",
            COUNT,
            bootstrap_servers=kafka.bootstrap,
            group=self.input,
            input_topic=self.input,
            output_topic=self.output,
            dead_letter_topic=make("dead"),
        )
        edit(
            self.old / "worker.yaml",
            lambda values: values.update(store={"url": redis_url}, replica="old"),
        )
        self.new = folder / "new"
        shutil.copytree(self.old, self.new)
        edit(self.new / "worker.yaml", lambda values: values.update(replica="new"))
        edit(self.new / "features.yaml", lambda values: values["features"].append(NEWEST))
        self.sent = 0

    def send(self) -> list[dict[str, Any]]:
        """Send a minute's event for each of some minutes; return their scores."""
        producer = Producer({"bootstrap.servers": self.bootstrap})
        for number in range(self.sent, self.sent + ROUND):
            # A customer's events are in one partition, the card's in both.
            partition = number % 7 % 2
            producer.produce(self.input, good_record(number), b"key", partition=partition)
        assert producer.flush(30) == 0
        self.sent += ROUND
        messages = read_until(self.bootstrap, [self.output], self.sent, _END_S)
        scores = [_score(message.value()) for message in messages]
        assert sorted(score["event_id"] for score in scores) == sorted(
            f"p-{number}" for number in range(self.sent)
        )
        return [score for score in scores if _number(score) >= self.sent - ROUND]

    def command(self, pipeline: Path, *words: str) -> list[dict[str, Any]]:
        done = run_forked("tools", *words, "--pipeline", pipeline, timeout_s=60)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


def _score(value: bytes | None) -> dict[str, Any]:
    record = fastavro.schemaless_reader(io.BytesIO((value or b"")[5:]), score_schema(), None)
    assert isinstance(record, dict)
    return record


def _number(score: dict[str, Any]) -> int:
    return int(score["event_id"].removeprefix("p-"))


def require_exact(scores: list[dict[str, Any]]) -> None:
    """Require the windows of all scores to see the card's events of both partitions."""
    for score in scores:
        number = _number(score)
        seen = range(max(0, number - 89), number - 29)
        assert score["vector"][NUMBER] == len(seen), score
        if LAST in score["vector"] and seen:
            assert score["vector"][LAST] == seen[-1] % 300 + 0.25, score


@pytest.fixture
def bench(tmp_path: Path, kafka: SharedKafka, redis_url: str, make_topic: MakeTopic) -> Bench:
    return Bench(tmp_path, kafka, redis_url, make_topic)


@pytest.mark.timeout(400)
def test_an_old_and_a_new_version_run_side_by_side_and_each_counts_all_events(
    bench: Bench,
) -> None:
    with ExitStack() as stack:
        with worker(bench.old):
            for _ in range(4):
                require_exact(bench.send())
            stack.enter_context(worker(bench.new))
            until, both = time.monotonic() + _END_S, 0
            while both < 3:
                scores = bench.send()
                require_exact(scores)
                both += len({LAST in score["vector"] for score in scores}) == 2
                assert time.monotonic() < until
        require_exact(bench.send())
        scores = bench.send()
        require_exact(scores)
        assert all(LAST in score["vector"] for score in scores)
        layouts = bench.command(bench.new, "features", "drop-layout")
        (old,) = [
            one["layout"] for one in layouts if not one["own"] and one["layout"].startswith("card:")
        ]
        (dropped,) = bench.command(bench.new, "features", "drop-layout", old, "--force")
        # The history of the only card.
        assert dropped == {"layout": old, "keys": 1}
        require_exact(bench.send())
