"""Apache Kafka: one process that is broker and controller, with a replication factor of one."""

from __future__ import annotations

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
from tools.progress import doing

VERSION = "4.2.2"
_FILES = Path(__file__).with_name(f"kafka-{VERSION}.sha256")
_JAVA = 17
# First version that can keep the classes loaded and profiled at one start for the next.
_JAVA_WITH_AOT_CACHE = 25
# A cache has 65 MB; every virtual environment has its own runtime.
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
    use on a machine fetches Kafka's jars into the cache.
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


class _Training(Kafka):
    """A broker whose run leaves an ahead-of-time cache behind when it ends."""

    stop_timeout_s = 60.0

    def __init__(self, folder: Path, java: Java, jars: Path, output: Path) -> None:
        super().__init__(folder)
        self._java = [str(java.command), *_JVM, *_classes(jars)]
        self._output = output

    def prepare(self) -> list[str]:
        command, *rest = self._prepared(self._java)
        return [command, f"-XX:AOTCacheOutput={self._output}", *rest]


def _classes(jars: Path) -> list[str]:
    return ["-cp", f"{jars}/*"]


def _aot_flags(java: Java, jars: Path) -> list[str]:
    """Start from the ahead-of-time cache of this runtime: a start takes a third of the time.

    Made by a trial run at the first use. Without one, everything works the same but slower.
    """
    if java.major < _JAVA_WITH_AOT_CACHE:
        return []
    cache = cache_dir() / f"{jars.name}-{java.identity}.aot"
    with locked(cache.parent / f"{jars.name}.aot.lock"):
        if cache.exists():
            os.utime(cache)
        else:
            with (
                doing("Preparing faster starts of Apache Kafka, once (about 15 seconds)"),
                tempfile.TemporaryDirectory(dir=cache.parent, prefix="kafka-trial.") as scratch,
            ):
                part = Path(scratch) / "part.aot"
                _Training(Path(scratch) / "kafka", java, jars, part).__enter__().stop()
                part.replace(cache)
                _prune(cache.parent)
    # No log lines when the runtime cannot use the cache.
    return [f"-XX:AOTCache={cache}", "-Xlog:aot*=off", "-Xlog:cds*=off"]


def _prune(folder: Path) -> None:
    """Remove the ahead-of-time caches of runtimes that have not been used for the longest."""
    caches = sorted(folder.glob("*.aot"), key=lambda cache: cache.stat().st_mtime)
    for cache in caches[:-_AOT_CACHES_KEPT]:
        cache.unlink()
