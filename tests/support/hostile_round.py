"""One round of hostile records, with its own topics and worker, and the verdict."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.oracles.answered import Answer, Pipeline, Verdict
from tests.support.fleet import Worker
from tests.support.hostile_bodies import HostileBodies
from tests.support.hostile_flood import Flood
from tests.support.hostile_limits import draw_limits, make_folder, make_topics
from tests.support.hostile_records import RecordMaker

RUN = ("tools", "run")
RECORDS = 400
LARGE_BYTES = 30_000_000
PATIENCE_S = 30.0
STARTS = 6
_CONFIGURATION = 2
_LOOK_S = 0.1
_ANSWER_S = 10.0
_END_S = 30.0
_DELETION_S = 30.0
_TRACEBACK = "Traceback (most recent call last)"
_SHOWN = 5

Say = Callable[[str], None]


@dataclass(slots=True)
class Result:
    """Counts of one round, or of all rounds together.

    Attributes:
        counts: Counts by the names of the command's result.
        sent: Number of records that need an answer, by kind.
        answers: Number of answers, by kind of the record and code of the answer.
    """

    counts: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, other: Result) -> None:
        self.counts.update(other.counts)
        self.sent.update(other.sent)
        self.answers.update(other.answers)


class Supervised:
    """A worker that is restarted whenever it ends, with at most STARTS starts.

    Args:
        start: Starts the worker.
        patience_s: Maximum time without progress, in seconds; twice as long after a start.
        say: Prints a line of progress.

    Attributes:
        crashes: Number of times that it ended by itself or did not drain.
    """

    def __init__(self, start: Callable[[], Worker], patience_s: float, say: Say) -> None:
        self._start, self._patience_s, self._say = start, patience_s, say
        self._committed = 0
        self._starts = self.crashes = 0
        self._begin()

    def tend(self, committed: int) -> bool:
        """Restart the worker if it has ended.

        Args:
            committed: Sum of the committed offsets, which measures the progress.

        Returns:
            False if waiting any longer is useless.
        """
        if committed > self._committed:
            self._committed = committed
            self._until = time.monotonic() + self._patience_s
        if self._worker.status() is None:
            if time.monotonic() <= self._until:
                return True
            self._say("the worker makes no progress")
            return False
        status = self._worker.wait(_END_S)
        self.crashes += 1
        self._say(f"the worker ended by itself with status {status}")
        if self._starts == 1:
            self._say(self._worker.tail())
        if status == _CONFIGURATION or self._starts >= STARTS:
            return False
        self._begin()
        return True

    def end(self, *, drain: bool) -> None:
        """End the worker; with ``drain`` it must end in order, and a failure counts as a crash."""
        if self._worker.status() is not None:
            self._worker.wait(_END_S)
            self.crashes += drain
            return
        if not drain:
            self._say(self._worker.tail())
            self._worker.kill()
            return
        try:
            status = self._worker.drain()
        except TimeoutError as error:
            self.crashes += 1
            self._say(str(error))
            self._worker.kill()
            return
        if status:
            self.crashes += 1
            self._say(f"the worker drained with status {status}; {self._worker.tail()}")

    def _begin(self) -> None:
        self._worker = self._start()
        self._starts += 1
        self._until = time.monotonic() + 2 * self._patience_s


class Round:
    """One round.

    Args:
        folder: Pipeline folder to create; its name is used for the group and the topics.
        servers: Bootstrap address of Kafka, URL of the store.
        draw: Source of all choices.
        say: Prints a line of progress.
        program: Program to run instead of the worker, in tests of the command itself.
        patience_s: Maximum time without progress, in seconds.
    """

    def __init__(
        self,
        folder: Path,
        servers: tuple[str, str],
        draw: random.Random,
        say: Say,
        *,
        program: Sequence[str] = RUN,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.folder = folder
        self._bootstrap = servers[0]
        self._draw, self._say = draw, say
        self._program, self._patience_s = program, patience_s
        self._limits = draw_limits(draw)
        say(f"{folder.name}: {self._limits.summary()}")
        topics = make_topics(self._bootstrap, folder.name, self._limits)
        make_folder(folder, servers, topics, self._limits)
        self._pipeline = Pipeline(self._bootstrap, *topics.values())
        self._admin = AdminClient({"bootstrap.servers": self._bootstrap, "log_level": 0})
        topic, partitions = self._pipeline.inputs, self._limits.partitions
        sizes = self._limits.sizes()
        maker = RecordMaker(draw, HostileBodies(draw, sizes), sizes, topic)
        self._flood = Flood(draw, self._bootstrap, topic, partitions, maker)
        self._inputs = [TopicPartition(topic, partition) for partition in range(partitions)]
        # Not a member: it only reads the committed offsets.
        self._group = Consumer(
            {"bootstrap.servers": self._bootstrap, "group.id": folder.name, "log_level": 0}
        )

    def play(self) -> Result:
        """Write half of the records before the worker starts and half after, then judge."""
        self._send()
        supervised = Supervised(
            lambda: Worker(self, "one", program=self._program), self._patience_s, self._say
        )
        answered_all = False
        try:
            self._send()
            answered_all = self._await_answers(supervised)
        finally:
            supervised.end(drain=answered_all)
        return self._result(supervised.crashes)

    def remove(self) -> None:
        """Delete the folder and the topics."""
        self._group.close()
        shutil.rmtree(self.folder)
        topics = [self._pipeline.inputs, self._pipeline.scores, self._pipeline.dead_letters]
        for deleted in self._admin.delete_topics(topics).values():
            deleted.result(_DELETION_S)

    def _send(self) -> None:
        self._flood.send(RECORDS // 2, LARGE_BYTES // 2)
        if self._draw.random() < 0.5:
            count = self._draw.randint(1, 4)
            self._flood.transactions([self._draw.random() < 0.5 for _ in range(count)])

    def _await_answers(self, supervised: Supervised) -> bool:
        """Wait for the group; return True once it has committed all records, False if it stops."""
        # Not the ends of the partitions, because control records may follow the last record.
        last = self._pipeline.last_offsets()
        while any(self._committed().get(partition, 0) <= last[partition] for partition in last):
            if not supervised.tend(sum(self._committed().values())):
                return False
            time.sleep(_LOOK_S)
        return True

    def _committed(self) -> dict[int, int]:
        """Committed offsets; empty while the brokers do not answer."""
        try:
            answers = self._group.committed(self._inputs, timeout=_ANSWER_S)
        except KafkaException:
            return {}
        return {at.partition: at.offset for at in answers if at.offset >= 0}

    def _result(self, crashes: int) -> Result:
        answers = self._pipeline.answers()
        verdict = self._pipeline.judge(answers, self._committed())
        self._show(verdict)
        scores = sum(answer.at.topic == self._pipeline.scores for answer in answers)
        repeats = "duplicated" if self._limits.exactly_once else "repeated"
        log = (self.folder / "one.log").read_text(errors="replace")
        counts: dict[str, int] = {
            "records": verdict.records,
            "scores": scores,
            "dead_letters": len(answers) - scores,
            "lost": len(verdict.lost),
            repeats: len(verdict.duplicated),
            "stuck": len(verdict.stuck),
            "stray": len(verdict.stray),
            "crashes": crashes,
            "tracebacks": log.count(_TRACEBACK),
            "refused_inputs": self._flood.refused,
            "aborted_inputs": self._flood.aborted,
            "rounds": 1,
        }
        return Result(Counter(counts), self._flood.sent(), self._by_kind(answers))

    def _by_kind(self, answers: Sequence[Answer]) -> Counter[tuple[str, str]]:
        counts: Counter[tuple[str, str]] = Counter()
        for answer in answers:
            if answer.source is not None:
                place = answer.source.partition, answer.source.offset
                counts.update((kind, answer.code) for kind in self._flood.kinds.get(place, ()))
        return counts

    def _show(self, verdict: Verdict) -> None:
        """Print the first cases of each fault, with the kinds of their records."""
        cases: dict[str, list[Any]] = {
            "lost": verdict.lost,
            "stuck": verdict.stuck,
            "stray": verdict.stray,
        }
        if self._limits.exactly_once:
            cases["duplicated"] = verdict.duplicated
        for name, examples in cases.items():
            for case in examples[:_SHOWN]:
                source = case.source if isinstance(case, Answer) else case
                place = (source.partition, source.offset) if source else (-1, -1)
                self._say(f"{name}: {case}: {self._flood.kinds.get(place, 'not of this command')}")
