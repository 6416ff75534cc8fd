"""Choice of the dead letters to redrive: each once, whatever options earlier calls had."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from tools.letters.letter import Letter, Selection
from tools.letters.redriven import ALL, Redriven


class Due(StrEnum):
    """Answer for one dead letter; the value is the name of its count.

    Attributes:
        REDRIVEN: It is due.
        ALREADY: It was redriven before.
        SKIPPED: The selection leaves it out.
        UNCERTAIN: It is so old that the record of an earlier redrive may have expired.
    """

    REDRIVEN = "redriven"
    ALREADY = "already"
    SKIPPED = "skipped"
    UNCERTAIN = "uncertain"


class DueLetters:
    """Chooses dead letters in the order of their partitions, and notes those that are redriven.

    A code that is selected has ranges of its own, and a selection without codes those of all. A
    range goes on until a dead letter of it is left out.

    Args:
        selection: Dead letters to redrive.
        known: What was redriven, of the partitions for which it is known.
        begins: Offset from which each partition is read.
        known_since_ms: Time in milliseconds since 1970-01-01 UTC before which a redrive may have
            been forgotten, in partitions for which nothing is known.
        again: True to redrive those that were redriven before, too.

    Attributes:
        redriven: What is redriven, by partition.
    """

    def __init__(
        self,
        selection: Selection,
        known: Mapping[int, Redriven],
        begins: Mapping[int, int],
        known_since_ms: int,
        *,
        again: bool,
    ) -> None:
        self._selection, self._again = selection, again
        self._known_since_ms = known_since_ms
        self._unknown = begins.keys() - known.keys()
        self._begins = begins
        # Where a range begins, by partition and code or ALL; None behind one that was left out.
        self._ranges: dict[tuple[int, str], int | None] = {}
        self.redriven = {p: known.get(p, Redriven(begin)) for p, begin in begins.items()}
        for partition, begin in begins.items():
            # Those before the first one that is left in the topic are gone.
            self.redriven[partition].add(ALL, 0, begin)

    def take(self, letter: Letter) -> Due:
        """Choose the next dead letter; if it is due, note it as redriven."""
        partition, offset = letter.at.partition, letter.at.offset
        key = letter.code if self._selection.codes else ALL
        if not self._selection.has_code(letter):
            return Due.SKIPPED
        if not self._again and (offset, letter.code) in self.redriven[partition]:
            return Due.ALREADY
        if not self._selection.has_time(letter):
            self._ranges[partition, key] = None
            return Due.SKIPPED
        if not self._again and partition in self._unknown and self._is_old(letter):
            return Due.UNCERTAIN
        begin = self._ranges.get((partition, key), self._begins[partition])
        begin = offset if begin is None else begin
        self._ranges[partition, key] = begin
        self.redriven[partition].add(key, begin, offset + 1)
        return Due.REDRIVEN

    def end(self, ends: Mapping[int, int]) -> None:
        """Note that the partitions were read to their ends."""
        for partition, end in ends.items():
            for key in self._selection.codes or {ALL}:
                begin = self._ranges.get((partition, key), self._begins[partition])
                if begin is not None and begin < end:
                    self.redriven[partition].add(key, begin, end)

    def _is_old(self, letter: Letter) -> bool:
        return letter.written_ms < self._known_since_ms
