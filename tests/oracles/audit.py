"""Read a pipeline's topics to their ends, run the log serially, and print the verdict as JSON.

Run ``python -m tests.oracles.audit DIR`` from the root of the repository. It is a separate process,
because the system tests import nothing of the worker. The serial run uses the pipeline's own stages,
one partition after the other, with its own empty histories, and with the lookups and labels of the
online store. Values that a serial run cannot reproduce are ignored: windows with
``across: best_effort``, the flag for their capped history, and the flag across_late. The model must
not use them. If the pipeline has a location of models, each record is scored with the model and
policy that its score names.

The JSON has ``events``, ``scores``, ``dead_letters``, a count for each field of the oracle's
verdict, ``models`` and ``policies`` with the number of scores of each version, and ``shown`` with
the first cases of each fault.
"""

from __future__ import annotations

import argparse
import io
import json
from collections import Counter
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import fastavro
from confluent_kafka import Message

from features.history.namespace import Namespace
from features.store.memory import MemoryStore
from features.store.protocol import Hashes, OnlineStore, ReadResult
from features.store.stored_values import StoredValues
from features.values.keys import Keys
from features.windows.plan import ACROSS_LATE
from schemas.batch import Position
from tests.oracles.delivery import Answer, Verdict, judge
from tests.oracles.served import Pair, Servings, stretches
from tests.oracles.topics import await_ended_transactions, read_to_end
from tests.oracles.train import best_effort
from tools.replay import Serial
from worker.consume.micro_batch import records_of
from worker.histories import NoHistories
from worker.histories.record import label_namespace
from worker.kafka import TopicLimits
from worker.pipeline import Pipeline, load_pipeline, make_stages, open_store
from worker.schema_sources import score_prefix, score_schema
from worker.stages.dead_letter import HEADER_PREFIX
from worker.stages.stages import Processed

_OPEN_TRANSACTIONS_S = 60.0
_SHOWN = 10
_FRAME_BYTES = 5
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Scores:
    """Reader of score records that makes them comparable: as bytes, without ``scored_at``.

    Args:
        ignored: Features in the vector, and flags, that a serial run cannot reproduce.
    """

    def __init__(self, ignored: Collection[str]) -> None:
        self._schema = fastavro.parse_schema(score_schema())
        self._ignored = ignored

    def read(self, value: bytes) -> dict[str, Any]:
        record = fastavro.schemaless_reader(io.BytesIO(value[_FRAME_BYTES:]), self._schema, None)
        assert isinstance(record, dict)
        for name in self._ignored:
            record["vector"].pop(name, None)
        record["flags"] = [flag for flag in record["flags"] if flag not in self._ignored]
        return record

    def content(self, key: bytes | None, value: bytes) -> tuple[Position, Pair, Hashable]:
        """Input position of a score, its model and policy, and all that these determine."""
        record = self.read(value)
        source = Position(**record["source"])
        out = io.BytesIO(value[:_FRAME_BYTES])
        out.seek(_FRAME_BYTES)
        fastavro.schemaless_writer(out, self._schema, record | {"scored_at": _EPOCH})
        return source, Pair.of(record), ("score", key, out.getvalue())

    def difference(self, seen: Any, serial: Any) -> str:
        """Description of the difference: values of the fields, or the whole content."""
        if serial is None or {seen[0], serial[0]} != {"score"}:
            return f"{seen!r}; serial: {serial!r}"
        left, right = self.read(seen[2]), self.read(serial[2])
        fields = [name for name in left if repr(left[name]) != repr(right[name])]
        return "; ".join(f"{n} is {left[n]!r}, serial: {right[n]!r}" for n in fields) or "bytes"


class OverlayStore(MemoryStore):
    """Store that keeps its writes in memory, and reads other keys from the ``shared`` store."""

    def __init__(self, shared: OnlineStore) -> None:
        super().__init__()
        self._shared = shared

    def read_all(
        self, keys: Sequence[Keys], hashes: Sequence[Hashes] = (), marks: Sequence[bytes] = ()
    ) -> ReadResult:
        read = super().read_all(keys, hashes, marks)
        shared = self._shared.read_all(keys).values
        values = [
            value if mine is None else mine
            for mine, value in zip(read.values.to_list(), shared.to_list(), strict=True)
        ]
        return read._replace(values=StoredValues.of(values))


class OwnNamespace(NoHistories):
    """Namespace with its own histories and the shared labels."""

    def __init__(self, state: Namespace) -> None:
        self._state = state

    def namespace(self) -> Namespace:
        return self._state


