"""Oracle of delivery by positions alone: each input record has exactly one committed answer.

It works for any records, also those whose result no serial run can determine. A record may have
headers with the worker's own names. The last header of each name counts, because the worker appends
its headers to those of the record.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, cast

import fastavro
from confluent_kafka import Message

from schemas.batch import Position
from tests.oracles.topics import await_ended_transactions, read_to_end

SCORED = "scored"
UNREADABLE = "unreadable"
Schema = str | list[Any] | dict[str, Any]
_PREFIX = "__worker.errors."
_FRAME_BYTES = 5
_OPEN_TRANSACTIONS_S = 60.0
_SCORE = Path(__file__).parents[2] / "schemas" / "score.avsc"


@dataclass(frozen=True, slots=True)
class Answer:
    """A committed score or dead letter.

    Attributes:
        source: Position of the record that it answers; None if it names none.
        at: Position of the answer itself.
        code: SCORED, UNREADABLE, or the code of a dead letter.
    """

    source: Position | None
    at: Position
    code: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Violations of the rule of one answer for each record.

    Attributes:
        records: Number of records.
        lost: Records without an answer that the group has committed.
        stuck: Records without an answer that the group has not committed.
        duplicated: Answers beyond the first one of a record.
        stray: Answers to no record.
    """

    records: int = 0
    lost: list[Position] = field(default_factory=list)
    stuck: list[Position] = field(default_factory=list)
    duplicated: list[Answer] = field(default_factory=list)
    stray: list[Answer] = field(default_factory=list)


def judge(
    inputs: Collection[Position], answers: Collection[Answer], committed: Mapping[int, int]
) -> Verdict:
    """Compare the answers with the input records.

    Args:
        inputs: Positions of all committed records of one input topic, without control records.
        answers: All committed answers, in any order.
        committed: The group's committed offset of each partition that has one.
    """
    verdict = Verdict(len(inputs))
    known, answered = set(inputs), set[Position]()
    for answer in answers:
        if answer.source is None or answer.source not in known:
            verdict.stray.append(answer)
        elif answer.source in answered:
            verdict.duplicated.append(answer)
        else:
            answered.add(answer.source)
    for position in inputs:
        if position not in answered:
            passed = position.offset < committed.get(position.partition, 0)
            (verdict.lost if passed else verdict.stuck).append(position)
    return verdict


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Address of the brokers, and names of the pipeline's topics."""

    bootstrap: str
    inputs: str
    scores: str
    dead_letters: str

    def last_offsets(self) -> dict[int, int]:
        """Offset of the last committed record of each input partition that has one."""
        return {position.partition: position.offset for position in self._records()}

    def answers(self) -> list[Answer]:
        """Read all committed answers: first the scores, then the dead letters."""
        await_ended_transactions(
            self.bootstrap, (self.scores, self.dead_letters), _OPEN_TRANSACTIONS_S
        )
        schema = fastavro.parse_schema(json.loads(_SCORE.read_text()))
        return [
            *(score(message, schema) for message in self._read(self.scores)),
            *(dead_letter(message) for message in self._read(self.dead_letters)),
        ]

    def judge(self, answers: Collection[Answer], committed: Mapping[int, int]) -> Verdict:
        """Compare the answers with the current input topic."""
        return judge([*self._records()], answers, committed)

    def _records(self) -> Iterator[Position]:
        return map(place, self._read(self.inputs))

    def _read(self, topic: str) -> Iterator[Message]:
        return chain.from_iterable(read_to_end(self.bootstrap, topic))


def score(message: Message, schema: Schema) -> Answer:
    """Parse a score; ``schema`` is the parsed score.avsc."""
    body = io.BytesIO((message.value() or b"")[_FRAME_BYTES:])
    try:
        record = fastavro.schemaless_reader(body, schema, None)
    except Exception:  # noqa: BLE001 - fastavro raises exceptions of any type for other bytes
        return Answer(None, place(message), UNREADABLE)
    assert isinstance(record, dict)
    return Answer(Position(**record["source"]), place(message), SCORED)


def dead_letter(message: Message) -> Answer:
    """Parse a dead letter by the last header of each name."""
    try:
        headers = dict(cast("list[tuple[str, bytes]]", message.headers() or []))
        topic, partition, offset, code = (
            headers[_PREFIX + name].decode() for name in ("topic", "partition", "offset", "code")
        )
        return Answer(Position(topic, int(partition), int(offset)), place(message), code)
    # A name that is not UTF-8; a header that is missing, has no value or is not a number.
    except (UnicodeDecodeError, KeyError, AttributeError, ValueError):
        return Answer(None, place(message), UNREADABLE)


def place(message: Message) -> Position:
    """Position of a message."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    return Position(topic, partition, offset)
