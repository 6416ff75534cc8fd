"""The demo's parts: what is played, what a model is trained on, and what the verdict counts."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Message
from rich.console import Console

from base.errors import ConfigurationError
from features.definition import FeatureSet, load_feature_set
from features.tables import EventTableReader, Partitioning, build
from models.bundle import load_bundle
from schemas.batch import Records
from tests.support.bundles import booster_in
from tests.support.fakes import FakeMessage
from tools.demo import audit as audit_module
from tools.demo import run as run_module
from tools.demo import watch as watch_module
from tools.demo.audit import Verdict, audit
from tools.demo.player import Played
from tools.demo.prepare import HISTORY_DAYS, own_file, simulate_files
from tools.demo.reader import Arrivals, Latency, Reader
from tools.demo.run import Play, run_demo
from tools.demo.screen import summary
from tools.demo.simulator import simulate
from tools.demo.training import train, training_rows
from tools.demo.watch import Watch
from worker.consume.micro_batch import records_of
from worker.stages.dead_letter import HEADER_PREFIX

DAY = 86_400_000_000
HANDBOOK = Path(__file__).parents[3] / "examples" / "handbook" / "features.yaml"
START = datetime(2026, 3, 1, tzinfo=UTC)
TOPICS = ("in", "out", "dead")


@pytest.fixture(scope="module")
def handbook() -> FeatureSet:
    return load_feature_set(HANDBOOK)


def write_events(path: Path, days: int, *, fraud: bool = True) -> pa.Table:
    """Transactions of so many days, with or without their label, at ``path``."""
    events = simulate(100, 100, days, START, seed=5)
    columns = {
        "TRANSACTION_ID": events.transaction_id,
        "TX_DATETIME": pa.array(events.tx_time, pa.timestamp("us")),
        "CUSTOMER_ID": events.customer_id,
        "TERMINAL_ID": events.terminal_id,
        "TX_AMOUNT": events.amount,
    }
    table = pa.table({**columns, "TX_FRAUD": events.is_fraud} if fraud else columns)
    pq.write_table(table, path)
    return table


def write_honest(path: Path, days: int) -> None:
    """Transactions of so many days without a fraud, at ``path``."""
    table = write_events(path, days)
    place, honest = table.column_names.index("TX_FRAUD"), pa.array([0] * len(table))
    pq.write_table(table.set_column(place, "TX_FRAUD", honest), path)


def model_of(folder: Path) -> bytes:
    return bytes(booster_in(load_bundle(folder / "model")).save_raw("json"))


# What is played


def no_server(*_: object) -> None:
    pytest.fail("a server was started")


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda _: None, "does not exist"),
        (lambda path: path.write_bytes(b"PAR1, cut off"), "cannot be read as parquet"),
        (lambda path: write_events(path, 2, fraud=False), "has no column is_fraud"),
        (lambda path: pq.write_table(write_events(path, 1)[:0], path), "has no rows"),
        (
            lambda path: pq.write_table(write_events(path, 1).drop_columns(["TX_AMOUNT"]), path),
            "no column for 'amount'",
        ),
        (lambda path: write_honest(path, 2), "0 of them frauds .*: a model needs both classes"),
    ],
)
def test_a_file_is_looked_at_before_any_server_starts(
    write: Callable[[Path], object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.parquet"
    write(path)
    monkeypatch.setattr(run_module, "RecordingKafka", no_server)
    monkeypatch.setattr(run_module, "Valkey", no_server)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ConfigurationError, match=said):
        run_demo(HANDBOOK.parent, Play(None, None, path), no_server)


def test_history_comes_before_the_live_events_and_fills_every_window(
    tmp_path: Path, handbook: FeatureSet
) -> None:
    prepared = simulate_files(tmp_path, 500)
    assert prepared.history is not None
    history, live = pq.read_table(prepared.history), pq.read_table(prepared.live)
    assert history.num_rows == prepared.known
    assert prepared.live_events == 500 <= live.num_rows
    times = [t["TX_DATETIME"].cast(pa.int64()).to_numpy() for t in (history, live)]
    assert times[0].max() < times[1].min()
    assert np.ptp(times[0]) > (HISTORY_DAYS - 1) * DAY
    label = handbook.bindings.label
    assert label is not None
    assert (
        max(w.reach for w in handbook.histories.windows) + label.delay < (HISTORY_DAYS - 10) * DAY
    )


@pytest.mark.parametrize("events", [1, 1_500, 5_000])
def test_there_are_enough_live_events(tmp_path: Path, events: int) -> None:
    assert pq.read_metadata(simulate_files(tmp_path, events).live).num_rows >= events


@pytest.mark.parametrize(("asked", "played"), [(None, 1000), (10, 10), (5_000, 1000)])
def test_half_of_what_is_played_of_a_file_is_for_training(
    tmp_path: Path, asked: int | None, played: int
) -> None:
    path = tmp_path / "events.parquet"
    pq.write_table(pa.table({"a": range(1000)}), path)
    prepared = own_file(path, asked)
    assert prepared.history is None
    assert (prepared.live_events, prepared.known) == (played, played // 2)


# What a model is trained on


def test_neither_events_with_unknown_labels_nor_the_first_are_trained_on() -> None:
    days = np.arange(60, dtype=np.int64) * DAY
    rows = training_rows(days, delay=7 * DAY, reach=30 * DAY)
    # of days 0 to 59 those up to 52 are labelled by the last, and day 30 is the first to see 30
    assert (rows.min(), rows.max()) == (30, 52)


def test_a_short_file_keeps_a_third_although_its_windows_are_not_full() -> None:
    days = np.arange(38, dtype=np.int64) * DAY
    rows = training_rows(days, delay=7 * DAY, reach=37 * DAY)
    assert (rows.min(), rows.max()) == (20, 30)


def test_labels_count_as_known_where_none_can_be() -> None:
    days = np.arange(7, dtype=np.int64) * DAY
    rows = training_rows(days, delay=7 * DAY, reach=0)
    assert (rows.min(), rows.max()) == (0, 6)


def test_a_model_is_trained_on_the_features_of_the_set(
    tmp_path: Path, handbook: FeatureSet
) -> None:
    table = write_events(tmp_path / "events.parquet", 50)
    trained = train(handbook, tmp_path / "events.parquet", tmp_path, table.num_rows)
    assert 0 < trained.events < table.num_rows / 2
    assert trained.unseen_from == table.num_rows
    load_bundle(tmp_path / "model").columns_for(handbook)


def test_labels_after_the_training_time_do_not_change_the_demos_model(
    tmp_path: Path, handbook: FeatureSet
) -> None:
    path, first = tmp_path / "events.parquet", tmp_path / "first"
    table = write_events(path, 60)
    rows = table.num_rows * 3 // 4
    first.mkdir()
    train(handbook, path, first, rows)

    times = table["TX_DATETIME"].cast(pa.int64()).to_numpy()
    unknown = times + 7 * DAY > times[rows - 1]
    labels = table["TX_FRAUD"].to_numpy()
    place = table.column_names.index("TX_FRAUD")
    for name, changed in (("later", unknown), ("earlier", ~unknown)):
        other = pa.array(np.where(changed, 1 - labels, labels))
        pq.write_table(table.set_column(place, "TX_FRAUD", other), path)
        (tmp_path / name).mkdir()
        train(handbook, path, tmp_path / name, rows)
    assert model_of(tmp_path / "later") == model_of(first)
    assert model_of(tmp_path / "earlier") != model_of(first)


def test_training_events_are_late_as_in_the_partitions_that_they_are_played_into(
    tmp_path: Path, handbook: FeatureSet
) -> None:
    path = tmp_path / "events.parquet"
    events = write_events(path, 20)
    # Which events are late depends on the others of their partition.
    pq.write_table(events.take(np.random.default_rng(5).permutation(len(events))), path)
    train(handbook, path, tmp_path, len(events))
    by = Partitioning.by(handbook, "CUSTOMER_ID", 4)
    build(handbook, EventTableReader(handbook, [path], by), tmp_path / "four", partitions=4)
    build(handbook, EventTableReader(handbook, [path]), tmp_path / "one")
    trained_on = pq.read_table(tmp_path / "training.parquet")
    assert trained_on.equals(pq.read_table(tmp_path / "four"))
    assert not trained_on["flags"].equals(pq.read_table(tmp_path / "one")["flags"])


def test_rows_that_are_no_events_count_as_seen(tmp_path: Path, handbook: FeatureSet) -> None:
    path = tmp_path / "events.parquet"
    table = write_events(path, 30)
    amounts = table["TX_AMOUNT"].to_numpy().copy()
    amounts[:3] = np.nan
    place = table.column_names.index("TX_AMOUNT")
    pq.write_table(table.set_column(place, "TX_AMOUNT", pa.array(amounts)), path)
    rows = table.num_rows - 3
    assert train(handbook, path, tmp_path, rows).unseen_from == table.num_rows


def test_a_file_without_labels_is_refused(tmp_path: Path, handbook: FeatureSet) -> None:
    path = tmp_path / "events.parquet"
    table = write_events(path, 3, fraud=False)
    with pytest.raises(ConfigurationError, match=r"0 .* are labelled .*\(is_fraud\)"):
        train(handbook, path, tmp_path, table.num_rows)


def test_a_file_without_frauds_is_refused(tmp_path: Path, handbook: FeatureSet) -> None:
    path = tmp_path / "events.parquet"
    table = write_events(path, 3)
    genuine = pa.array(np.zeros(table.num_rows, np.int8))
    place = table.column_names.index("TX_FRAUD")
    pq.write_table(table.set_column(place, "TX_FRAUD", genuine), path)
    with pytest.raises(ConfigurationError, match="0 of them frauds"):
        train(handbook, path, tmp_path, table.num_rows)


# How long answers take


def played_in_batches() -> Played:
    """Events from offset 100 of one partition and 7 of another.

    One of each was sent at 1,000 ms, two of the first at 1,010 and one of each at 1,020.
    """
    batches = [(1000.0, 100, 7), (1010.0, 101, 8), (1020.0, 103, 8)]
    return Played(np.array([100, 7]), np.array([104, 9]), [*batches])


def test_a_latency_runs_from_the_sending_of_an_events_batch() -> None:
    played = played_in_batches()
    assert played.events == 6
    partitions, offsets = np.array([(0, 101), (1, 8), (0, 100), (0, 103), (1, 7), (0, 102)]).T
    sent_ms = np.array([1010.0, 1020, 1000, 1020, 1000, 1010])
    assert played.sent_ms(partitions, offsets).tolist() == sent_ms.tolist()
    arrivals = Arrivals(partitions, offsets, sent_ms + 30)
    assert arrivals.latency(played) == Latency(30, 30)
    assert arrivals.since(1040).offsets.tolist() == [8, 103]
    assert arrivals.since(1040).latency(played) == Latency(30, 30)
    assert arrivals.since(1050).latency(played) == Latency(None, None)


class Arrived:
    """Reader of one micro-batch's answers: two scores and a dead letter, just now."""

    def __init__(self) -> None:
        scores = [json.dumps([f"t{i}", i / 10, 0, 100 + i]).encode() for i in (0, 3)]
        messages = [
            *(FakeMessage(body=score, on="out") for score in scores),
            FakeMessage(on="dead"),
        ]
        self.batches = [(time.time() * 1000, messages)]

    def take(self) -> list[Any]:
        taken, self.batches = self.batches, []
        return taken