def audit(folder: Path) -> dict[str, Any]:
    """Judge the pipeline in ``folder`` by the current content of its topics."""
    pipeline = load_pipeline(folder)
    kafka = pipeline.settings.kafka
    outputs = (kafka.output_topic, kafka.dead_letter_topic)
    await_ended_transactions(kafka.bootstrap_servers, outputs, _OPEN_TRANSACTIONS_S)
    windows = best_effort(pipeline.feature_set)
    irreproducible = {ACROSS_LATE, *(f"history_capped:{window.entity}" for window in windows)}
    scores = Scores(irreproducible.union(window.name for window in windows))
    named: dict[Position, Pair] = {}
    answers = [
        *_scored(kafka.bootstrap_servers, kafka.output_topic, scores, named),
        *_dead_letters(kafka.bootstrap_servers, kafka.dead_letter_topic),
    ]
    serial = dict(_serial(pipeline, Servings(pipeline, folder), scores, named))
    verdict = judge(serial.keys(), answers, serial)
    letters = sum(answer.at.topic == kafka.dead_letter_topic for answer in answers)
    return {
        "events": len(serial),
        "scores": len(answers) - letters,
        "dead_letters": letters,
        **verdict.counts(),
        "models": Counter(pair.model for pair in named.values()),
        "policies": Counter(pair.policy for pair in named.values()),
        "shown": _shown(verdict, answers, serial, scores),
    }


def _scored(
    bootstrap: str, topic: str, scores: Scores, named: dict[Position, Pair]
) -> Iterator[Answer]:
    """Read the scores; ``named`` takes the model and policy of the first one of each position."""
    for messages in read_to_end(bootstrap, topic):
        for message in messages:
            source, pair, content = scores.content(message.key(), message.value() or b"")
            named.setdefault(source, pair)
            yield Answer(source, _place(message), content)


def _dead_letters(bootstrap: str, topic: str) -> Iterator[Answer]:
    for messages in read_to_end(bootstrap, topic):
        for m in messages:
            headers = cast("list[tuple[str, bytes | None]]", m.headers() or [])
            content = _letter(m.key(), m.value(), headers)
            yield Answer(_source(dict(headers)), _place(m), content)


def _letter(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, Any]]) -> Hashable:
    return ("dead letter", key, value, tuple(headers))


def _source(headers: Mapping[str, Any]) -> Position:
    topic, partition, offset = (
        headers[HEADER_PREFIX + name].decode() for name in ("topic", "partition", "offset")
    )
    return Position(topic, int(partition), int(offset))


def _place(message: Message) -> Position:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    return Position(topic, partition, offset)


def _serial(
    pipeline: Pipeline, servings: Servings, scores: Scores, named: Mapping[Position, Pair]
) -> Iterator[tuple[Position, Hashable]]:
    """Run the stages serially; return the expected content of each input position's answer."""
    settings = pipeline.settings
    shared = open_store(settings)
    store = OverlayStore(shared)
    # Labels are read from the shared store; histories are not shared.
    labels = label_namespace(shared, pipeline.feature_set.name, settings.state_name)
    state = replace(labels, topic_id="oracle", partitions=1)
    limits = TopicLimits(settings.kafka, settings.delivery.broker_timeout_s)
    largest_letter = limits.refresh().dead_letters
    stages = make_stages(
        pipeline,
        servings.widened(pipeline.decoder()),
        store,
        score_prefix(settings),
        limits,
        histories=OwnNamespace(state),
    )
    serial = Serial(stages, store)
    try:
        for messages in read_to_end(settings.kafka.bootstrap_servers, settings.kafka.input_topic):
            if not messages:
                continue
            for records, pair in stretches(records_of(settings.kafka.input_topic, messages), named):
                serial._stages = replace(stages, serving=servings(pair))
                made = dict(_made(serial(records), scores, largest_letter))
                # A position without a result is kept with None, which equals no answer.
                for row in range(len(records)):
                    position = records.position(row)
                    yield position, made.get(position)
    finally:
        shared.close()


def _made(
    processed: Processed, scores: Scores, largest_letter: int
) -> Iterator[tuple[Position, Hashable]]:
    for key, value in zip(processed.keys, processed.values, strict=True):
        source, _, content = scores.content(key, value)
        yield source, content
    for letter in processed.dead_letters:
        fits = letter if letter.size() <= largest_letter else letter.oversize()
        yield fits.position, _letter(fits.key, fits.value, fits.headers)


def _shown(
    verdict: Verdict,
    answers: Sequence[Answer],
    serial: Mapping[Position, Hashable],
    scores: Scores,
) -> dict[str, list[str]]:
    """Descriptions of the first cases of each fault."""
    by_source: dict[Position, list[Answer]] = {}
    if not verdict.clean:
        for answer in answers:
            by_source.setdefault(answer.source, []).append(answer)
    return {
        "lost": [_at(position) for position in verdict.lost[:_SHOWN]],
        "duplicated": [
            f"{_at(a.source)} is at {', '.join(_at(b.at) for b in by_source[a.source])}"
            for a in verdict.duplicated[:_SHOWN]
        ],
        "out_of_order": [f"{_at(a.source)} at {_at(a.at)}" for a in verdict.out_of_order[:_SHOWN]],
        "scores_different": [
            f"{_at(a.source)} at {_at(a.at)}: {scores.difference(a.content, serial.get(a.source))}"
            for a in verdict.scores_different[:_SHOWN]
        ],
    }


def _at(position: Position) -> str:
    return f"{position.topic}[{position.partition}]@{position.offset}"


def main() -> None:
    """Print the verdict; the exit status is always 0."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    print(json.dumps(audit(parser.parse_args().folder)))  # noqa: T201 - its result


if __name__ == "__main__":
    main()
