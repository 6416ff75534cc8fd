"""Oracle of delivery: compare the output topics with a serial run of the log."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from schemas.batch import Position


@dataclass(frozen=True, slots=True)
class Answer:
    """A committed score or dead letter.

    Attributes:
        source: Position of the input record that it names.
        at: Position of the answer itself.
        content: All parts of it that a serial run determines.
    """

    source: Position
    at: Position
    content: Hashable


@dataclass(frozen=True, slots=True)
class Verdict:
    """Violations of exactly-once, ordered delivery.

    Attributes:
        lost: Input positions without an answer.
        duplicated: Answers beyond the first of a position.
        out_of_order: Answers that follow the answer to a later record of their input partition.
        scores_different: Answers whose content differs from the serial run, or to no record.
    """

    lost: list[Position] = field(default_factory=list)
    duplicated: list[Answer] = field(default_factory=list)
    out_of_order: list[Answer] = field(default_factory=list)
    scores_different: list[Answer] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Number of violations of each kind."""
        return {name: len(getattr(self, name)) for name in self.__dataclass_fields__}

    @property
    def clean(self) -> bool:
        """True if there is no violation."""
        return not any(self.counts().values())


def judge(
    inputs: Collection[Position], answers: Sequence[Answer], serial: Mapping[Position, Hashable]
) -> Verdict:
    """Compare all answers with the input records and a serial run.

    Args:
        inputs: Positions of all input records.
        answers: Answers of all output topics.
        serial: Expected content of the answer to each input position. Contents are compared bit by
            bit, so numbers must be bytes: NaN is not equal to itself.
    """
    answered = {answer.source for answer in answers}
    firsts, repeats = _split(answers)
    return Verdict(
        lost=[position for position in inputs if position not in answered],
        duplicated=repeats,
        out_of_order=_out_of_order(firsts),
        scores_different=[
            answer
            for answer in answers
            if answer.source not in serial or serial[answer.source] != answer.content
        ],
    )


def _split(answers: Iterable[Answer]) -> tuple[list[Answer], list[Answer]]:
    """Split the answers into the first of each position, and all others."""
    seen: set[Position] = set()
    firsts: list[Answer] = []
    repeats: list[Answer] = []
    for answer in answers:
        (repeats if answer.source in seen else firsts).append(answer)
        seen.add(answer.source)
    return firsts, repeats


def _out_of_order(answers: Iterable[Answer]) -> list[Answer]:
    """Answers that follow, in their partition, one to a later record of the same input partition."""
    highest: dict[tuple[str, int, str, int], int] = {}
    behind: list[Answer] = []
    for answer in sorted(answers, key=lambda a: (a.at.topic, a.at.partition, a.at.offset)):
        lane = (
            answer.at.topic,
            answer.at.partition,
            answer.source.topic,
            answer.source.partition,
        )
        if answer.source.offset < highest.get(lane, -1):
            behind.append(answer)
        highest[lane] = max(answer.source.offset, highest.get(lane, -1))
    return behind
