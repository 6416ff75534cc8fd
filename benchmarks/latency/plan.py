"""Extent of a run of the suite ``latency``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.latency.measure import Pace
from benchmarks.rivals.task import Guarantee

ROUNDS = 2
PACES = (Pace(100, 1.0, 10.0), Pace(1000, 1.0, 10.0), Pace(5000, 1.0, 4.0))
WARM = Pace(1000, 0.0, 45.0)
COLD = Pace(1000, 0.0, 20.0)


@dataclass(frozen=True, slots=True)
class Plan:
    """Rounds and loads.

    Attributes:
        rounds: Number of interleaved repeats.
        paces: Rates of each run, the highest last.
        warm: Load of the bare loop that warms a broker.
        cold: First load of a broker that has just been started.
        guarantees: Guarantees of the runs on a warm broker.
    """

    rounds: int = ROUNDS
    paces: Sequence[Pace] = PACES
    warm: Pace = WARM
    cold: Pace = COLD
    guarantees: Sequence[Guarantee] = ("exactly_once", "at_least_once")

    @property
    def run_events(self) -> int:
        """Number of events of one run at all rates."""
        return sum(pace.events for pace in self.paces)

    @property
    def events(self) -> int:
        """Largest number of events of a run."""
        return max(self.run_events, self.warm.events, self.cold.events)

    def shortened(self, events: int) -> Plan:
        """Return a plan of one round, exactly once, in which a run has about so many events."""
        share = min(1.0, events / self.run_events)

        def short(pace: Pace) -> Pace:
            return Pace(pace.rate, pace.warm_up * share, pace.measured * share)

        paces = [short(pace) for pace in self.paces]
        return Plan(1, paces, short(self.warm), short(self.cold), ("exactly_once",))
