"""Limit on the share of dead letters among the last records of each partition.

The record that exceeds it depends on the log of its partition alone, however the log is divided
into micro-batches: the last records are part of the state of the log, and so of each checkpoint.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np

from features.history.recent_records import SPAN, UNCOUNTED, RecentRecords
from features.history.watermarks import LogState
from schemas.batch import Records
from worker.settings import DeadLetterSettings
from worker.stages.dead_letter import DeadLetter, Stage
from worker.stages.stages import Processed

_NO_LETTERS = RecentRecords(SPAN, 0)


@dataclass(frozen=True, slots=True)
class Crossing:
    """First record of a partition with which dead letters exceed the limit.

    Attributes:
        offset: Offset of the record.
        reason: The limit, and the most frequent code, in words.
    """

    offset: int
    reason: str


class TooManyDeadLettersError(Exception):
    """Dead letters exceed the limit with some records of a micro-batch.

    Attributes:
        crossings: The first such record of each partition that has one.
    """

    def __init__(self, crossings: Mapping[int, Crossing]) -> None:
        super().__init__(f"partitions {sorted(crossings)} have too many dead letters")
        self.crossings = crossings


class DeadLetterLimit:
    """The stages, with a count of dead letters among the last records of each partition.

    Dead letters of the stage `publish` do not count: they depend on the settings of the output
    topic, and some are known only when the micro-batch is written.

    Args:
        stages: The processing stages.
        settings: The limit.
    """

    def __init__(
        self, stages: Callable[[Records, LogState], Processed], settings: DeadLetterSettings
    ) -> None:
        self._stages = stages
        self._max_share = settings.max_share
        self._accept_through = settings.accept_through
        # Exact: as floats, 0.57 of 1,000 is less than 570.
        self._allowed = int(Decimal(str(settings.max_share)) * SPAN)

    def __call__(self, records: Records, log: LogState) -> Processed:
        """Run the stages on one micro-batch of records, and count its dead letters.

        Returns:
            The result, with the last records of each partition in the state behind it.

        Raises:
            TooManyDeadLettersError: Dead letters exceed the limit with one of the records.
            DependencyUnavailableError: The online store or the registry is away.
        """
        processed = self._stages(records, log)
        letters = _by_partition(processed.dead_letters)
        recent, crossings = dict(log.recent), dict[int, Crossing]()
        for partition in np.flatnonzero(np.bincount(records.partitions)).tolist():
            known, of_partition = recent.get(partition, UNCOUNTED), letters.get(partition, ())
            accepted = self._accept_through.get(partition, -1)
            # Behind what is accepted the count begins anew, also if there was nothing to accept.
            if known == _NO_LETTERS and not of_partition and accepted < 0:
                continue
            offsets = records.offsets[records.partitions == partition]
            if offsets[0] <= accepted:
                known, offsets = UNCOUNTED, offsets[offsets > accepted]
            places = [letter.position.offset for letter in of_partition]
            rows = np.searchsorted(offsets, [at for at in places if at > accepted])
            beyond = known.first_beyond(len(offsets), rows, self._allowed)
            if beyond is not None:
                crossings[partition] = self._crossing(int(offsets[beyond]), of_partition)
            recent[partition] = known.behind(len(offsets), rows)
        if crossings:
            raise TooManyDeadLettersError(crossings)
        return replace(processed, after=replace(processed.after, recent=recent))

    def _crossing(self, offset: int, letters: Sequence[DeadLetter]) -> Crossing:
        """Make a crossing; ``letters`` are those of the partition in the micro-batch."""
        codes = Counter(letter.code.value for letter in letters).most_common(1)
        most = f", most of them {codes[0][0]}" if codes else ""
        return Crossing(
            offset,
            f"more than {self._allowed:,} of its last {SPAN:,} records are dead letters "
            f"(dead_letters.max_share is {self._max_share:g}){most}",
        )


def _by_partition(letters: Sequence[DeadLetter]) -> Mapping[int, list[DeadLetter]]:
    """Dead letters that count, by partition, in the order of the log."""
    counted = defaultdict[int, list[DeadLetter]](list)
    for letter in letters:
        if letter.stage is not Stage.PUBLISH:
            counted[letter.position.partition].append(letter)
    return counted
