"""Scores and dead letters of a micro-batch, replaced or sent again if a topic refuses some.

The worker has to find out which record a topic refuses. librdkafka names it only where several
records of a batch are refused at once. Where one record is refused, or where a size is the reason,
all records of the batch are reported with the same error (measured: decision 16). These suspects
are sent again in smaller batches, until the refused record is alone in its batch.

These deliveries keep the group metadata of the poll. `worker.committer` compares the assignment
epoch before each of them, and `worker.delivery.exactly_once` commits them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby

import structlog
from confluent_kafka import KafkaError

from base.errors import ErrorCode, RecordError
from schemas.batch import Position
from worker.consume.micro_batch import Polled
from worker.consume.offset_metadata import OffsetMetadata
from worker.delivery.publish import Outbox, OutputGroup, SizeLimits
from worker.delivery.reports import REFUSED_CODES, SIZE_CODES, RecordsRefusedError, Report
from worker.stages.dead_letter import DeadLetter, Stage, dead_letter
from worker.stages.stages import Processed, not_taken, score_too_large

log = structlog.get_logger(__name__)

OutputId = int | Position
"""A score, by its row in the processed micro-batch, or a dead letter, by its record's position."""
Run = Sequence[tuple[OutputId, Report]]

_NOTHING = OutputGroup((), (), None, ())
# Number of groups into which suspected records are split. Each group waits for the acknowledgement
# of the one before; each round is a transaction.
_PARTS = 16
# The timestamp of a score is the time when it is sent, and about the same for all that are sent
# together: after so many refused timestamps, suspects are no longer divided.
_MOST_LATE = 8
_REMEDIES = {
    KafkaError.INVALID_TIMESTAMP: "widen message.timestamp.before.max.ms and "
    "message.timestamp.after.max.ms of the topic, and compare the clocks of worker and brokers",
    KafkaError.INVALID_RECORD: "a compacted topic takes no record without a key: set "
    "cleanup.policy of the topic to delete, or see what else validates its records",
    **dict.fromkeys(SIZE_CODES, "raise max.message.bytes of the topic"),
}
_OTHER_REMEDY = "see the settings of the topic, and the log of the brokers"


