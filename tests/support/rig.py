"""Pipeline on real servers, controlled and checked from outside: processes, topics and HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from confluent_kafka import KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from tests.oracles.topics import read_to_end
from tests.support.fork_server import run_forked
from tools.embedded.process import LOOPBACK, last_lines
from tools.embedded.topic_admin import committed_offsets, create_topics

_latest: Callable[[], Any] = OffsetSpec.latest
ROOT = Path(__file__).resolve().parents[2]
PIPELINE = ROOT / "tests" / "system" / "pipeline"
LOOKUPS = ("customer_profile", "terminal_profile")
SESSION_TIMEOUT_S = 6.0
_LOOK_S = 0.1
_COMMAND_S = 120.0
_AUDIT_S = 240.0
_DELETION_S = 60.0


def await_that(
    condition: Callable[[], bool], deadline_s: float, what: str, state: Callable[[], object]
) -> None:
    """Wait until ``condition`` is True.

    Args:
        condition: Condition to wait for.
        deadline_s: Timeout in seconds.
        what: Description of the condition, for the message.
        state: Returns the current state, for the message.

    Raises:
        TimeoutError: The condition is still False; the message shows the state.
    """
    until = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {deadline_s:g} s; state: {state()}")
        time.sleep(_LOOK_S)


def train(folder: Path) -> None:
    """Write a model and the files of the lookups to ``folder``; all rigs can share it."""
    run("tests.oracles.train", str(folder), timeout_s=_COMMAND_S)


class Rig:
    """A pipeline folder with its own topics.

    Args:
        folder: Folder to create; its name is used for the group and the topics.
        trained: Folder that ``train`` has filled.
        servers: Bootstrap address of Kafka, URL of the store.
        partitions: Number of partitions of the input topic.
        settings: Sections of worker.yaml, merged over the defaults.
    """

    def __init__(
        self,
        folder: Path,
        trained: Path,
        servers: tuple[str, str],
        *,
        partitions: int = 3,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.folder = folder
        self.bootstrap, redis_url = servers
        name = folder.name
        self.topics = {"input": name, "output": f"{name}.scores", "dead_letter": f"{name}.dead"}
        # Input and output have different numbers of partitions: the order must survive that.
        self._sizes = dict(zip(self.topics, (partitions, partitions + 1, 1), strict=True))
        self.group = name
        self._trained = trained
        self.partitions = partitions
        folder.mkdir(parents=True)
        sections = _settings(self, redis_url, trained)
        for section, own in (settings or {}).items():
            sections[section] = {**sections.get(section, {}), **own}
        (folder / "worker.yaml").write_text(yaml.safe_dump(sections))
        self.create_topics(*self.topics)

    def configure(self, section: str, **values: Any) -> None:
        """Change a section of worker.yaml, for workers that start later."""
        path = self.folder / "worker.yaml"
        sections = yaml.safe_load(path.read_text())
        sections[section] = {**sections.get(section, {}), **values}
        path.write_text(yaml.safe_dump(sections))

    def create_topics(self, *roles: str) -> None:
        """Create topics by their names in worker.yaml without ``_topic``."""
        create_topics(self.bootstrap, {self.topics[role]: self._sizes[role] for role in roles})
        # A client that knows the leaders of deleted topics gets NOT_LEADER errors (measured).
        self._admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def delete_topics(self, *roles: str) -> None:
        """Delete topics by their names in worker.yaml without ``_topic``."""
        for answer in self._admin.delete_topics([self.topics[role] for role in roles]).values():
            answer.result(_DELETION_S)

    def pass_offsets(self, offsets: Mapping[int, int]) -> None:
        """Let each input partition grow to an offset by aborted records, which need no answer."""
        topic = self.topics["input"]
        producer = Producer(
            {"bootstrap.servers": self.bootstrap, "transactional.id": topic, "log_level": 0}
        )
        producer.init_transactions()
        producer.begin_transaction()
        for partition, end in self.ends().items():
            for _ in range(end, offsets[partition]):
                producer.produce(topic, b"", partition=partition)
                producer.poll(0)
        producer.flush()
        producer.abort_transaction()

    def outputs(self) -> int:
        """Number of committed scores and dead letters."""
        return sum(
            len(messages)
            for role in ("output", "dead_letter")
            for messages in read_to_end(self.bootstrap, self.topics[role])
        )

    def input_id(self) -> str:
        """Kafka's id of the input topic, which changes when the topic is created again."""
        name = self.topics["input"]
        asked = self._admin.describe_topics(TopicCollection([name]), request_timeout=10)
        return str(asked[name].result().topic_id)

    def load_lookups(self) -> None:
        """Load the lookups into the store; without them, events are scored with the defaults."""
        for lookup in LOOKUPS:
            self.command("features", "load", lookup, str(self._trained / f"{lookup}.parquet"))

    def command(self, *words: str) -> None:
        """Run ``fraud-worker`` with these arguments on this pipeline, and wait."""
        run("tools", *words, "--pipeline", str(self.folder), timeout_s=_COMMAND_S)

    def audit(self) -> dict[str, Any]:
        """Verdict of the oracle on the current content of the topics."""
        output = run("tests.oracles.audit", str(self.folder), timeout_s=_AUDIT_S)
        verdict = json.loads(output)
        assert isinstance(verdict, dict)
        return verdict

    def ends(self) -> dict[int, int]:
        """End offset of each input partition."""
        asked = {at: _latest() for at in self._inputs()}
        answers = self._admin.list_offsets(asked, request_timeout=10)
        return {at.partition: answer.result().offset for at, answer in answers.items()}

    def checkpoints(self) -> dict[int, int]:
        """Committed offset of each input partition that has one."""
        sizes = {self.topics["input"]: self.partitions}
        answers = committed_offsets(self.bootstrap, self.group, sizes)
        return {at.partition: at.offset for at in answers if at.offset >= 0}

    def members(self) -> int:
        """Number of members of the group; 0 while it rebalances."""
        (answer,) = self._admin.describe_consumer_groups([self.group], request_timeout=10).values()
        group = answer.result()
        return len(group.members) if group.state.name == "STABLE" else 0

    def await_all_answered(self, deadline_s: float) -> None:
        """Wait until the group has committed the input up to its current end."""
        ends = self._ends_of_records()
        await_that(
            lambda: _quietly(self.checkpoints) == ends,
            deadline_s,
            "all records answered",
            partial(self._progress, ends),
        )

    def await_checkpoints_near_the_end(self, deadline_s: float) -> None:
        """Wait like ``await_all_answered``, for workers that may commit one offset too few."""
        ends = self._ends_of_records()

        def near() -> bool:
            committed = _quietly(self.checkpoints)
            return all(end - committed.get(partition, 0) <= 1 for partition, end in ends.items())

        await_that(near, deadline_s, "all records read", partial(self._progress, ends))

    def _ends_of_records(self) -> dict[int, int]:
        return {partition: end for partition, end in self.ends().items() if end}

    def _progress(self, ends: Mapping[int, int]) -> str:
        logs = "\n".join(f"{log}:\n{last_lines(log)}" for log in self.folder.glob("*.log"))
        return f"committed {_quietly(self.checkpoints)} of {ends}; {logs}"

    def _inputs(self) -> list[TopicPartition]:
        return [TopicPartition(self.topics["input"], p) for p in range(self.partitions)]


