"""Bound on the events of the next micro-batch, so that it takes less than a time budget."""

from __future__ import annotations

_SMOOTHING = 0.2


class BatchBound:
    """Number of events that the next micro-batch may hold, from the measured cost of an event.

    The number is never below 1 and never above ``max_events``.

    Args:
        max_events: Upper bound on the events of a micro-batch.
        budget_s: Longest time that a micro-batch should take from its poll to its checkpoint, in
            seconds.
    """

    def __init__(self, max_events: int, budget_s: float) -> None:
        self._max_events = max_events
        self._budget_s = budget_s
        self._cost_s: float | None = None

    @property
    def events(self) -> int:
        cost_s = self._cost_s
        # Multiplied, not divided: a clock of coarse ticks may measure nothing at all.
        if cost_s is None or cost_s * self._max_events <= self._budget_s:
            return self._max_events
        return max(1, int(self._budget_s / cost_s))

    def observe(self, events: int, took_s: float) -> None:
        """Learn the cost of an event from one committed micro-batch.

        Small batches are skipped: fixed costs dominate them, so they say nothing about that cost.
        """
        if events * 4 < self.events:
            return
        cost = took_s / events
        self._cost_s = (
            cost if self._cost_s is None else self._cost_s + _SMOOTHING * (cost - self._cost_s)
        )
