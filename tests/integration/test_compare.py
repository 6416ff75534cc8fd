"""``fraud-worker model compare`` over real topics: what is committed, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner, Result

from base.errors import ConfigurationError
from tests.conftest import MakeTopic, SharedKafka
from tests.support.healthy import edit, healthy_pipeline
from tests.support.scores import Score
from tools.cli.model import app
from worker.stages.dead_letter import HEADER_PREFIX

DAY_US = 86_400_000_000
BEGIN = 17_000 * DAY_US
EVENTS = 60


def scores(offsets: Iterable[int], **more: Any) -> list[Score]:
    """Twenty a day of ten cards, one in three a fraud by its label and its score."""
    return [
        Score(
            0,
            offset,
            BEGIN + offset * DAY_US // 20,
            f"card {offset % 10}",
            0.9 if offset % 3 == 0 else 0.01 + offset / 1000,
            "decline" if offset % 3 == 0 else "approve",
            **more,
        )
        for offset in offsets
    ]


class Pair:
    """Two pipelines on one broker, with topics of their own."""

    def __init__(self, folder: Path, bootstrap: str, make_topic: MakeTopic) -> None:
        self.bootstrap = bootstrap
        self.folders = [folder / "champion", folder / "challenger"]
        self.topics = []
        for place in self.folders:
            topics = {
                "output_topic": make_topic("scores", partitions=2),
                "dead_letter_topic": make_topic("letters"),
            }
            healthy_pipeline(place, bootstrap_servers=bootstrap, **topics)
            edit(place / "worker.yaml", lambda v: v.update(delivery={"broker_timeout_s": 10.0}))
            self.topics.append(topics)

    def write(self, side: int, written: Sequence[Score], *, committed: bool = True) -> None:
        topic = self.topics[side]["output_topic"]
        producer = Producer(
            {"bootstrap.servers": self.bootstrap, "transactional.id": f"{topic}-{committed}"}
        )
        producer.init_transactions(30)
        producer.begin_transaction()
        for score in written:
            producer.produce(topic, score.record(), score.card, partition=score.offset % 2)
        assert producer.flush(30) == 0
        if committed:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)

    def dead_letter(self, side: int, offset: int) -> None:
        producer = Producer({"bootstrap.servers": self.bootstrap})
        position = {"topic": "transactions", "partition": "0", "offset": str(offset)}
        headers: dict[str, str | bytes | None] = {
            HEADER_PREFIX + name: text for name, text in position.items()
        }
        topic = self.topics[side]["dead_letter_topic"]
        producer.produce(topic, b"what it was", headers=headers)
        assert producer.flush(30) == 0

    def compare(self, *options: object) -> Result:
        arguments = ["compare", *map(str, [*self.folders, *options])]
        return CliRunner().invoke(app, arguments)


def labels_of(events: Sequence[Score], path: Path) -> Path:
    """A file that says which are frauds: those at every third offset."""
    columns = {
        "event_id": [event.id for event in events],
        "fraud": [event.offset % 3 == 0 for event in events],
        "label_time": pa.array([event.time for event in events], pa.timestamp("us")),
    }
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture
def pair(tmp_path: Path, kafka: SharedKafka, make_topic: MakeTopic) -> Pair:
    return Pair(tmp_path, kafka.bootstrap, make_topic)


def test_compare_joins_scores_that_both_sides_committed_with_labels(
    pair: Pair, tmp_path: Path
) -> None:
    own = scores(range(EVENTS))
    other = [replace(s, version="2", decision="approve") for s in scores(range(5, EVENTS - 5))]
    pair.write(0, own)
    pair.write(1, [s for s in other if s.offset not in (20, 21)])
    # These are not there for a reader of committed records.
    pair.write(1, scores([0, 1, 2]), committed=False)
    pair.dead_letter(1, 20)
    labels = labels_of(own, tmp_path / "labels.parquet")

    done = pair.compare("--labels", labels, "--out", tmp_path / "page.html", "--top", 3)

    assert done.exception is None, done.exception
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    assert told["both"] == EVENTS - 12
    alone = {"dead_lettered": 1, "before": 5, "after": 5, "missing": 1}
    assert told["champion"]["only_here"] == alone
    assert set(told["challenger"]["only_here"].values()) == {0}
    assert [made["version"] for made in told["challenger"]["made_by"]] == ["2"]
    assert told["shift"]["identical"] == 1.0
    assert told["top"]["overlap"] == {"mean": 1.0, "least": 1.0, "most": 1.0}
    joined = [s for s in own if 5 <= s.offset < EVENTS - 5 and s.offset not in (20, 21)]
    frauds = sum(s.offset % 3 == 0 for s in joined)
    assert told["agreement"]["decisions"] == ["approve", "decline"]
    assert told["agreement"]["counts"] == [[len(joined) - frauds, 0], [frauds, 0]]
    assert told["challenger"]["alerts"]["rate"] == 0.0
    assert told["truth"]["frauds"] == frauds
    assert told["truth"]["champion"]["average_precision"] == 1.0
    assert told["truth"]["champion"]["decisions"]["decline"]["precision"] == 1.0
    said = " ".join(done.stderr.split())
    assert "The challenger has neither a score nor a dead letter for 1 event" in said
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


def test_days_can_be_chosen_and_dead_letters_need_not_be_there(pair: Pair) -> None:
    for side in (0, 1):
        pair.write(side, scores(range(EVENTS)))
        edit(
            pair.folders[side] / "worker.yaml",
            lambda values: values["kafka"].update(dead_letter_topic="nowhere"),
        )
    done = pair.compare("--since", "2016-07-19", "--until", "2016-07-19")
    assert done.exception is None, done.exception
    told = json.loads(done.stdout)
    assert told["both"] == 20
    assert told["from"].startswith("2016-07-19T00:00:00")
    assert "dead letters cannot be read" in done.stderr


def test_compare_refuses_invalid_options(pair: Pair, tmp_path: Path) -> None:
    pair.write(0, scores(range(5)))

    def refusal(*options: object) -> str:
        done = pair.compare(*options)
        assert isinstance(done.exception, ConfigurationError), done.output
        return str(done.exception)

    assert ": there are no scores; let its worker" in refusal()
    pair.write(1, scores(range(90, 95)))
    assert "see that both workers read the same input topic" in refusal()
    assert "there are no scores of these days" in refusal("--since", "2020-01-01")
    assert "is before --since" in refusal("--since", "2020-01-02", "--until", "2020-01-01")
    assert "--out: " in refusal("--out", tmp_path)
    assert pair.compare("--top", 0).exit_code == 2

    settings = pair.folders[1] / "worker.yaml"
    edit(settings, lambda values: values["kafka"].update(output_topic="nowhere"))
    assert "challenger: kafka.output_topic: the brokers have no nowhere" in refusal()
    topic = pair.topics[0]["output_topic"]
    edit(settings, lambda values: values["kafka"].update(output_topic=topic))
    assert f"both write to {topic}" in refusal()
    edit(settings, lambda values: values["kafka"].update(input_topic="payments"))
    assert "champion reads transactions, " in refusal()


def test_compare_with_labels_of_frauds_alone_needs_the_option_for_it(
    pair: Pair, tmp_path: Path
) -> None:
    written = scores(range(EVENTS))
    for side in (0, 1):
        pair.write(side, written)
    frauds = labels_of([s for s in written if s.offset % 3 == 0], tmp_path / "frauds.parquet")

    done = pair.compare("--labels", frauds)
    assert isinstance(done.exception, ConfigurationError)
    assert "20 of 20 labelled events are frauds" in str(done.exception)
    done = pair.compare("--labels", frauds, "--unlabelled", "legit")
    assert done.exception is None, done.exception
    told = json.loads(done.stdout)["truth"]
    assert (told["labelled"], told["frauds"]) == (EVENTS, 20)

    others = labels_of(scores(range(500, 510)), tmp_path / "others.parquet")
    done = pair.compare("--labels", others)
    assert "no label for any of the 60 events that both scored" in str(done.exception)
