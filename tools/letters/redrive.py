"""Redrive: send the records of dead letters to the input topic again, each of them once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any, Self

from schemas.batch import Headers, Records
from tools.letters.due import Due, DueLetters
from tools.letters.letter import Letter, Selection, open_letters, read_letters, times_redriven
from tools.letters.originals import Originals
from tools.letters.sender import Outgoing, RedriveBooks, RedriveSender, RedriveTarget, find_target
from worker.settings import WorkerSettings
from worker.stages.dead_letter import REDRIVEN_PREFIX, record_size

# Readers of committed records wait for the end of each transaction in their topic.
_MOST_RECORDS, _MOST_BYTES = 500, 1_000_000
_SHOWN = 5


@dataclass(slots=True)
class RedriveCounts:
    """Counts of a redrive.

    Attributes:
        letters: Number of dead letters of this pipeline that were read.
        redriven: Number of those that were redriven, or would be.
        already: Number of those that were redriven before.
        skipped: Number of those that --code, --since and --until leave out.
        uncertain: Number of those that are so old that the record of an earlier redrive may have
            expired.
        not_redrivable: Number of those whose record is gone, or is too large for the topic.
        others: Number of other records in the topic.
        by_code: Number of redriven dead letters by code.
        most_times: Highest number of times that one of the records was redriven.
        examples: The first dead letters that are not redrivable, with the reason.
    """

    letters: int = 0
    redriven: int = 0
    already: int = 0
    skipped: int = 0
    uncertain: int = 0
    not_redrivable: int = 0
    others: int = 0
    by_code: Counter[str] = field(default_factory=Counter)
    most_times: int = 0
    examples: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        names = ("letters", "redriven", "already", "skipped", "uncertain", "not_redrivable")
        return {
            **{name: getattr(self, name) for name in (*names, "others", "most_times")},
            "codes": dict(self.by_code.most_common()),
        }


class Redrive:
    """One run over the dead letters that the topic holds now.

    Args:
        settings: Settings of the worker.
        selection: Dead letters to redrive.
        to: Topic to send to; None for the input topic.
        again: True to redrive those that were redriven before, too.
        dry_run: True to count only.

    Attributes:
        counts: Counts so far.
        target: Topic to send to.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        selection: Selection,
        *,
        to: str | None,
        again: bool,
        dry_run: bool,
    ) -> None:
        kafka, timeout_s = settings.kafka, settings.delivery.broker_timeout_s
        self.counts = RedriveCounts()
        self._input = kafka.input_topic
        self._pending: list[Outgoing] = []
        self._pending_bytes = 0
        self._changed: set[int] = set()
        with ExitStack() as stack:
            self.target: RedriveTarget = find_target(kafka, to, timeout_s)
            self._books = stack.enter_context(closing(RedriveBooks(kafka, timeout_s)))
            # Before the offsets are read: an earlier redrive can commit no more after this.
            self._sender = (
                None
                if dry_run
                else stack.enter_context(RedriveSender(kafka, self.target, timeout_s))
            )
            self._originals = stack.enter_context(Originals(kafka, timeout_s))
            self._log = stack.enter_context(open_letters(settings))
            self._due = self._begin(selection, again=again)
            self._open = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def run(self, advance: Callable[[int, int], None]) -> None:
        """Read all dead letters, and send those that are selected; errors are those of the parts.

        Args:
            advance: Takes the number of records that were read, and that of all.
        """
        read, total = 0, self._log.count()
        for records in self._log:
            self._take(records)
            read += len(records)
            advance(read, total)
        self._due.end(self._log.ends)
        self._changed.update(self._log.ends)
        self._flush()

    def _begin(self, selection: Selection, *, again: bool) -> DueLetters:
        """Read what was redriven, and begin behind it."""
        known = self._books.read([*self._log.ends])
        begins = self._log.begin_at({p: 0 if again else one.begin for p, one in known.items()})
        # The brokers delete offsets that were committed longer ago than this.
        known_since_ms = int(time.time() * 1000) - self._books.offsets_kept_ms
        return DueLetters(selection, known, begins, known_since_ms, again=again)

    def _take(self, records: Records) -> None:
        for letter in read_letters(records):
            if letter is None or letter.source.topic != self._input:
                self.counts.others += 1
                continue
            self.counts.letters += 1
            due = self._due.take(letter)
            if due is Due.REDRIVEN:
                self._redrive(letter)
            else:
                setattr(self.counts, due, getattr(self.counts, due) + 1)
            if len(self._pending) >= _MOST_RECORDS or self._pending_bytes >= _MOST_BYTES:
                self._flush()

    def _redrive(self, letter: Letter) -> None:
        outgoing = self._outgoing(letter)
        if isinstance(outgoing, str):
            self.counts.not_redrivable += 1
            if len(self.counts.examples) < _SHOWN:
                at = letter.source
                place = f"{at.topic}:{at.partition}:{at.offset}"
                self.counts.examples.append(f"{place} ({letter.code}): {outgoing}")
        else:
            self._pending.append(outgoing)
            self._pending_bytes += len(outgoing.value or b"")
            self.counts.redriven += 1
            self.counts.by_code[letter.code] += 1
        self._changed.add(letter.at.partition)

    def _outgoing(self, letter: Letter) -> Outgoing | str:
        """The record to send; the reason if there is none."""
        key, value, headers = letter.key, letter.value, letter.own
        if letter.sha256 is not None:
            original = self._originals.find(letter.source, letter.sha256)
            if original is None:
                return (
                    "the dead letter has no value (it was too large, or keys have tokens), and the "
                    "input topic no longer has the record"
                )
            key, value, headers = original
        times = times_redriven(headers) + 1
        headers = _with_position(headers, letter, times)
        size, most = record_size(key, value, headers), self.target.max_bytes
        if size > most:
            return (
                f"with its headers it takes up to {size:,} bytes, and {self.target.topic} accepts "
                f"{most:,}; raise max.message.bytes of the topic, and use --again"
            )
        self.counts.most_times = max(self.counts.most_times, times)
        # The partition of the record: no partitioner of a producer is known here.
        same = self.target.topic == self._input and letter.source.partition < self.target.partitions
        return Outgoing(key, value, headers, letter.source.partition if same else None)

    def _flush(self) -> None:
        changed = {partition: self._due.redriven[partition] for partition in sorted(self._changed)}
        offsets = self._books.offsets(changed)
        if self._sender is not None and offsets:
            self._sender.send(self._pending, offsets, self._books.group_metadata)
        self._pending, self._pending_bytes = [], 0
        self._changed.clear()


def _with_position(headers: Headers, letter: Letter, times: int) -> Headers:
    """The record's own headers, with those of this redrive in place of those of an earlier one."""
    position: Mapping[str, object] = {
        "topic": letter.source.topic,
        "partition": letter.source.partition,
        "offset": letter.source.offset,
        "timestamp": letter.reasons.get("timestamp", "-1"),
        "times": times,
    }
    kept = [(name, value) for name, value in headers if not name.startswith(REDRIVEN_PREFIX)]
    return [*kept, *((REDRIVEN_PREFIX + name, str(v).encode()) for name, v in position.items())]