class Answers:
    """State of each score and dead letter through the deliveries of one micro-batch.

    Args:
        polled: Records of the micro-batch, as they were polled.
        processed: Result of the stages for these records.
        topic_id: Kafka's id of the input topic.
    """

    def __init__(self, polled: Polled, processed: Processed, topic_id: str) -> None:
        self._polled = polled
        self._topic_id = topic_id
        self._processed = processed
        self._refused: dict[int, DeadLetter] = {}
        self._oversize: set[Position] = set()
        self._written: set[OutputId] = set()
        self._isolated_groups: list[list[OutputId]] = []
        self._late = 0

    def final(self) -> Processed:
        """The processed micro-batch, with a dead letter in place of each refused score."""
        return self._processed.with_letters(self._refused)

    def outbox(self) -> Outbox:
        """Answers still to be written, with the offsets and the state of the log behind them."""
        polled, processed = self._polled, self._processed
        main, *isolated = self._groups()
        return Outbox(
            main.keys,
            main.values,
            main.headers,
            main.dead_letters,
            polled.next_offsets,
            polled.group_metadata,
            polled.epoch,
            {
                partition: OffsetMetadata.of(self._topic_id, processed.after, partition).encode()
                for partition in polled.next_offsets
            },
            isolated,
        )

    def handle_refusals(self, error: RecordsRefusedError, limits: SizeLimits) -> str | None:
        """Replace the refused records, and divide the suspects into smaller batches.

        Args:
            error: The refusal, with a report on each record that was not written.
            limits: Size limits of the topics, as they are after the refusal.

        Returns:
            The reason and the remedy if a dead letter is refused and cannot be shortened; else
            None.
        """
        identified = list(self._identified(error.reports))
        if error.others_written:
            self._written |= {*self._ids()} - {output_id for output_id, _ in identified}
        for row, letter in not_taken(self._processed, limits).items():
            if row not in self._written:
                self._refused.setdefault(row, letter)
        unfixable_reason: str | None = None
        for run in [*self._runs(identified)]:
            if any(output_id in self._refused for output_id, _ in run):
                # The others may have been refused only because of that one.
                continue
            code = _code(run, error)
            is_score = isinstance(run[0][0], int)
            all_alike = code == KafkaError.INVALID_TIMESTAMP and self._late >= _MOST_LATE
            if _is_suspicion(run, code) and not all_alike and (is_score or code in SIZE_CODES):
                self._divide([output_id for output_id, _ in run])
                continue
            reason = _reason(run[0][1], code)
            log.warning("records_refused", records=len(run), reason=reason)
            if code == KafkaError.INVALID_TIMESTAMP:
                self._note_late(len(run))
            for output_id, report in run:
                if not self._replaced(output_id, report, code, reason):
                    unfixable_reason = reason
        return unfixable_reason

    def _note_late(self, records: int) -> None:
        """Count refused timestamps; once there are many, send the rest together again.

        This happens at most once in a micro-batch.
        """
        before, self._late = self._late, self._late + records
        if before < _MOST_LATE <= self._late:
            self._isolated_groups.clear()

    def _ids(self) -> Iterator[OutputId]:
        """All answers, written or not."""
        yield from (row for row in range(len(self._processed.values)) if row not in self._refused)
        yield from (letter.position for letter in self.final().dead_letters)

    def _identified(self, reports: Iterable[Report]) -> Iterator[tuple[OutputId, Report]]:
        """Yield the reports, each with the id of the score or dead letter that it is about."""
        rows = {
            value: row
            for row, value in enumerate(self._processed.values)
            if row not in self._refused
        }
        for report in reports:
            record = report.record
            yield record.position if isinstance(record, DeadLetter) else rows[record], report

    def _runs(self, identified: Iterable[tuple[OutputId, Report]]) -> Iterator[Run]:
        """Yield runs of adjacent refusals with the same error.

        A batch of records lies within one group and one partition, and is reported in its order.
        So no run is shorter than a batch whose records are all reported with the same error.
        """
        groups = {
            output_id: number
            for number, part in enumerate(self._isolated_groups)
            for output_id in part
        }
        sent_together: dict[Hashable, list[tuple[OutputId, Report]]] = {}
        for output_id, report in identified:
            place = report.topic, report.partition, groups.get(output_id)
            sent_together.setdefault(place, []).append((output_id, report))
        for items in sent_together.values():
            for code, run in groupby(items, key=lambda item: item[1].error.code()):
                if code in REFUSED_CODES:
                    yield from _single([*run])

    def _replaced(self, output_id: OutputId, report: Report, code: int, reason: str) -> bool:
        """Replace a refused answer by another one; False if there is no other."""
        if isinstance(output_id, int):
            error = RecordError(ErrorCode.OUTPUT_REFUSED, reason)
            if code in SIZE_CODES:
                error = score_too_large(len(self._processed.values[output_id]))
            self._refused[output_id] = dead_letter(
                self._processed.records, output_id, error, Stage.PUBLISH, None
            )
            return True
        is_last_form = isinstance(report.record, DeadLetter) and report.record.is_oversize
        if code not in SIZE_CODES or is_last_form:
            return False
        self._oversize.add(output_id)
        return True

    def _divide(self, suspects: Sequence[OutputId]) -> None:
        """Divide the suspects into parts, to send each part in batches of its own.

        No two parts share a batch, and no suspect shares one with other records.
        """
        size = -(-len(suspects) // _PARTS)
        parts = [list(suspects[i : i + size]) for i in range(0, len(suspects), size)]
        gone = set(suspects)
        rest = (
            [output_id for output_id in part if output_id not in gone]
            for part in self._isolated_groups
        )
        self._isolated_groups = [*parts, *filter(None, rest)]

    def _groups(self) -> list[OutputGroup]:
        """The group to send first, and those to send one after the other."""
        processed = self._processed
        if not (self._refused or self._oversize or self._written or self._isolated_groups):
            whole = (processed.keys, processed.values, processed.headers, processed.dead_letters)
            return [OutputGroup(*whole)]
        letters = {
            letter.position: letter.oversize() if letter.position in self._oversize else letter
            for letter in self.final().dead_letters
        }
        return [self._group(ids, letters) for ids in self._in_order()] or [_NOTHING]

    def _in_order(self) -> Iterator[list[OutputId]]:
        """Yield the answers still to be written, in groups that keep the order of each partition.

        Suspects come from one batch of one partition: all other records of that partition come
        before or after them. So each part of the suspects follows everything that is before its
        last record.
        """
        order = {
            output_id: place
            for place, output_id in enumerate(self._ids())
            if output_id not in self._written
        }
        parts = [
            part for whole in self._isolated_groups if (part := [m for m in whole if m in order])
        ]
        isolated = {output_id for part in parts for output_id in part}
        rest = deque(output_id for output_id in order if output_id not in isolated)
        for part in sorted(parts, key=lambda ids: order[ids[-1]]):
            before: list[OutputId] = []
            while rest and order[rest[0]] < order[part[-1]]:
                before.append(rest.popleft())
            yield from filter(None, (before, part))
        if rest:
            yield [*rest]

    def _group(
        self, ids: Sequence[OutputId], letters: Mapping[Position, DeadLetter]
    ) -> OutputGroup:
        processed = self._processed
        rows = [output_id for output_id in ids if isinstance(output_id, int)]
        return OutputGroup(
            [processed.keys[row] for row in rows],
            [processed.values[row] for row in rows],
            None if processed.headers is None else [processed.headers[row] for row in rows],
            [letters[output_id] for output_id in ids if isinstance(output_id, Position)],
        )


def _single(run: Run) -> Iterator[Run]:
    """Yield the run, or each refusal by itself where the client refused it before batching."""
    if run[0][1].partition is None:
        yield from ([item] for item in run)
    else:
        yield run


def _code(run: Run, error: RecordsRefusedError) -> int:
    """The brokers' error code for a run: librdkafka reports INVALID_RECORD in place of others."""
    code = run[0][1].error.code()
    topics = {(report.topic, report.partition) for report in error.reports if report.is_refusal}
    cause = error.cause.code() if error.cause else None
    if code == KafkaError.INVALID_RECORD and cause in REFUSED_CODES and len(topics) == 1:
        return cause
    return code


def _is_suspicion(run: Run, code: int) -> bool:
    """Return True if perhaps not all records of a run are refused.

    Where INVALID_RECORD is reported in place of another error, librdkafka names the records.
    """
    return len(run) > 1 and code == run[0][1].error.code()


def _reason(report: Report, code: int) -> str:
    name = KafkaError(code).name()
    return f"{report.topic} refuses it ({name}: {KafkaError(code).str()}); " + _REMEDIES.get(
        code, _OTHER_REMEDY
    )
