"""The demo: everything real, on this machine, from nothing to a verdict."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from features.definition import FeatureSet, load_feature_set
from features.event_file import EventFile
from features.store.redis import RedisStore
from models.policy import load_policy
from schemas.errors import ConfigurationError, DependencyUnavailableError
from schemas.files import count_rows
from worker.demo.audit import Verdict, audit
from worker.demo.player import Player
from worker.demo.prepare import TRAINING_EVENTS, Prepared, load_lookups, simulate_files, train
from worker.demo.screen import note, screen
from worker.demo.watch import Snapshot, Watch
from worker.demo.worker_process import WorkerProcess
from worker.embedded.kafka import Kafka
from worker.embedded.topics import create_topics
from worker.embedded.valkey import Valkey
from worker.settings import load_settings
from worker.wire import framed

_PARTITIONS = 3
_TOPICS = ("transactions", "scores", "transactions.dead-letters")
_STALL_S = 60.0
_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Play:
    """What to play. events: how many, None for all of a file. rate: a second, None for no limit."""

    events: int | None
    rate: float | None
    file: Path | None


def run_demo(pipeline: Path, play: Play) -> Verdict:
    """Start servers, prepare, play, watch and read back.

    Raises ConfigurationError for files that do not hold, DependencyUnavailableError when a part
    does not start, ends early or falls silent.
    """
    feature_set = load_feature_set(pipeline / "features.yaml")
    with _folder() as folder, ThreadPoolExecutor(2) as pool:
        note("starting Apache Kafka and Valkey, making history …")
        kafka, valkey = Kafka(folder / "kafka"), Valkey(folder / "valkey")
        starting = [pool.submit(server.start) for server in (kafka, valkey)]
        try:
            prepared = _prepare(folder, play)
            for start in starting:
                start.result()
            return _play(pipeline, feature_set, folder, prepared, play, (kafka, valkey))
        finally:
            for start in starting:
                start.exception()
            for server in (kafka, valkey):
                server.__exit__()


def _prepare(folder: Path, play: Play) -> Prepared:
    if play.file is not None:
        return Prepared(play.file, play.file, {})
    if play.events is None:
        raise ConfigurationError("--events is missing; say how many, or play an --events-file")
    return simulate_files(folder, play.events)


def _play(
    pipeline: Path,
    feature_set: FeatureSet,
    folder: Path,
    prepared: Prepared,
    play: Play,
    servers: tuple[Kafka, Valkey],
) -> Verdict:
    kafka, valkey = servers
    store = RedisStore(valkey.url)
    load_lookups(feature_set, prepared.lookups, store)
    started = time.monotonic()
    rows = count_rows(prepared.history)
    # A file is played too: the half that the model has not seen is for the verdict.
    limit = min(rows, TRAINING_EVENTS) if play.file is None else min(rows // 2, TRAINING_EVENTS)
    trained = train(pipeline, prepared.history, store, folder / "model", limit)
    store.close()
    note(f"trained a model on {trained:,} events in {time.monotonic() - started:.1f} s")
    create_topics(kafka.bootstrap, dict.fromkeys(_TOPICS, _PARTITIONS))
    worker = WorkerProcess(pipeline, _environment(folder, kafka, valkey), folder / "worker.log")
    watch = Watch(kafka.bootstrap, _TOPICS, load_policy(pipeline / "policy.yaml").default)
    player = _player(pipeline, feature_set, kafka.bootstrap, prepared.live)
    worker.wait_ready()
    note("the worker is ready; playing live transactions …")
    player.start(play.events, play.rate)
    _watch_to_the_end(watch, player, worker, play)
    worker.drain()
    arrivals = watch.stop()
    if player.played.refused:
        note(f"{player.played.refused:,} rows of {prepared.live} are no events; not played")
    skipped = trained if play.file else 0
    return audit(kafka.bootstrap, _TOPICS, arrivals, player.played, unseen_from=skipped)


def _environment(folder: Path, kafka: Kafka, valkey: Valkey) -> dict[str, str]:
    topics = dict(zip(("INPUT", "OUTPUT", "DEAD_LETTER"), _TOPICS, strict=True))
    return {
        "FRAUD_WORKER_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap,
        "FRAUD_WORKER_STORE__URL": valkey.url,
        "FRAUD_WORKER_MODEL__BUNDLE": str(folder / "model"),
        **{f"FRAUD_WORKER_KAFKA__{name}_TOPIC": topic for name, topic in topics.items()},
    }


def _player(pipeline: Path, feature_set: FeatureSet, bootstrap: str, live: Path) -> Player:
    wire = load_settings(pipeline).wire
    prefix = framed(wire.schema_id) if wire.framing == "confluent" else b""
    bindings = feature_set.bindings
    return Player(
        bootstrap,
        EventFile(feature_set, _TOPICS[0], prefix),
        live,
        event_id=bindings.event_id.path,
        label=None if bindings.label is None else bindings.label.field,
    )


def _watch_to_the_end(watch: Watch, player: Player, worker: WorkerProcess, play: Play) -> None:
    """Until every event that was played has its score or dead letter."""
    target = play.events if play.file is None else count_rows(play.file)
    if play.file and play.events is not None and target is not None:
        target = min(target, play.events)
    last, since = 0, time.monotonic()
    with screen() as view:
        while True:
            worker.require_running()
            snapshot = watch.snapshot()
            view.show(snapshot, target)
            answered = snapshot.scores + snapshot.dead_letters
            if player.done and answered >= player.played.events:
                return
            if answered != last or not player.done:
                last, since = answered, time.monotonic()
            elif time.monotonic() - since > _STALL_S:
                _stalled(snapshot, player)
            time.sleep(_LOOK_S)


def _stalled(snapshot: Snapshot, player: Player) -> None:
    raise DependencyUnavailableError(
        f"no score for {_STALL_S:g} s: {player.played.events:,} events were played, "
        f"{snapshot.scores:,} scores and {snapshot.dead_letters:,} dead letters arrived"
    )


@contextmanager
def _folder() -> Iterator[Path]:
    """A scratch folder; kept, and named, when the demo fails."""
    folder = Path(tempfile.mkdtemp(prefix="fraud-worker-demo."))
    try:
        yield folder
    except BaseException:
        note(f"logs and data are kept in {folder}")
        raise
    shutil.rmtree(folder, ignore_errors=True)