def test_answers_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "ScoreDecoder", ReadableScores)
    watch = Watch(cast("Reader", Arrived()), "out", "decline")
    for _ in range(2):
        snapshot = watch.snapshot(played_in_batches())
        assert (snapshot.scores, snapshot.dead_letters) == (2, 1)
        assert snapshot.decisions == {"approve": 2}
        assert [item.event_id for item in snapshot.suspicious] == ["t0", "t3"]
    assert watch.arrivals().offsets.tolist() == [100, 103]


# The verdict


class ReadableScores:
    """Decoder of scores as JSON: [event id, score, partition and offset of the input record]."""

    def __init__(self, _paths: Sequence[str]) -> None:
        pass

    def decode(self, records: Records) -> dict[str, Any]:
        columns = zip(*(json.loads(v or b"") for v in records.values), strict=True)
        ids, scores, partitions, offsets = columns
        return {
            "event_id": pa.array(ids),
            "decision": pa.array(["approve"] * len(records)),
            "score": np.array(scores, np.float64),
            "source.partition": np.array(partitions, np.int64),
            "source.offset": np.array(offsets, np.int64),
        }


class Topics:
    """Events at 1 s, 2 s, …; each is scored 0.5 s later unless something else is said.

    They are in three partitions in turn.
    """

    def __init__(self, events: int) -> None:
        self.at = [(i % 3, i // 3) for i in range(events)]
        self.input = [FakeMessage(at, millis=1000 * (i + 1)) for i, at in enumerate(self.at)]
        self.scores = {i: i / events for i in range(events)}
        self.again: list[int] = []
        self.letters: list[int] = []
        self.limit: Latency | None = None

    def judge(
        self,
        monkeypatch: pytest.MonkeyPatch,
        history: int,
        seen: int = 0,
        frauds: Sequence[int] = (),
    ) -> Verdict:
        """Audit.

        Args:
            monkeypatch: Puts the topics in place of those of brokers.
            history: Number of the first events that are history.
            seen: Number of the first live events that a model may have been trained on.
            frauds: Numbers of those among the live events.
        """
        output = [
            FakeMessage(
                (0, place),
                json.dumps([f"t{i}", score, *self.at[i]]).encode(),
                millis=1000 * i + 1500,
            )
            for place, (i, score) in enumerate(
                [*self.scores.items(), *((i, 0) for i in self.again)]
            )
        ]
        names = ("partition", "offset")
        dead = [
            FakeMessage(
                (0, 0),
                extra=[
                    (HEADER_PREFIX + n, b"%d" % v) for n, v in zip(names, self.at[i], strict=True)
                ],
            )
            for i in self.letters
        ]
        by_topic = dict(zip(TOPICS, (self.input, output, dead), strict=True))

        def read(_: str, topic: str) -> Iterator[Records]:
            yield records_of(topic, cast("list[Message]", by_topic[topic]))

        monkeypatch.setattr(audit_module, "read_to_end", read)
        monkeypatch.setattr(audit_module, "ScoreDecoder", ReadableScores)
        live = range(history, len(self.input))
        first, end = (
            np.bincount([at[0] for at in self.at[:until]], minlength=3)
            for until in (history, len(self.input))
        )
        played = Played(first, end, [], [pa.array([f"t{i}" for i in live])])
        played.labels.append(np.array([int(i in frauds) for i in live], np.int64))
        return audit("", TOPICS, (Latency(40, 50), self.limit), played, seen)


def test_history_is_audited_as_well_as_live_events(monkeypatch: pytest.MonkeyPatch) -> None:
    topics = Topics(10)
    verdict = topics.judge(monkeypatch, 4)
    assert (verdict.events, verdict.history, verdict.scores) == (10, 4, 10)
    assert verdict.clean
    del topics.scores[1]
    topics.letters = [2]
    verdict = topics.judge(monkeypatch, 4)
    assert (verdict.lost, verdict.duplicates, verdict.dead_letters) == (1, 1, 1)
    assert not verdict.clean
    topics = Topics(10)
    topics.again = [0, 0, 9]
    verdict = topics.judge(monkeypatch, 4)
    assert (verdict.lost, verdict.duplicates) == (0, 3)
    assert not verdict.clean


def test_a_dead_letter_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    topics = Topics(5)
    del topics.scores[1]
    topics.letters = [1]
    verdict = topics.judge(monkeypatch, 0)
    assert (verdict.scores, verdict.dead_letters, verdict.clean) == (4, 1, True)


def test_the_rate_is_that_of_live_events(monkeypatch: pytest.MonkeyPatch) -> None:
    topics = Topics(10)
    topics.input[0].millis = 0  # long before
    verdict = topics.judge(monkeypatch, 6)
    # four events at 7 s to 10 s, the last score at 10.5 s
    assert verdict.events_per_s == round(4 / 3.5, 1)


def test_precision_is_that_of_events_no_model_was_trained_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topics = Topics(10)
    # The one fraud that the model knew is at the very end of the ranking.
    frauds = [0, 8, 9]
    assert topics.judge(monkeypatch, 0, 1, frauds).average_precision == 1
    whole = topics.judge(monkeypatch, 0, 0, frauds).average_precision
    assert whole is not None
    assert whole == pytest.approx((1 + 1 + 3 / 10) / 3, abs=1e-4)
    assert topics.judge(monkeypatch, 0, 0, []).average_precision is None


def test_the_table_tells_of_history_where_there_was_some(monkeypatch: pytest.MonkeyPatch) -> None:
    def text(history: int, *, backlog: bool = False, limit: Latency | None = None) -> str:
        topics = Topics(10)
        topics.limit = limit
        console = Console(file=io.StringIO(), width=80)
        console.print(summary(topics.judge(monkeypatch, history), backlog=backlog))
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    assert "of them history" in text(4)
    assert "history" not in text(0)
    assert "live latency p50" in text(0)
    assert "pass-through" not in text(0)
    assert re.search("pass-through p99 +│ +31.5 ms", text(0, limit=Latency(9, 31.5)))
    as_fast_as_it_goes = text(0, backlog=True)
    assert "latency" not in as_fast_as_it_goes
    assert "live wait in the backlog p50" in as_fast_as_it_goes
