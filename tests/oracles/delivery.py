"""The oracle of delivery: what a topic's readers saw, held against a serial run of the log."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from schemas.batch import Position


@dataclass(frozen=True, slots=True)
class Answer:
    """A score or dead letter that a read-committed reader saw.

    source: the input record that it names. at: where it stands itself. content: all of it that a
    serial run determines.
    """

    source: Position
    at: Position
    content: Hashable


@dataclass(frozen=True, slots=True)
class Verdict:
    """What did not hold.

    lost: input positions without an answer. duplicated: answers beyond the first of a position.
    out_of_order: answers that stand behind the answer to a later record of their input partition.
    scores_different: answers with other content than the serial run's, or to no record at all.
    """

    lost: list[Position] = field(default_factory=list)
    duplicated: list[Answer] = field(default_factory=list)
    out_of_order: list[Answer] = field(default_factory=list)
    scores_different: list[Answer] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """How many of each."""
        return {name: len(getattr(self, name)) for name in self.__dataclass_fields__}

    @property
    def clean(self) -> bool:
        """Exactly once, in order, with the scores of the serial run."""
        return not any(self.counts().values())


def judge(
    inputs: Collection[Position], answers: Sequence[Answer], serial: Mapping[Position, Hashable]
) -> Verdict:
    """Hold all ``answers`` of all output topics against the ``inputs`` and a ``serial`` run.

    serial: for each input position the content of its one answer. Bit-equal content is equal, so
    give numbers as bytes: NaN is not equal to itself.
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
    """The first answer to each position, and all others."""
    seen: set[Position] = set()
    firsts: list[Answer] = []
    repeats: list[Answer] = []
    for answer in answers:
        (repeats if answer.source in seen else firsts).append(answer)
        seen.add(answer.source)
    return firsts, repeats


def _out_of_order(answers: Iterable[Answer]) -> list[Answer]:
    """Answers that follow, in their own partition, one to a later record of the same partition."""
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
