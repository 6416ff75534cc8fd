"""Apache Kafka: one process that is broker and controller, with a replication factor of one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from base.errors import DependencyUnavailableError
from base.user_folders import cache_dir, locked
from tools.embedded.artifacts import fetched
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
# In a trial run.
_TRANSACTIONS_S = 15.0
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
    use on a machine fetches Kafka's jars into the cache, and makes a trial run for faster starts.
    """

    name = f"Apache Kafka {VERSION}"

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        port: int | None = None,
        spawn: Spawn = Guarded,
    ) -> None:
        super().__init__(folder, port, spawn)
        self._settings = dict(settings or {})
        self._controller_port = free_port()

    @property
    def bootstrap(self) -> str:
        """The broker's address, as host:port."""
        return f"{LOOPBACK}:{self.port}"

    def prepare(self) -> list[str]:
        java, jars = find_java(_JAVA), fetched(_FILES, self.name)
        aot = _aot_flags(_aot_cache(java, jars))
        return self._prepared([str(java.command), *_JVM, *aot, *_classes(jars)])

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


class RecordingKafka(Kafka):
    """A broker that leaves an ahead-of-time cache for later ones when it stops, if there is none.

    While it records it is like a broker without a cache. Its stop then takes some ten seconds, in
    which it writes what transactions have made it load, link and profile (decision 21). After an
    error in its context it is killed, and leaves nothing.
    """

    # It writes the cache with one core.
    stop_timeout_s = 120.0
    _cache: Path | None = None

    def prepare(self) -> list[str]:
        java, jars = find_java(_JAVA), fetched(_FILES, self.name)
        cache = _aot_cache(java, jars)
        self._cache = None if cache is None or cache.exists() else cache
        if self._cache is None:
            return super().prepare()
        command, *rest = self._prepared([str(java.command), *_JVM, *_classes(jars)])
        return [command, f"-XX:AOTCacheOutput={self._part}", *rest]

    def stop(self) -> None:
        cache, part = self._cache, self._part
        if cache is None:
            super().stop()
            return
        with doing("Preparing faster starts of Apache Kafka, once (about 10 seconds)"):
            super().stop()
        if part.exists():
            # First beside it: a rename within one file system leaves no half-written file.
            copied = Path(shutil.copyfile(part, cache.with_suffix(f".{os.getpid()}")))
            copied.replace(cache)
            _prune(cache.parent)

    def __exit__(self, *error: object) -> None:
        if any(error) and self._process is not None:
            self.kill()
        super().__exit__()

    @property
    def _part(self) -> Path:
        return self.folder / "part.aot"


def _make_aot_cache() -> None:
    """Make a trial run that leaves an ahead-of-time cache.

    If it fails, brokers start without one: everything works the same but slower.
    """
    with (
        tempfile.TemporaryDirectory(prefix="fraud-worker-kafka.") as folder,
        suppress(DependencyUnavailableError),
        ExitStack() as stack,
        doing("Trying out Apache Kafka, for faster starts, once (about 20 seconds)"),
    ):
        broker = stack.enter_context(RecordingKafka(Path(folder)))
        # Transactions that fail still leave a cache, of the start.
        with suppress(KafkaException, BufferError):
            transact(broker.bootstrap, _TRANSACTIONS_S)


def _classes(jars: Path) -> list[str]:
    return ["-cp", f"{jars}/*"]


def _aot_cache(java: Java, jars: Path) -> Path | None:
    """Path of the ahead-of-time cache for this runtime; None if the runtime has no such caches."""
    if java.major < _JAVA_WITH_AOT_CACHE:
        return None
    return cache_dir() / f"{jars.name}-{java.identity}-transactions.aot"


def _aot_flags(cache: Path | None) -> list[str]:
    """Options to start from a cache; it is made first if it is absent."""
    if cache is None:
        return []
    with locked(cache.with_suffix(".lock")):
        if not cache.exists():
            _make_aot_cache()
    if not cache.exists():
        return []
    os.utime(cache)
    # No log lines when the runtime cannot use the cache.
    return [f"-XX:AOTCache={cache}", "-Xlog:aot*=off", "-Xlog:cds*=off"]


def _prune(folder: Path) -> None:
    """Remove the ahead-of-time caches of runtimes that have not been used for the longest."""
    caches = sorted(folder.glob("*.aot"), key=lambda cache: cache.stat().st_mtime)
    for cache in caches[:-_AOT_CACHES_KEPT]:
        cache.unlink(missing_ok=True)
