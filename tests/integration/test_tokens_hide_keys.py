"""With tokens, nothing that a run leaves or says has a card number in it; a planted one is found."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
import yaml
from confluent_kafka import Message, Producer

from features.definition import FeatureSet, load_feature_set
from features.tables.event_records import EventRecordReader
from models.bundle import write_bundle
from models.training.fit import fit
from tests.conftest import MakeTopic, SharedKafka
from tests.support.fork_server import run_forked
from tests.support.worker_process import read_until, worker
from tools.embedded.process import free_port
from worker.schema_sources import framed

SPARKOV = Path(__file__).parents[2] / "examples" / "sparkov"
CARDS = [str(4_111_111_111_100_000 + 7_919 * number) for number in range(12)]
EVENTS = 400
LETTERS = 3
START = 1_356_998_400_000
"""2013-01-01 UTC in milliseconds."""
PATHS = ("", "metrics", "live", "ready")


def forms(card: str) -> Iterator[bytes]:
    """The number as text, as an Avro long, and as eight bytes."""
    yield card.encode()
    number, zigzag = int(card), 2 * int(card)
    varint = bytearray()
    while zigzag > 0x7F:
        varint.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    yield bytes([*varint, zigzag])
    yield from (number.to_bytes(8, order) for order in ("little", "big"))


FORMS = [form for card in CARDS for form in forms(card)]


class Run:
    """A pipeline with tokens over real servers, and everything that it leaves and says."""

    def __init__(self, folder: Path, bootstrap: str, redis_url: str, make_topic: MakeTopic) -> None:
        self.folder = folder / "pipeline"
        self.bootstrap, self.redis_url = bootstrap, redis_url
        self.port = free_port()
        self.said: dict[str, bytes] = {}
        self.topics = {
            "input_topic": make_topic("transactions", 4),
            "output_topic": make_topic("scores"),
            "dead_letter_topic": make_topic("dead"),
            "labels_topic": make_topic("labels"),
        }
        self.folder.mkdir()
        (self.folder / "token.key").write_text("0123456789abcdef" * 4 + "\n")
        for name in ("transaction.avsc", "geo.py", "policy.yaml"):
            (self.folder / name).write_text((SPARKOV / name).read_text())
        (self.folder / "features.yaml").write_text(_with_tokens())
        settings = {
            "kafka": {
                "bootstrap_servers": bootstrap,
                "group": self.topics["input_topic"],
                "start_from": "earliest",
                **self.topics,
            },
            "store": {"url": redis_url},
            "model": {"bundle": str(folder / "model"), "device": "cpu", "threads": 1},
            "output": {"vector": "all", "carry": ["card", "merchant"]},
            "http": {"host": "127.0.0.1", "port": self.port},
        }
        (self.folder / "worker.yaml").write_text(yaml.safe_dump(settings))

    def command(self, *words: object) -> None:
        """Run a command, and note what it says; it may fail."""
        done = run_forked("tools", *words, timeout_s=120)
        self.said[" ".join(map(str, words))] = (done.stdout + done.stderr).encode()

    def ask(self) -> None:
        """Note the answers of the worker over HTTP."""
        for path in PATHS:
            with suppress(OSError):
                address = f"http://127.0.0.1:{self.port}/{path}"
                with urllib.request.urlopen(address, timeout=5) as answer:
                    self.said[f"GET /{path}"] = answer.read()

    def everything(self) -> Iterator[tuple[str, bytes]]:
        """Every place with its content, but for the input."""
        yield from self.said.items()
        for setting, count in (("output_topic", EVENTS), ("dead_letter_topic", LETTERS)):
            for message in self.read(setting, count):
                yield setting, _content(message)
        for message in self.read("labels_topic", 1):
            yield "labels_topic", _content(message)
        with redis.Redis.from_url(self.redis_url) as client:
            keys: list[Any] = client.keys("*")
            for key in keys:
                yield "store", key + b" " + (client.get(key) or b"")
        for path in self.folder.rglob("*"):
            if path.suffix == ".parquet":
                table = pq.read_table(path)
                yield path.name, f"{table.to_pylist()} {table.schema}".encode()
            elif path.is_file():
                yield path.name, path.read_bytes()

    def read(self, setting: str, count: int) -> list[Message]:
        return read_until(self.bootstrap, [self.topics[setting]], count)

    def shown(self) -> set[str]:
        """Places with a card number."""
        return {
            place for place, content in self.everything() if any(form in content for form in FORMS)
        }


@pytest.mark.timeout(300)
def test_no_card_number_leaves_a_run_with_tokens(
    tmp_path: Path, kafka: SharedKafka, redis_url: str, make_topic: MakeTopic
) -> None:
    run = Run(tmp_path, kafka.bootstrap, redis_url, make_topic)
    events, holders = _files(tmp_path)
    feature_set = load_feature_set(run.folder / "features.yaml")
    pipeline = ("--pipeline", run.folder)
    run.command(
        "features", "build", *pipeline, "--events", events, "--out", run.folder / "a.parquet"
    )
    table = pq.read_table(run.folder / "a.parquet")
    built = np.column_stack([table[name].to_numpy() for name in feature_set.names])
    booster = fit(built, table["label"].to_numpy(), threads=1, rounds=2)
    write_bundle(tmp_path / "model", booster, name="m", version="1", features=feature_set.features)
    keep = run.folder / "kept.parquet"
    run.command("features", "load", "card_holder", holders, "--keep", keep, *pipeline)
    run.command("labels", "send", events, *pipeline)
    _play(run, feature_set, events)
    with worker(run.folder):
        scores = run.read("output_topic", EVENTS)
        letters = run.read("dead_letter_topic", LETTERS)
        run.ask()
    run.command("check", *pipeline)
    run.command("dead-letters", "show", *pipeline)
    run.command("score", "--events", events, *pipeline)
    run.command("features", "build", *pipeline, "--out", run.folder / "b.parquet")
    run.command("features", "load-labels", events, *pipeline)
    run.command("features", "explain", "CARD_COUNT_1D", "5", "--events", events, *pipeline)
    run.command("features", "state", "holder", table["holder"][0].as_py(), *pipeline)
    # The names of these have card numbers in them; what they say must not.
    run.command("features", "state", "card_merchant", CARDS[0], "m0", *pipeline)
    run.command("features", "state", "card_merchant", f"{CARDS[0]}|m0", *pipeline)

    assert run.shown() == set()

    # All of it was there to be searched.
    tokens = {*table["holder"].to_pylist()}
    assert {(score.key() or b"").decode() for score in scores} == tokens
    assert len(tokens) == len(CARDS)
    assert [letter.value() for letter in letters] == [None] * LETTERS
    assert {(letter.key() or b"").decode() for letter in letters} <= tokens
    headers: list[Any] = [item for letter in letters for item in letter.headers() or ()]
    assert all(name.startswith("__worker.") for name, _ in headers)
    places = {place for place, _ in run.everything()}
    assert {
        "store",
        "output_topic",
        "labels_topic",
        "a.parquet",
        "b.parquet",
        "kept.parquet",
    } < places
    assert {"worker.log", "GET /metrics"} < places
    texts = {name.split(" --")[0]: said.decode() for name, said in run.said.items()}
    assert '"partition"' in texts[f"features state card_merchant {CARDS[0]} m0"]
    assert "this is not a key" in texts[f"features state card_merchant {CARDS[0]}|m0"]
    assert '"event_id": "5"' in texts["features explain CARD_COUNT_1D 5"]
    scored = [json.loads(line) for line in texts["score"].splitlines() if line[0] == "{"]
    assert {score["carried"]["card"] for score in scored if "carried" in score} == tokens

    _plant(run)
    assert run.shown() == {"output_topic", "dead_letter_topic", "store", "worker.log", "a.parquet"}


def _with_tokens() -> str:
    text = (SPARKOV / "features-wide.yaml").read_text()
    return (
        text.replace("  card: card\n", "  holder: {field: card, token: {key_file: token.key}}\n")
        .replace("by: card\n", "by: holder\n")
        .replace("by: card,", "by: holder,")
    )


def _files(folder: Path) -> tuple[Path, Path]:
    """Events with their labels, and the holders of the cards."""
    draw = np.random.default_rng(7)
    events = pa.table(
        {
            "transaction_id": np.arange(EVENTS),
            "event_time": pa.array(
                START + np.sort(draw.integers(0, 20 * 86_400_000, EVENTS)), pa.timestamp("ms")
            ),
            "cc_num": [CARDS[number] for number in draw.integers(0, len(CARDS), EVENTS)],
            "merchant": [f"m{number}" for number in draw.integers(0, 4, EVENTS)],
            "category": ["travel", "home"] * (EVENTS // 2),
            "merch_lat_e4": draw.integers(400_000, 420_000, EVENTS).astype(np.int32),
            "merch_long_e4": draw.integers(-800_000, -790_000, EVENTS).astype(np.int32),
            "is_fraud": (draw.random(EVENTS) < 0.1).astype(np.int8),
            "amt_cents": draw.integers(100, 90_000, EVENTS).astype(np.int32),
        }
    )
    times = pa.array([START * 1000] * len(CARDS), pa.timestamp("us", "UTC"))
    homes = {"home_lat": [41.0] * len(CARDS), "home_long": [-79.5] * len(CARDS)}
    holders = pa.table({"cc_num": CARDS, "updated_at": times, **homes, "age": [40] * len(CARDS)})
    for name, table in (("events", events), ("holders", holders)):
        pq.write_table(table, folder / f"{name}.parquet")
    return folder / "events.parquet", folder / "holders.parquet"


def _play(run: Run, feature_set: FeatureSet, events: Path) -> None:
    """Produce the events, and records that cannot be read, with card numbers all over them."""
    producer = Producer({"bootstrap.servers": run.bootstrap, "partitioner": "murmur2_random"})
    topic, card = run.topics["input_topic"], CARDS[0].encode()
    for chunk in EventRecordReader(feature_set, topic, framed(1)).read(events):
        values, keys = chunk.records.values, chunk.records.keys
        headers: Any = [("card", card)]
        for value, key in zip(values, keys, strict=True):
            producer.produce(topic, value, key, headers=headers)
        body = values[0] or b""
        for bad in (card, body[:5] + card, body + card):
            producer.produce(topic, bad, card, headers=headers)
    assert producer.flush(60) == 0


def _content(message: Message) -> bytes:
    headers: list[Any] = [*(message.headers() or ())]
    parts: list[Any] = [message.key(), message.value(), *chain.from_iterable(headers)]
    return b" ".join(
        part.encode() if isinstance(part, str) else bytes(part or b"") for part in parts
    )


def _plant(run: Run) -> None:
    """Put a card number into each kind of place, in each form."""
    text, long, little, _ = forms(CARDS[3])
    producer = Producer({"bootstrap.servers": run.bootstrap})
    producer.produce(run.topics["output_topic"], b"score" + long, b"key")
    producer.produce(run.topics["dead_letter_topic"], None, b"key", headers={"card": text})
    assert producer.flush(60) == 0
    with redis.Redis.from_url(run.redis_url) as client:
        client.set(b"fw:planted", b"..." + little)
    with (run.folder / "worker.log").open("ab") as log:
        log.write(b"card " + text + b"\n")
    pq.write_table(pa.table({"x": [int(CARDS[3])]}), run.folder / "a.parquet")
