"""Measure the throughput of the worker with full histories, and of sorted sets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.agreement import Agreement
from benchmarks.features.memory import State, usage_by_kind, used_memory
from benchmarks.features.source import Source
from benchmarks.features.states import apply_labels, begin_at, empty, load_sorted_sets
from benchmarks.programs import Run, Start, Worker, rival
from benchmarks.rounds import measured_run
from benchmarks.testbed import Testbed, note
from benchmarks.throughput import Measured, Span

PROGRAMS: Mapping[str, Start] = {
    "worker": Worker,
    "sorted_sets": rival("sorted_sets"),
    "sorted_sets_batched": rival("sorted_sets_batched"),
}
BASE = "sorted_sets"
"""Program that the others are compared with."""
ROUNDS = 3
_LOOK = Span(0.5, 5.0)
"""Durations of the first round, which is not counted."""
_VECTORS_EVERY = 7


@dataclass(frozen=True, slots=True)
class Online:
    """Measurements of the online programs.

    Attributes:
        runs: Runs by program.
        compared: Number of scores that were compared and equal.
        vectors_compared: Number of feature vectors of the first round that were equal.
        states: Memory of the store after the last run of each program.
    """

    runs: Mapping[str, list[Measured]]
    compared: int
    vectors_compared: int
    states: Mapping[str, State]


def measure_online(testbed: Testbed, source: Source, span: Span) -> Online:
    """Run all programs in turn, so that other load on the machine affects all equally.

    The first round is not counted: its scores carry whole feature vectors, which are compared.

    Raises:
        RunError: A program fails, loses an event or computes a different score.
    """
    vectors, scores = Agreement(every=_VECTORS_EVERY), Agreement()
    runs: dict[str, list[Measured]] = defaultdict(list)
    states: dict[str, State] = {}
    empty(testbed.valkey.url)
    nothing = used_memory(testbed.valkey.url)
    for number in range(ROUNDS + 1):
        for program, start in PROGRAMS.items():
            run = make_ready(testbed, source, program, number)
            check = (scores if number else vectors).check_scores
            measured = measured_run(testbed, start, run, span if number else _LOOK, check)
            used = used_memory(testbed.valkey.url) - nothing
            states[program] = State(used, usage_by_kind(testbed.valkey.url))
            if number:
                runs[program].append(measured)
    empty(testbed.valkey.url)
    note(f"{vectors.compared:,} vectors and {scores.compared:,} scores compared: all the same")
    return Online(runs, scores.compared, vectors.compared, states)


def make_ready(testbed: Testbed, source: Source, program: str, number: int) -> Run:
    """Empty the store, and load what the program needs.

    The worker processes the history itself before its warm-up. For the rivals, which are slower,
    the history is loaded.
    """
    empty(testbed.valkey.url)
    settings: dict[str, Any] = {"name": f"{program}-{number}", "whole_vector": number == 0}
    if program == "worker":
        run = Run(**settings, history=source.history)
        apply_labels(testbed, run, source)
        return run
    run = Run(**settings, first=source.history)
    load_sorted_sets(testbed.valkey.url, source)
    begin_at(testbed, run, {0: source.history})
    return run
