"""Apache Kafka: one process that is broker and controller, with a replication factor of one."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from base.errors import DependencyUnavailableError
from tools.embedded.artifacts import fetched
from tools.embedded.cache import cache_dir, locked
from tools.embedded.java import Java, find_java
from tools.embedded.process import (
    LOOPBACK,
    Guarded,
    Server,
    Spawn,
    accepts_connections,
    free_port,
    last_lines,
)
from tools.embedded.trial import transact
from tools.progress import doing

VERSION = "4.2.2"
_FILES = Path(__file__).with_name(f"kafka-{VERSION}.sha256")
_JAVA = 17
# First version that can keep the classes loaded and profiled at one start for the next.
_JAVA_WITH_AOT_CACHE = 25
# A trial run: its transactions, and all of it on two idle cores.
_TRANSACTIONS_S, _TRIAL_S = 15.0, 30.0
# A cache has 75 MB; every virtual environment has its own runtime.
_AOT_CACHES_KEPT = 3
_FORMAT_TIMEOUT_S = 60
# The serial collector starts fastest and takes least memory; at this heap its pauses are short.
_JVM = ("-Xmx512m", "-XX:+UseSerialGC", "-Dlog4j2.level=WARN")
_PROPERTIES = "server.properties"
SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "3",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "3",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    # After SIGKILL the broker may register again only when its last registration has run out.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # Its default takes a quarter of the heap from the start.
    "log.cleaner.dedupe.buffer.size": "8388608",
    # Records of old events may carry the events' times; they must not expire.
    "log.retention.ms": "-1",
    # Offsets must not expire either: a group that restarts after weeks continues where it was.
    "offsets.retention.minutes": "2147483647",
}


class Kafka(Server):
    """One broker, its data, log and ports kept in ``folder``.

    ``settings`` are further properties of the broker, as in Kafka's own documentation. The first
    use on a machine fetches Kafka's jars into the cache, and, unless ``trial`` is False, makes a
    trial run for faster starts.
    """

    name = f"Apache Kafka {VERSION}"

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        port: int | None = None,
        spawn: Spawn = Guarded,
        *,
        trial: bool = True,
    ) -> None:
        super().__init__(folder, port, spawn)
        self._trial = trial
        self._settings = dict(settings or {})
        self._controller_port = free_port()

    @property
    def bootstrap(self) -> str:
        """The broker's address, as host:port."""
        return f"{LOOPBACK}:{self.port}"

    def prepare(self) -> list[str]:
        if self._trial:
            prepare_fast_starts()
        java = find_java(_JAVA)
        jars = fetched(_FILES, self.name)
        return self._prepared([str(java.command), *_JVM, *_aot_flags(java, jars), *_classes(jars)])

    def answers(self) -> bool:
        if not accepts_connections(self.port):
            return False
        with AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0}) as client:
            try:
                return bool(client.list_topics(timeout=1).brokers)
            except KafkaException:
                return False

    def _prepared(self, java: list[str]) -> list[str]:
        """The start command; ``java`` is the JVM's command line up to the class to run."""
        properties = self.folder / _PROPERTIES
        data = self.folder / "data"
        text = "".join(f"{name}={value}\n" for name, value in self._properties(data).items())
        properties.write_text(text)
        if not data.exists():
            self._format(java, properties)
        return [*java, "kafka.Kafka", str(properties)]

    def _properties(self, data: Path) -> dict[str, str]:
        controller = f"{LOOPBACK}:{self._controller_port}"
        return {
            **SETTINGS,
            "log.dirs": str(data),
            "controller.quorum.voters": f"1@{controller}",
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            **self._settings,
        }

    def _format(self, java: list[str], properties: Path) -> None:
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # In one word: the id may begin with a dash.
        arguments = [f"--cluster-id={cluster}", f"--config={properties}"]
        tool = ["kafka.tools.StorageTool", "format", *arguments]
        with self.log.open("ab") as out:
            done = subprocess.run(
                [*java, *tool], stdout=out, stderr=out, timeout=_FORMAT_TIMEOUT_S, check=False
            )
        if done.returncode:
            raise DependencyUnavailableError(
                f"{self.name} could not make its data folder; {self.log} ends with:\n"
                f"{last_lines(self.log)}"
            )


class _Trial(Kafka):
    """A broker whose run leaves an ahead-of-time cache behind when it ends."""

    # It then writes the cache, with all its code, on one core.
    stop_timeout_s = 120.0

    def __init__(self, folder: Path, java: Java, jars: Path, output: Path) -> None:
        super().__init__(folder, trial=False)
        self._java = [str(java.command), *_JVM, *_classes(jars)]
        self._output = output

    def prepare(self) -> list[str]:
        command, *rest = self._prepared(self._java)
        return [command, f"-XX:AOTCacheOutput={self._output}", *rest]


def prepare_fast_starts() -> None:
    """Make the ahead-of-time cache of the runtime that is used here, if it is absent.

    A trial run loads and links the classes, and finds out which code transactions need most: the
    first transactions of a broker with the cache are several times faster (decision 21). Where a
    trial fails, brokers start without a cache: everything works the same but slower.
    """
    java, jars = find_java(_JAVA), fetched(_FILES, Kafka.name)
    cache = _aot_cache(java, jars)
    if java.major < _JAVA_WITH_AOT_CACHE or cache.exists():
        return
    with locked(cache.parent / f"{jars.name}.aot.lock"):
        if cache.exists():
            return
        with (
            doing(f"Preparing faster starts of {Kafka.name}, once (about {_TRIAL_S:g} seconds)"),
            tempfile.TemporaryDirectory(dir=cache.parent, prefix="kafka-trial.") as scratch,
        ):
            part = Path(scratch) / "part.aot"
            trial = _Trial(Path(scratch) / "kafka", java, jars, part)
            # Transactions that fail still leave a cache, for faster starts.
            with contextlib.suppress(DependencyUnavailableError, KafkaException), trial:
                transact(trial.bootstrap, _TRANSACTIONS_S)
            if part.exists():
                part.replace(cache)
        _prune(cache.parent)


def _classes(jars: Path) -> list[str]:
    return ["-cp", f"{jars}/*"]


def _aot_cache(java: Java, jars: Path) -> Path:
    return cache_dir() / f"{jars.name}-{java.identity}-transactions.aot"


def _aot_flags(java: Java, jars: Path) -> list[str]:
    """Options to start from the ahead-of-time cache of this runtime, if there is one."""
    cache = _aot_cache(java, jars)
    try:
        os.utime(cache)
    except FileNotFoundError:
        return []
    # No log lines when the runtime cannot use the cache.
    return [f"-XX:AOTCache={cache}", "-Xlog:aot*=off", "-Xlog:cds*=off"]


def _prune(folder: Path) -> None:
    """Remove the ahead-of-time caches of runtimes that have not been used for the longest."""
    caches = sorted(folder.glob("*.aot"), key=lambda cache: cache.stat().st_mtime)
    for cache in caches[:-_AOT_CACHES_KEPT]:
        cache.unlink()
