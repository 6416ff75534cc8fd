"""Measure the throughput with reasons for one event in a hundred, and without reasons."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import fastavro

from benchmarks.models.material import EXPLAINED_SHARE, Material
from benchmarks.models.policies import write_explaining, write_reviewing
from benchmarks.programs import Run, RunError, Worker
from benchmarks.rounds import measured_run
from benchmarks.testbed import Testbed, note
from benchmarks.throughput import Measured, Span
from tools.topics.topic_log import read_to_end
from worker.schema_sources import framed, score_schema

BASE = "without_reasons"
"""Program that the others are compared with."""
ROUNDS = 3
_EVERY = 31
"""Interval of the checked scores."""
_AMISS = 0.2
_PREFIX_BYTES = len(framed(0))


@dataclass(slots=True)
class Reasoned:
    """Check that the scores of a program have the expected reasons.

    Attributes:
        reasons: True if the program gives reasons.
        share: Share of the checked scores that are for review.
    """

    reasons: bool
    _explained: list[bool] = field(default_factory=list)
    _schema: Any = field(default_factory=lambda: fastavro.parse_schema(score_schema()))

    @property
    def share(self) -> float:
        return sum(self._explained) / max(1, len(self._explained))

    def check(self, testbed: Testbed, run: Run, committed: int) -> None:
        """Check a run: one score for each committed event, and EXPLAINED_SHARE of them for review.

        Raises:
            RunError: A score has wrong reasons, or the number or share of scores is wrong.
        """
        seen, reviewed = 0, []
        for records in read_to_end(testbed.kafka.bootstrap, run.output_topic):
            for value in records.values[-seen % _EVERY :: _EVERY]:
                score = self._decode(value or b"")
                reviewed.append(score["decision"] == "review")
                if bool(score["reasons"]) != (self.reasons and reviewed[-1]):
                    raise RunError(f"{run.name}: wrong reasons on {score}")
            seen += len(records)
        share = sum(reviewed) / max(1, len(reviewed))
        if seen != committed:
            raise RunError(f"{run.name}: {committed} events were committed, {seen} records read")
        if abs(share / EXPLAINED_SHARE - 1.0) > _AMISS:
            raise RunError(f"{run.name}: {share:.2%} of the events are for review")
        self._explained += reviewed

    def _decode(self, value: bytes) -> dict[str, Any]:
        record: Any = fastavro.schemaless_reader(
            io.BytesIO(value[_PREFIX_BYTES:]), self._schema, None
        )
        return dict(record)


@dataclass(frozen=True, slots=True)
class Throughput:
    """Measurements of the throughput.

    Attributes:
        runs: Runs by program.
        share: Share of the events that were explained.
    """

    runs: Mapping[str, list[Measured]]
    share: float


def measure_throughput(
    testbed: Testbed, material: Material, span: Span, gpus: Sequence[str]
) -> Throughput:
    """Run all programs in turn: on the CPU with and without reasons, on ``gpus`` with reasons.

    Raises:
        RunError: A program fails, or its scores are wrong.
    """
    explaining = {
        "POLICY": str(write_explaining(testbed.folder / "reasons.yaml", material.threshold))
    }
    reviewing = {"POLICY": str(write_reviewing(testbed.folder / "bare.yaml", material.threshold))}
    on_gpus = {name: {**explaining, "MODEL__DEVICE": name} for name in gpus}
    programs = {"worker": explaining, BASE: reviewing, **on_gpus}
    checks = {name: Reasoned(settings is not reviewing) for name, settings in programs.items()}
    runs: dict[str, list[Measured]] = defaultdict(list)
    for number in range(1, ROUNDS + 1):
        for name, settings in programs.items():
            run = Run(f"{name}-{number}", settings=settings)
            runs[name].append(measured_run(testbed, Worker, run, span, checks[name].check))
    note(f"{checks['worker'].share:.2%} of the events were explained")
    return Throughput(runs, checks["worker"].share)
