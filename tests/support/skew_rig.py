"""The Handbook's stream on several partitions, its training table, and the scores of workers."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from confluent_kafka import Consumer, KafkaException, Producer

from features.definition import load_feature_set
from features.tables.event_files import partitions_of
from features.tables.event_records import EventRecordReader
from features.windows.plan import ACROSS_LATE
from models.bundle import write_bundle
from models.training.fit import fit
from tests.oracles.topics import await_ended_transactions, read_to_end
from tests.support.rig import ROOT, SESSION_TIMEOUT_S, run
from tests.support.transactions import labels_of
from tools.embedded.process import LOOPBACK
from tools.embedded.topic_admin import committed_offsets, create_topics
from worker.schema_sources import framed, score_schema

HANDBOOK = ROOT / "examples" / "handbook"
PARTITIONS = 4
_DISORDERED, _DUPLICATED = 0.02, 0.005
_LATEST = timedelta(hours=3)
_AGAIN = timedelta(hours=30)
_LABEL_DELAYS = timedelta(days=7), timedelta(days=21)
# Shares of the stream behind which a terminal's clock is wrong once, and by how much.
_WILD = {0.3: timedelta(days=20 * 365), 0.6: timedelta(days=25 * 365)}
# An event that waits for longer is named by the probes.
_ALIGN_WAIT_S = 5.0
_ANSWER_S = 10.0
_COMMAND_S = 600.0
SHOWN = 10


class SkewRig:
    """A pipeline on the Handbook's features, over several partitions of events and of labels.

    The events are those of some of the Handbook's customers in all its 183 days, and its terminals
    are merged to as many as keep their rate: so few events have windows of 30 days as all have. A
    few events come up to three hours late. A few ids come a second time, within or beyond the time
    in which they count as duplicates, half of them for another customer, who may be in another
    partition. Two events, of different partitions, are of a far future.
    Each event has a label one to three weeks later: some are not known yet to windows that end a
    week ago.

    Args:
        folder: Folder to create the pipeline in; its name is that of the group and the topics.
        source: The Handbook's raw transactions.
        events: Number of events.
        servers: Bootstrap address of Kafka, URL of the store.
        seed: Seed of the changes to the stream.

    Attributes:
        rows: Number of events, those that come again included.
        sent: Number of events that are sent.
    """

    def __init__(
        self, folder: Path, source: Path, events: int, servers: tuple[str, str], seed: int
    ) -> None:
        self.folder = folder
        self.bootstrap, self._redis_url = servers
        folder.mkdir(parents=True)
        name = folder.name
        self.topics = {
            "input": name,
            "output": f"{name}.scores",
            "dead_letter": f"{name}.dead",
            "labels": f"{name}.labels",
        }
        create_topics(
            self.bootstrap,
            {t: 1 if r == "dead_letter" else PARTITIONS for r, t in self.topics.items()},
        )
        self._events = folder / "events.parquet"
        table = _disturbed(_thinned(pq.read_table(source), events, seed), seed)
        pq.write_table(table, self._events)
        self.rows = table.num_rows
        self._labels = _labels(table, seed)
        self._labelled = 0
        self._write_features()
        self.feature_set = load_feature_set(folder / "features.yaml")
        self._build()
        self._write_model()
        self._write_settings()
        self._records = self._encode()
        self.sent = 0

    @property
    def group(self) -> str:
        return self.topics["input"]

    def play(self, end: int) -> None:
        """Send the events before the row ``end`` that are not sent yet to the input topic."""
        producer = Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "compression.type": "lz4",
                "message.timeout.ms": 120_000,
                "queue.buffering.max.messages": 2_000_000,
                "queue.buffering.max.kbytes": 2_000_000,
                "log_level": 0,
            }
        )
        messages: Any = [
            {"key": key, "value": value} for key, value in self._records[self.sent : end]
        ]
        if messages and producer.produce_batch(self.topics["input"], messages) != len(messages):
            raise RuntimeError("the producer's queue is full")
        if producer.flush(120):
            raise TimeoutError("events are not written within 120 s")
        self.sent = max(self.sent, end)

    def label(self, end: int) -> int:
        """Send the labels that the events in [0, end) may see and that were not sent before.

        Returns:
            Number of labels that were sent so far.
        """
        times = pq.read_table(self._events, columns=["TX_DATETIME"])["TX_DATETIME"]
        latest = times.slice(0, end).cast(self._labels["label_time"].type)
        seen = pc.sum(pc.less_equal(self._labels["label_time"], pc.max(latest))).as_py()
        if seen > self._labelled:
            file = self.folder / "labels.parquet"
            pq.write_table(self._labels.slice(self._labelled, seen - self._labelled), file)
            run("tools", "labels", "send", file, "--pipeline", self.folder, timeout_s=_COMMAND_S)
            self._labelled = seen
        return self._labelled

    def lag(self) -> int:
        """Number of offsets of the input topic that are not committed yet; -1 without an answer."""
        topic, lag = self.topics["input"], 0
        asker = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "lag", "log_level": 0})
        try:
            for at in committed_offsets(self.bootstrap, self.group, {topic: PARTITIONS}):
                begin, end = asker.get_watermark_offsets(at, timeout=_ANSWER_S)
                lag += end - max(begin, at.offset)
        except KafkaException:
            return -1
        finally:
            asker.close()
        return lag

    def compare(self) -> dict[str, Any]:
        """Compare the vectors and flags on all scores with the training table.

        The flag across_late is counted: it says when an event came, which no table knows.
        """
        await_ended_transactions(self.bootstrap, [self.topics["output"]], 60.0)
        table = pq.read_table(self.folder / "table.parquet")
        built = np.column_stack([table[name].to_numpy() for name in self.feature_set.names])
        flags = [frozenset(row) for row in table["flags"].to_pylist()]
        places, online, carried = self._scores()
        flagged = [flags_of - {ACROSS_LATE} for flags_of in carried]
        rows = self._rows()
        of = np.array([rows[place] for place in places], np.int64)
        seen = np.bincount(of, minlength=len(built))
        differs = online.view(np.int32) != built[of].view(np.int32)
        wrong = [
            score
            for score, row in enumerate(of.tolist())
            if differs[score].any() or flagged[score] != flags[row]
        ]
        return {
            "events": len(built),
            "mismatches": len(wrong),
            # Scores left out because a loss was not noticed yet: each read is checked, so none is.
            "suspect": 0,
            "lost": int(np.count_nonzero(seen == 0)),
            "duplicated": int(np.maximum(seen - 1, 0).sum()),
            "across_late": sum(ACROSS_LATE in flags_of for flags_of in carried),
            "shown": [
                f"partition {places[score][0]} offset {places[score][1]}: "
                + ", ".join(
                    [
                        *(
                            f"{self.feature_set.names[column]} {online[score, column]:g} instead "
                            f"of {built[of[score], column]:g}"
                            for column in np.flatnonzero(differs[score])
                        ),
                        *(f"flag {flag}" for flag in flagged[score] - flags[of[score]]),
                        *(f"no flag {flag}" for flag in flags[of[score]] - flagged[score]),
                    ]
                )
                for score in wrong[:SHOWN]
            ],
        }

    def _scores(
        self,
    ) -> tuple[list[tuple[int, int]], npt.NDArray[np.float32], list[frozenset[str]]]:
        """Place, vector and flags of each score."""
        schema = fastavro.parse_schema(score_schema())
        names, places, vectors, flags = self.feature_set.names, [], [], []
        for messages in read_to_end(self.bootstrap, self.topics["output"]):
            for message in messages:
                body = io.BytesIO((message.value() or b"")[5:])
                score: Any = fastavro.schemaless_reader(body, schema, None)
                places.append((score["source"]["partition"], score["source"]["offset"]))
                vectors.append([score["vector"][name] for name in names])
                flags.append(frozenset(score["flags"]))
        return places, np.array(vectors, np.float32).reshape(-1, len(names)), flags

    def _rows(self) -> dict[tuple[int, int], int]:
        """Row of the table of each partition and offset."""
        keys = pq.read_table(self._events, columns=["CUSTOMER_ID"])["CUSTOMER_ID"]
        partitions = partitions_of(keys.cast(pa.string()).combine_chunks(), PARTITIONS)
        rows: dict[tuple[int, int], int] = {}
        for partition in range(PARTITIONS):
            of = np.flatnonzero(partitions == partition).tolist()
            rows |= {(partition, offset): row for offset, row in enumerate(of)}
        return rows

    def _encode(self) -> list[tuple[bytes | None, bytes | None]]:
        """Key and value of the record of each event."""
        reader = EventRecordReader(self.feature_set, self.topics["input"], framed(1))
        return [
            record
            for chunk in reader.read(self._events)
            for record in zip(chunk.records.keys, chunk.records.values, strict=True)
        ]

    def _write_features(self) -> None:
        document = yaml.safe_load((HANDBOOK / "features.yaml").read_text())
        document["events"]["schema"] = str(ROOT / "schemas" / "transaction.avsc")
        (self.folder / "features.yaml").write_text(yaml.safe_dump(document, sort_keys=False))

    def _build(self) -> None:
        words = ["features", "build", "--set", self.folder / "features.yaml"]
        words += ["--events", self._events, "--out", self.folder / "table.parquet"]
        words += ["--partition-by", "customer_id", "--partitions", PARTITIONS, "--allow-late"]
        labels = self.folder / "all-labels.parquet"
        pq.write_table(self._labels, labels)
        run("tools", *words, "--labels", labels, timeout_s=_COMMAND_S)

    def _write_model(self) -> None:
        table = pq.read_table(self.folder / "table.parquet").slice(0, 20_000)
        matrix = np.column_stack([table[name].to_numpy() for name in self.feature_set.names])
        booster = fit(matrix, table["label"].to_numpy(), threads=1, rounds=5)
        features = self.feature_set.features
        write_bundle(self.folder / "model", booster, name="m", version="1", features=features)

    def _write_settings(self) -> None:
        (self.folder / "policy.yaml").write_text(
            "version: '1'\nsegments:\n  - {name: all, bands: {decline: 0.9, review: 0.5}}\n"
        )
        settings = {
            "kafka": {
                "bootstrap_servers": self.bootstrap,
                "group": self.group,
                **{f"{role}_topic": topic for role, topic in self.topics.items()},
                "start_from": "earliest",
                "consumer": {
                    "session.timeout.ms": int(SESSION_TIMEOUT_S * 1000),
                    "heartbeat.interval.ms": 1500,
                },
                "producer": {"transaction.timeout.ms": 5000},
            },
            "store": {"url": self._redis_url},
            "model": {"bundle": "model", "device": "cpu", "threads": 1},
            "delivery": {"watchdog_s": 20.0},
            "windows": {"align_wait_s": _ALIGN_WAIT_S},
            "output": {"vector": "all"},
            "http": {"host": LOOPBACK},
            "logs": {"format": "json"},
        }
        (self.folder / "worker.yaml").write_text(yaml.safe_dump(settings))


def _thinned(table: pa.Table, events: int, seed: int) -> pa.Table:
    """The events of some customers, at terminals that are as busy as all are."""
    customers, terminals = (table[name].to_numpy() for name in ("CUSTOMER_ID", "TERMINAL_ID"))
    order = np.random.default_rng(seed).permutation(int(customers.max()) + 1)
    counts = np.bincount(customers, minlength=len(order))[order].cumsum()
    chosen = order[: int(counts.searchsorted(events)) + 1]
    kept = table.filter(pa.array(np.isin(customers, chosen))).slice(0, events)
    merged = max(1, round((int(terminals.max()) + 1) * events / len(table)))
    at = kept["TERMINAL_ID"].to_numpy() % merged
    index = kept.column_names.index("TERMINAL_ID")
    return kept.set_column(index, "TERMINAL_ID", pa.array(at.astype(np.int32)))


def _disturbed(table: pa.Table, seed: int) -> pa.Table:
    """Delay some events, send some a second time, and move some to a far future."""
    draw: Any = np.random.default_rng(seed)
    times = table["TX_DATETIME"].cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
    arrival = times.copy()
    delayed = draw.random(len(times)) < _DISORDERED
    arrival[delayed] += draw.integers(0, _LATEST // timedelta(microseconds=1), delayed.sum())
    again: npt.NDArray[np.intp] = np.flatnonzero(draw.random(len(times)) < _DUPLICATED)
    twice = arrival[again] + draw.integers(0, _AGAIN // timedelta(microseconds=1), len(again))
    order = np.argsort(np.concatenate([arrival, twice]), kind="stable")
    rows = np.concatenate([np.arange(len(times)), again])[order]
    changed = table.take(pa.array(rows))
    # A second delivery has the time at which it is sent.
    is_second = order >= len(times)
    moved = np.where(is_second, np.concatenate([arrival, twice])[order], times[rows])
    customers = changed["CUSTOMER_ID"].to_numpy().copy()
    strange = is_second & (draw.random(len(rows)) < 0.5)
    customers[strange] = draw.choice(customers, strange.sum())
    for row, ahead in zip(_wild_rows(customers), _WILD.values(), strict=True):
        moved[row] += ahead // timedelta(microseconds=1)
    time = pa.array(moved // 1000).cast(pa.timestamp("ms"))
    for name, column in {"TX_DATETIME": time, "CUSTOMER_ID": pa.array(customers)}.items():
        index = changed.column_names.index(name)
        changed = changed.set_column(index, name, column.cast(changed[name].type))
    return changed


def _labels(events: pa.Table, seed: int) -> pa.Table:
    """A label of each event, in order of the label times."""
    draw: Any = np.random.default_rng(seed)
    low, high = (delay // timedelta(milliseconds=1) for delay in _LABEL_DELAYS)
    delays = pa.array(draw.integers(low, high, len(events))).cast(pa.duration("ms"))
    labels = labels_of(events)
    at = labels.column_names.index("label_time")
    times = pc.add(labels["event_time"].cast(pa.timestamp("ms")), delays)
    return labels.set_column(at, "label_time", times).sort_by("label_time")


def _wild_rows(customers: npt.NDArray[np.int32]) -> list[int]:
    """Rows of the events of a far future, each of another partition."""
    partitions = partitions_of(pa.array(customers).cast(pa.string()), PARTITIONS)
    rows: list[int] = []
    for share in _WILD:
        row = int(share * len(customers))
        while partitions[row] in [partitions[other] for other in rows]:
            row += 1
        rows.append(row)
    return rows