def run(*program: object, timeout_s: float) -> str:
    """Run a module with arguments, and return its output.

    Raises:
        RuntimeError: It failed; the message contains its stderr.
    """
    done = run_forked(*program, timeout_s=timeout_s)
    if done.returncode:
        raise RuntimeError(f"{' '.join(done.args)} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def _quietly(ask: Callable[[], dict[int, int]]) -> dict[int, int]:
    """Return the answer of the brokers, or nothing while they do not respond."""
    try:
        return ask()
    except KafkaException:
        return {}


def _settings(rig: Rig, redis_url: str, trained: Path) -> dict[str, Any]:
    return {
        "features": str(PIPELINE / "features.yaml"),
        "policy": str(PIPELINE / "policy.yaml"),
        "kafka": {
            "bootstrap_servers": rig.bootstrap,
            "group": rig.group,
            **{f"{name}_topic": topic for name, topic in rig.topics.items()},
            "start_from": "earliest",
            "consumer": {
                "session.timeout.ms": int(SESSION_TIMEOUT_S * 1000),
                "heartbeat.interval.ms": 1500,
            },
            "producer": {"transaction.timeout.ms": 5000},
        },
        "store": {"url": redis_url},
        "model": {"bundle": str(trained / "model"), "device": "cpu", "threads": 1},
        # A call that hangs in librdkafka must end before the next fault.
        "delivery": {"watchdog_s": 20.0},
        "output": {"vector": "all", "carry": ["amount"]},
        "http": {"host": LOOPBACK},
        "logs": {"format": "json"},
    }
