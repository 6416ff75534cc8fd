"""Maintenance of histories between micro-batches: waits, other partitions, lost members."""

from __future__ import annotations

import math
from collections.abc import Callable

from base.errors import DependencyUnavailableError, HistoriesLostError
from worker.aligner import Aligner
from worker.committer import Committer
from worker.consume.poll import Poller
from worker.histories import Histories
from worker.log_position import LogPosition, report_lost_histories
from worker.process.outage import Outage

REVIEW_S = 0.02
"""Time in seconds between two reviews of partitions that an event waits for."""
# Time between two looks for lost members while no events are read, so that histories are filled
# before the next events come; and between two looks at partitions that no other worker applies.
_LOOK_EVERY_S = 1.0


class Maintenance:
    """Reads of the marks of histories that no micro-batch asks for, and what follows from them.

    If members are lost, ``poller.rewind_needed`` is set. If the store does not answer, its outage
    begins, and the next turn tries again.

    Args:
        poller: Poller of the input topic.
        histories: Histories of the input topic.
        aligner: Aligner of the partitions.
        committer: Committer of micro-batches.
        position: Position of the worker in the log.
        store: Outage of the online store.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        poller: Poller,
        histories: Histories,
        aligner: Aligner,
        committer: Committer,
        position: LogPosition,
        store: Outage,
        clock: Callable[[], float],
    ) -> None:
        self._poller = poller
        self._histories = histories
        self._aligner = aligner
        self._committer = committer
        self._position = position
        self._store = store
        self._clock = clock
        self._reviewed_at = -math.inf
        self._reviewed_behind = 0
        self._tended_at = self._required_at = clock()

    def run_due(self) -> None:
        """Run what is due between two micro-batches."""
        if self._aligner.waits:
            self._review_when_due()
        if self._clock() - self._tended_at >= _LOOK_EVERY_S:
            self._tended_at = self._clock()
            self._look(self._tend)

    def require_members(self) -> None:
        """Look for lost members while no events are read and none are in flight, if it is due."""
        if self._clock() - self._required_at >= _LOOK_EVERY_S:
            self._required_at = self._clock()
            self._look(lambda: self._histories.require(self._position.state))

    def _review_when_due(self) -> None:
        """Review waits, a trip to the store; polls end at each record of a partition that waits."""
        # The marks of a micro-batch may release what waits.
        released = self._committer.committed != self._reviewed_behind
        if released or self._clock() - self._reviewed_at >= REVIEW_S:
            self._reviewed_at = self._clock()
            self._reviewed_behind = self._committer.committed
            self._look(self._review_waits)

    def _review_waits(self) -> None:
        self._aligner.review()
        lagging = self._aligner.lagging()
        # The marks of the micro-batch in flight come before those of records ahead.
        if lagging and self._committer.settle():
            self._aligner.apply_ahead(lagging, self._position.state)
        self._apply_others()

    def _tend(self) -> None:
        self._histories.tidy()
        # With events that wait, their review applies what they wait for.
        if not self._aligner.waits:
            self._apply_others()

    def _apply_others(self) -> None:
        """Apply partitions that no worker with the same histories reads."""
        partitions = self._histories.unattended(self._aligner.waits, self._position.state)
        if partitions and self._committer.settle():
            self._histories.apply_others(partitions, self._position.state)

    def _look(self, look: Callable[[], None]) -> None:
        """Look at the marks of histories; rewind if members are lost."""
        try:
            look()
        except HistoriesLostError as error:
            report_lost_histories(error)
            self._poller.rewind_needed = True
        except DependencyUnavailableError as error:
            self._store.mark_down(str(error))
        else:
            self._store.mark_up()
