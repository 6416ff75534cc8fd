"""Programs of one process, timed in turn."""

from __future__ import annotations

import statistics
import timeit
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

ROUNDS = 7
_ROUND_S = 0.02
"""Shorter programs are repeated within a round until they take about so long."""

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Seconds:
    """Seconds that a call took, by round."""

    rounds: Sequence[float]

    @property
    def median(self) -> float:
        return float(statistics.median(self.rounds))

    def beyond(self, other: Seconds) -> float:
        """By how much a call took longer than one of ``other`` in the same round; the median."""
        pairs = zip(self.rounds, other.rounds, strict=True)
        return float(statistics.median(own - theirs for own, theirs in pairs))


def alternate(programs: Mapping[str, Call]) -> dict[str, Seconds]:
    """Time the programs in turn, round by round: what else the machine does strikes all alike."""
    timers = {name: timeit.Timer(call) for name, call in programs.items()}
    for timer in timers.values():
        timer.timeit(1)  # the first call may have to prepare
    calls = {name: _calls(timer.timeit(1)) for name, timer in timers.items()}
    seconds: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(ROUNDS):
        for name, timer in timers.items():
            seconds[name].append(timer.timeit(calls[name]) / calls[name])
    return {name: Seconds(rounds) for name, rounds in seconds.items()}


def _calls(seconds: float) -> int:
    return max(1, round(_ROUND_S / seconds))
