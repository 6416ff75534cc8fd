"""Runs of the suite ``latency`` on a warm and on a cold broker, and their figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from benchmarks.agreement import Agreement
from benchmarks.latency.events import Events
from benchmarks.latency.measure import Observed, Pace, latency_of, measure_latency
from benchmarks.latency.plan import Plan
from benchmarks.programs import Run
from benchmarks.rivals.task import Guarantee
from benchmarks.rounds import COPYING, Programs, check_of, delete_topics
from benchmarks.testbed import DEAD_LETTERS, Testbed, note
from tools.embedded.kafka import Kafka
from tools.embedded.topic_admin import create_topics

BARE = COPYING
"""Program that the others are compared with: at these rates the bare loop of a transaction."""

Prepare = Callable[[str, Run], Run]
"""Called with the program's name and its run before the start; returns the run to start."""
Case = dict[str, Any]


def as_it_is(_program: str, run: Run) -> Run:
    """Start a run without further preparation."""
    return run


@dataclass(frozen=True, slots=True)
class Cases:
    """Programs that are measured with the same events.

    Attributes:
        testbed: Servers and model.
        programs: Programs by name, the bare loop among them.
        events: Events to play.
        plan: Rounds and loads.
        prepare: Prepares each run.
    """

    testbed: Testbed
    programs: Programs
    events: Events
    plan: Plan
    prepare: Prepare = as_it_is
    _agreement: Agreement = field(default_factory=Agreement)

    def measure_warm(self) -> list[Case]:
        """Warm the broker, then run the programs in turn with each guarantee.

        Returns:
            Figures by guarantee and rate.

        Raises:
            RunError: A program fails, loses an event, or computes a different score.
        """
        plan = self.plan
        self.run(BARE, Run("warm"), [plan.warm])
        seen: dict[tuple[Guarantee, Pace], dict[str, list[Observed]]] = {
            (guarantee, pace): {program: [] for program in self.programs}
            for guarantee in plan.guarantees
            for pace in plan.paces
        }
        for number in range(1, plan.rounds + 1):
            for guarantee in plan.guarantees:
                for program in self.programs:
                    run = Run(f"{program}-{guarantee}-{number}", guarantee=guarantee)
                    found = self.run(program, run, plan.paces)
                    for pace, observed in zip(plan.paces, found, strict=True):
                        seen[guarantee, pace][program].append(observed)
        note(f"{self._agreement.compared:,} scores compared: all the same")
        return [
            {"guarantee": guarantee, "rate": pace.rate, "programs": figures(runs)}
            for (guarantee, pace), runs in seen.items()
        ]

    def measure_cold(self) -> Case:
        """Start a broker for each program, and measure its first events, exactly once.

        Raises:
            RunError: A program fails, loses an event, or computes a different score.
        """
        cold, seen = self.plan.cold, {}
        for program in self.programs:
            with Kafka(self.testbed.folder / f"cold-{program}") as kafka:
                create_topics(kafka.bootstrap, {DEAD_LETTERS: 1})
                fresh = replace(self, testbed=replace(self.testbed, kafka=kafka))
                seen[program] = fresh.run(program, Run(f"{program}-cold"), [cold])
        return {"guarantee": "exactly_once", "rate": cold.rate, "programs": figures(seen)}

    def run(self, program: str, run: Run, paces: Sequence[Pace]) -> list[Observed]:
        """Run a program on topics of its own, and check its output."""
        testbed = self.testbed
        run = self.prepare(program, replace(run, input_topic=f"transactions-{run.name}"))
        events = self.events.first(sum(pace.events for pace in paces))
        found = measure_latency(testbed, self.programs[program], run, events, paces)
        for pace, observed in zip(paces, found, strict=True):
            one = latency_of([observed])
            behind = "" if one.kept_up else ", and falls behind"
            note(
                f"{run.name}, {pace.rate:,.0f} events/s: median {one.p50:.1f} ms, "
                f"99 % under {one.p99:.1f} ms{behind}"
            )
        check_of(self._agreement, program)(testbed, run, run.history + len(events))
        delete_topics(testbed.kafka.bootstrap, run.input_topic, run.output_topic)
        return found


def figures(runs: Mapping[str, Sequence[Observed]]) -> dict[str, Any]:
    """Percentiles of each program, their ratios to those of the bare loop, and each run's own."""
    all_runs = {program: latency_of(some) for program, some in runs.items()}
    bare = all_runs[BARE]
    return {
        program: {
            **asdict(latency),
            "p50_of_bare": latency.p50 / bare.p50,
            "p99_of_bare": latency.p99 / bare.p99,
            "runs": [asdict(latency_of([one])) for one in runs[program]],
        }
        for program, latency in all_runs.items()
    }
