"""Logs of events and labels, and what befalls the workers that read them: generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from tests.oracles.windows import Event, Label
from tests.properties.logs import Pick, make_events, make_labels
from tests.properties.rich_set import SECOND, Numbers

ALL = -1
"""A mask that takes everything."""


@dataclass(frozen=True)
class Step:
    """A micro-batch: labels that arrive, a read, an enrichment, writes, and how it ends.

    takes: how many events of which partition, one run of rows after the other. new_labels: how
    many more are in the store before; old_labels: those so far are written again. own_log: the
    worker knows only the partitions of the batch. applies: how many events of which partition are
    put into shared histories first, from its commit on, without being scored. appends, compactions: bit i of a mask tells
    whether the i-th write of that kind is done; ``lost`` says that the worker dies after them. Then
    the log is read again from ``back`` commits earlier. zombies: after how many steps more all writes of
    this batch land (once more).
    """

    takes: tuple[tuple[int, int], ...]
    new_labels: int = 0
    old_labels: bool = False
    own_log: bool = False
    applies: tuple[tuple[int, int], ...] = ()
    appends: int = ALL
    compactions: int = ALL
    lost: bool = False
    back: int = 0
    zombies: tuple[int, ...] = ()


@dataclass(frozen=True)
class Scenario:
    """events: good and bad, those of a partition in order.

    waits: whether an event is scored only when other partitions are applied as far as its aligned
    windows reach.
    """

    rules: Numbers
    partitions: int
    events: tuple[Event, ...]
    labels: tuple[Label, ...]
    steps: tuple[Step, ...]
    last_batches: int
    waits: bool = True


RULES = [
    (1, 1, 3),
    (3, 4, 10_000),
    (3600, 1, 5),
    (1, 86_400, 1),
    (3, 1, 2),
    (3600, 4, 3),
    (3, 86_400, 10_000),
    (1, 4, 2),
    (3600, 86_400, 1),
]
"""Allowed lateness and memory of ids in seconds, cap."""
SUPPORTS = [1, 3, 2]
MAX_AHEADS = [None, 4, 86_400]
"""Seconds."""


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    lateness, remembered, cap = draw(st.sampled_from(RULES))
    partitions = draw(st.sampled_from([1, 2, 3]))
    pick = _Picks(draw)
    cards = pick([[0], [0, 0, 1], [0, 1, 2, 3]])
    events = make_events(pick, draw(st.integers(1, 40)), partitions, cap, cards)
    labels = make_labels(pick, draw(st.integers(0, 16)), events)
    size = draw(st.integers(0, 14))
    compactions = pick([[ALL], [0], [ALL, 0, 0b10110]])
    steps = tuple(
        make_step(_Picks(draw), partitions, len(labels), compactions) for _ in range(size)
    )
    ahead = pick(MAX_AHEADS)
    rules = (
        lateness * SECOND,
        remembered * SECOND,
        cap,
        pick(SUPPORTS),
        ahead and ahead * SECOND,
        pick([False, True]),
    )
    last_batches, waits = pick([50, 1, 3]), pick([True, True, False])
    return Scenario(rules, partitions, events, labels, steps, last_batches, waits)


class _Picks:
    """Picks from lists whose first entry is the simplest; takes few draws for many picks."""

    _ROOM = 2**24

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self._bits, self._room = 0, 1

    def __call__(self, found: Sequence[Any]) -> Any:
        if self._room < len(found):
            self._bits, self._room = self._draw(st.integers(0, self._ROOM - 1)), self._ROOM
        self._bits, place = divmod(self._bits, len(found))
        self._room //= len(found)
        return found[place]


def make_step(
    pick: Pick, partitions: int, labels: int, compactions: list[int], scale: int = 1
) -> Step:
    """compactions: masks to pick from. scale: how many times the usual a batch has."""
    runs = pick([1, 1, 2, 3]) if partitions > 1 else 1
    takes = tuple(
        (pick(list(range(partitions))), scale * pick([1, 2, 1, 3, 6])) for _ in range(runs)
    )
    applies = tuple(
        (pick(list(range(partitions))), scale * pick([1, 3, 6]))
        for _ in range(pick([0, 0, 0, 1, 2]))
    )
    step = Step(
        takes,
        applies=applies,
        new_labels=pick([0, scale, 4 * scale, labels]) if labels else 0,
        old_labels=bool(labels) and pick([False, False, False, True]),
        own_log=pick([False, True]),
        compactions=pick(compactions),
        zombies=pick([(), (), (0,), (1, 4), (2, 6)]),
    )
    if not pick([False, True]):
        return step
    return replace(step, lost=True, appends=pick([ALL, 0, 0b1011, 0b0100]), back=pick([0, 1, 1, 3]))
