"""Time calls in this process, in turn."""

from __future__ import annotations

import statistics
import timeit
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

ROUNDS = 7
_ROUND_S = 0.02
"""Approximate minimum time of a round; shorter calls are repeated."""

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Seconds:
    """Seconds of a call in each round."""

    rounds: Sequence[float]

    @property
    def median(self) -> float:
        return float(statistics.median(self.rounds))

    def beyond(self, other: Seconds) -> float:
        """Median of the additional seconds compared with ``other`` in the same round."""
        pairs = zip(self.rounds, other.rounds, strict=True)
        return float(statistics.median(own - theirs for own, theirs in pairs))


def alternate(programs: Mapping[str, Call]) -> dict[str, Seconds]:
    """Time the calls in turn, so that other load on the machine affects all equally."""
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
