"""How many events the next micro-batch may hold, so that one takes less than the budget."""

from __future__ import annotations

_SMOOTHING = 0.2


class BatchBound:
    """Follows the measured cost of an event; never below one, never above ``max_events``.

    budget_s: longest time that a micro-batch should take from its poll to its checkpoint.
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
        """Learn from one committed micro-batch.

        Fixed costs dominate small batches, so those say nothing about the cost of an event.
        """
        if events * 4 < self.events:
            return
        cost = took_s / events
        self._cost_s = (
            cost if self._cost_s is None else self._cost_s + _SMOOTHING * (cost - self._cost_s)
        )
