"""Comparison of two workers on one input topic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from base.times import utc
from tools.compare.compared_events import ComparedEvents, WorkerAnswers, events_of
from tools.compare.join import Unmatched, join
from tools.compare.measures import (
    Agreement,
    AlertRate,
    DailyRange,
    Shift,
    Top,
    agreement,
    alerts,
    shift,
    top_overlap,
)
from tools.compare.scores import ScoreCategories
from tools.compare.side import ScoreLog

if TYPE_CHECKING:
    # The metrics' library takes a second to import, and only labels need it.
    from tools.compare.truth import LabelledMetrics


@dataclass(frozen=True, slots=True, eq=False)
class OfSide:
    """One worker's side of a comparison.

    Attributes:
        topic: Output topic.
        default: Default decision of the worker's policy.
        alone: Events that only this worker scored.
        repeated: Number of scores beyond the first of each event.
        dead_letters_of_the_other_seen: False where the other's dead letters could not be read.
        answers: Scores and decisions on the events that both workers scored.
        alerts: Rate of decisions other than the default.
    """

    topic: str
    default: str
    alone: Unmatched
    repeated: int
    dead_letters_of_the_other_seen: bool
    answers: WorkerAnswers
    alerts: AlertRate

    def as_json(self) -> dict[str, Any]:
        return {
            "topic": self.topic,
            "only_here": asdict(self.alone),
            "repeated": self.repeated,
            "made_by": [{**asdict(maker), "events": count} for maker, count in self.answers.made],
            "alerts": asdict(self.alerts),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Result of a comparison.

    Attributes:
        events: Events that both workers scored.
        champion: The champion's side.
        challenger: The challenger's side.
        agreement: Agreement of the decisions.
        shift: Differences of the scores.
        top: Overlap of each day's first cards.
        truth: Metrics on labelled events; None without labels.
    """

    events: ComparedEvents
    champion: OfSide
    challenger: OfSide
    agreement: Agreement
    shift: Shift
    top: Top
    truth: LabelledMetrics | None = None

    @property
    def sides(self) -> Mapping[str, OfSide]:
        return {"champion": self.champion, "challenger": self.challenger}

    def as_json(self) -> dict[str, Any]:
        """Convert the comparison to plain data for JSON."""
        times = self.events.times
        return {
            "both": len(self.events),
            "from": utc(int(times.min())).isoformat(),
            "to": utc(int(times.max())).isoformat(),
            **{name: side.as_json() for name, side in self.sides.items()},
            "agreement": asdict(self.agreement),
            "shift": asdict(self.shift),
            "top": asdict(self.top),
            "truth": None if self.truth is None else asdict(self.truth),
        }


def compare(
    champion: ScoreLog, challenger: ScoreLog, vocabulary: ScoreCategories, top: int
) -> Comparison:
    """Join both workers' scores and measure their differences, without labels.

    Args:
        champion: Scores of the champion.
        challenger: Scores of the challenger.
        vocabulary: Categories of the codes in both.
        top: Number of cards a day in the overlap of first cards.

    Raises:
        ConfigurationError: There are no events to compare.
    """
    joined = join(champion, challenger, vocabulary)
    events = events_of(champion, challenger, joined, vocabulary)

    def of_side(
        side: ScoreLog, other: ScoreLog, alone: Unmatched, answers: WorkerAnswers
    ) -> OfSide:
        return OfSide(
            side.topic,
            side.default,
            alone,
            side.repeated,
            other.letters is not None,
            answers,
            alerts(events, answers),
        )

    return Comparison(
        events,
        of_side(champion, challenger, joined.only_champion, events.champion),
        of_side(challenger, champion, joined.only_challenger, events.challenger),
        agreement(events),
        shift(events),
        Top(top, DailyRange.of(top_overlap(events, top)[1])),
    )
