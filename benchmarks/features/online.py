"""Online: the worker with full histories, beside sorted sets, on the same events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.agreement import Agreement
from benchmarks.features.memory import State, kept_by_kind, used_memory
from benchmarks.features.source import Source
from benchmarks.features.states import apply_labels, begin_at, empty, load_sorted_sets
from benchmarks.ground import Ground, note
from benchmarks.programs import Run, Start, Worker, rival
from benchmarks.rounds import measured_run
from benchmarks.throughput import Measured, Span

PROGRAMS: Mapping[str, Start] = {
    "worker": Worker,
    "sorted_sets": rival("sorted_sets"),
    "sorted_sets_batched": rival("sorted_sets_batched"),
}
BASE = "sorted_sets"
"""The program that the others are compared with."""
ROUNDS = 3
_LOOK = Span(0.5, 5.0)
"""Of the round that is not counted."""
_VECTORS_EVERY = 7


@dataclass(frozen=True, slots=True)
class Online:
    """runs: by program. compared: scores, and of the first round whole vectors, found the same.

    states: what the store held after the last run of each program.
    """

    runs: Mapping[str, list[Measured]]
    compared: int
    vectors_compared: int
    states: Mapping[str, State]


def measure_online(on: Ground, source: Source, span: Span) -> Online:
    """Rounds of all programs in turn, so that what else the machine does strikes all alike.

    The first round is not counted: in it whole feature vectors stand on the scores, and are
    compared. Raises RunError where a program fails, loses an event or computes something else.
    """
    vectors, scores = Agreement(every=_VECTORS_EVERY), Agreement()
    runs: dict[str, list[Measured]] = defaultdict(list)
    states: dict[str, State] = {}
    empty(on.valkey.url)
    nothing = used_memory(on.valkey.url)
    for number in range(ROUNDS + 1):
        for program, start in PROGRAMS.items():
            run = make_ready(on, source, program, number)
            check = (scores if number else vectors).check_scores
            measured = measured_run(on, start, run, span if number else _LOOK, check)
            used = used_memory(on.valkey.url) - nothing
            states[program] = State(used, kept_by_kind(on.valkey.url))
            if number:
                runs[program].append(measured)
    empty(on.valkey.url)
    note(f"{vectors.compared:,} vectors and {scores.compared:,} scores compared: all the same")
    return Online(runs, scores.compared, vectors.compared, states)


def make_ready(on: Ground, source: Source, program: str, number: int) -> Run:
    """An empty store, and what the program has to find there.

    The worker plays the history itself, before its warm-up; the rivals, which are slower, find it.
    """
    empty(on.valkey.url)
    settings: dict[str, Any] = {"name": f"{program}-{number}", "whole_vector": number == 0}
    if program == "worker":
        run = Run(**settings, history=source.history)
        apply_labels(on, run, source)
        return run
    run = Run(**settings, first=source.history)
    load_sorted_sets(on.valkey.url, source)
    begin_at(on, run)
    return run
