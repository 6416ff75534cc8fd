"""Run of the demo with real servers on this machine, from their start to the results."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from base.errors import ConfigurationError
from features.definition import FeatureSet, load_feature_set
from features.store.redis import RedisStore
from models.policy import load_policy
from tools.demo.audit import Verdict, audit
from tools.demo.pass_through import measure_pass_through
from tools.demo.player import Played
from tools.demo.prepare import (
    HISTORY_DAYS,
    Prepared,
    own_file,
    partitioning,
    require_playable,
    simulate_files,
)
from tools.demo.reader import Latency, Reader
from tools.demo.screen import live_screen, note
from tools.demo.session import PlaySession, Program
from tools.demo.training import DemoModel, load_frauds, train
from tools.demo.watch import Watch
from tools.demo.worker_process import WorkerProcess
from tools.embedded.kafka import RecordingKafka
from tools.embedded.topic_admin import create_topics
from tools.embedded.valkey import Valkey
from tools.progress import progress
from worker.histories.record import label_namespace
from worker.schema_sources import framed
from worker.settings import WorkerSettings, load_settings

TOPICS = ("transactions", "scores", "transactions.dead-letters")
"""Input, output and dead letters."""
_OUTPUT_PARTITIONS = 3


@dataclass(frozen=True, slots=True)
class Play:
    """Options of the demo.

    Attributes:
        events: Number of live events to play; None for all of a file.
        rate: Events a second; None for no limit.
        file: File to play; None to simulate events.
    """

    events: int | None
    rate: float | None
    file: Path | None


def run_demo(pipeline: Path, play: Play, report: Callable[[Verdict], None]) -> bool:
    """Start the servers, prepare and play the events, watch, and read the results back.

    Args:
        pipeline: Pipeline folder.
        play: Options.
        report: Called with the results, before the servers are stopped.

    Returns:
        True if no event was lost and none was answered twice.

    Raises:
        ConfigurationError: A file is invalid.
        DependencyUnavailableError: A process does not start, ends early or falls silent.
    """
    settings = load_settings(pipeline)
    feature_set = load_feature_set(settings.features)
    load_policy(settings.policy)
    if play.file is not None:
        require_playable(feature_set, play.file)
    with _folder() as folder, ThreadPoolExecutor(2) as pool, ExitStack() as servers:
        ready = None
        if play.file is not None:
            # Errors of a file, such as labels of one class, are reported before servers start.
            note("training a model …")
            ready = _prepare(feature_set, folder, play)
        note(f"starting Apache Kafka and Valkey{'' if ready else ', training a model'} …")
        # On a fresh machine a trial run would keep people waiting; this run serves as well.
        kafka, valkey = RecordingKafka(folder / "kafka"), Valkey(folder / "valkey")
        starting = []
        for server in (kafka, valkey):
            starting.append(pool.submit(server.start))
            servers.push(server)
            servers.callback(starting[-1].exception)  # a start that goes on cannot be stopped
        prepared, trained = ready or _prepare(feature_set, folder, play)
        for start in starting:
            start.result()
        run = _DemoRun(pipeline, settings, feature_set, folder, kafka, valkey)
        verdict = run.play(prepared, trained, play.rate)
        report(verdict)
        return verdict.clean


def _prepare(feature_set: FeatureSet, folder: Path, play: Play) -> tuple[Prepared, DemoModel]:
    """Prepare the events, and train a model as ``folder / "model"``."""
    if play.file is not None:
        prepared = own_file(play.file, play.events)
    elif play.events is not None:
        prepared = simulate_files(folder, play.events)
    else:
        raise ConfigurationError("--events is missing; give a number, or an --events-file")
    started = time.monotonic()
    trained = train(feature_set, prepared.training, folder, prepared.known)
    took_s = time.monotonic() - started
    note(
        f"computed the features of {prepared.known:,} events and trained a model on "
        f"{trained.events:,} of them in {took_s:.1f} s"
    )
    return prepared, trained


@dataclass(frozen=True, slots=True, eq=False)
class _DemoRun:
    """One run of the demo: its pipeline, its folder and its servers."""

    pipeline: Path
    settings: WorkerSettings
    feature_set: FeatureSet
    folder: Path
    kafka: RecordingKafka
    valkey: Valkey

    def play(self, prepared: Prepared, trained: DemoModel, rate: float | None) -> Verdict:
        self._load_labels(prepared)
        worker = self._start_worker()
        reader = Reader(self.kafka.bootstrap, TOPICS[1:])
        session = self._session(TOPICS[0], worker, reader)
        worker.wait_ready()
        if prepared.history is not None:
            self._play_history(session, prepared.history, prepared.known)
        note("playing live transactions …")
        played, latency = self._play_live(session, prepared, rate)
        worker.drain()
        if played.refused:
            note(
                f"{played.refused:,} rows of {prepared.live} are not valid events and were not played"
            )
        limit = None
        if rate is not None:  # without, most of the time is waiting in a queue of any length
            note("playing the first of them to a bare transactional loop, for comparison …")
            live, log = (prepared.live, prepared.live_events), self.folder / "pass-through.log"
            counts = self._partitions, _OUTPUT_PARTITIONS
            bootstrap, session_of = self.kafka.bootstrap, self._session
            limit = measure_pass_through(bootstrap, counts, session_of, live, rate, log)
        seen = 0 if prepared.history else trained.unseen_from
        return audit(self.kafka.bootstrap, TOPICS, (latency, limit), played, seen)

    @property
    def _partitions(self) -> int:
        """Number of partitions of the input."""
        assigned = partitioning(self.feature_set)
        return 1 if assigned is None else assigned.partitions

    def _load_labels(self, prepared: Prepared) -> None:
        """Load all labels; windows ignore each one until its label time."""
        with closing(RedisStore(self.valkey.url)) as store:
            namespace = label_namespace(store, self.feature_set.name, self.settings.state_name)
            for path in filter(None, (prepared.history, prepared.live)):
                load_frauds(self.feature_set, path, store, namespace)

    def _start_worker(self) -> WorkerProcess:
        counts = (self._partitions, _OUTPUT_PARTITIONS, 1)
        create_topics(self.kafka.bootstrap, dict(zip(TOPICS, counts, strict=True)))
        topics = dict(zip(("INPUT", "OUTPUT", "DEAD_LETTER"), TOPICS, strict=True))
        environment = {
            "FRAUD_WORKER_KAFKA__BOOTSTRAP_SERVERS": self.kafka.bootstrap,
            "FRAUD_WORKER_STORE__URL": self.valkey.url,
            "FRAUD_WORKER_MODEL__BUNDLE": str(self.folder / "model"),
            **{f"FRAUD_WORKER_KAFKA__{name}_TOPIC": topic for name, topic in topics.items()},
        }
        return WorkerProcess(self.pipeline, environment, self.folder / "worker.log")

    def _session(self, topic: str, program: Program, reader: Reader) -> PlaySession:
        wire = self.settings.wire
        prefix = framed(wire.schema_id) if wire.framing == "confluent" else b""
        end = np.zeros(self._partitions, np.int64)
        bootstrap, feature_set = self.kafka.bootstrap, self.feature_set
        return PlaySession(bootstrap, topic, feature_set, prefix, program, reader, end)

    def _play_history(self, session: PlaySession, path: Path, events: int) -> None:
        started = time.monotonic()
        note(f"the worker is ready; playing {HISTORY_DAYS} days of history: {events:,} events …")
        with progress("history") as update:
            session.play(
                path, events, None, lambda _: update(session.reader.answers, events), keep=False
            )
        took_s = time.monotonic() - started
        note(f"scored the history in {took_s:.1f} s")

    def _play_live(
        self, session: PlaySession, prepared: Prepared, rate: float | None
    ) -> tuple[Played, Latency]:
        """Play the live events; return them, and their latency."""
        events = prepared.live_events
        watch = Watch(session.reader, TOPICS[1], load_policy(self.settings.policy).default)
        with live_screen(watch, events, backlog=rate is None) as show:
            played = session.play(prepared.live, events, rate, show, keep=True)
        session.reader.stop()
        return played, watch.arrivals().latency(played)


@contextmanager
def _folder() -> Iterator[Path]:
    """Temporary folder; when the demo fails, it is kept and its path is printed."""
    folder = Path(tempfile.mkdtemp(prefix="fraud-worker-demo."))
    try:
        yield folder
    except BaseException:
        note(f"logs and data are kept in {folder}")
        raise
    shutil.rmtree(folder, ignore_errors=True)
