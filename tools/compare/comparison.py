"""Comparison of two workers on one input topic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from base.times import utc
from tools.compare.join import ComparedEvents, Unmatched, WorkerAnswers, events_of, join
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
from tools.compare.score_columns import ScoreCategories
from tools.compare.score_log import ScoreLog

if TYPE_CHECKING:
    # The metrics' library takes a second to import, and only labels need it.
    from tools.compare.labelled import LabelledMetrics


@dataclass(frozen=True, slots=True, eq=False)
class ComparedWorker:
    """Results of one worker in a comparison.

    Attributes:
        topic: Output topic.
        default: Default decision of the worker's policy.
        unmatched: Events that only this worker scored.
        repeated: Number of scores beyond the first of each event.
        other_letters_read: False if the other's dead letters could not be read.
        answers: Scores and decisions on the events that both workers scored.
        alerts: Rate of decisions other than the default.
    """

    topic: str
    default: str
    unmatched: Unmatched
    repeated: int
    other_letters_read: bool
    answers: WorkerAnswers
    alerts: AlertRate

    def as_json(self) -> dict[str, Any]:
        return {
            "topic": self.topic,
            "only_here": asdict(self.unmatched),
            "repeated": self.repeated,
            "made_by": [{**asdict(maker), "events": count} for maker, count in self.answers.made],
            "alerts": asdict(self.alerts),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Result of a comparison.

    Attributes:
        events: Events that both workers scored.
        champion: Results of the champion.
        challenger: Results of the challenger.
        agreement: Agreement of the decisions.
        shift: Differences of the scores.
        top: Overlap of each day's first cards.
        labelled: Metrics on labelled events; None without labels.
    """

    events: ComparedEvents
    champion: ComparedWorker
    challenger: ComparedWorker
    agreement: Agreement
    shift: Shift
    top: Top
    labelled: LabelledMetrics | None = None

    @property
    def workers(self) -> Mapping[str, ComparedWorker]:
        return {"champion": self.champion, "challenger": self.challenger}

    def as_json(self) -> dict[str, Any]:
        """Convert the comparison to plain data for JSON."""
        times = self.events.times
        return {
            "both": len(self.events),
            "from": utc(int(times.min())).isoformat(),
            "to": utc(int(times.max())).isoformat(),
            **{name: worker.as_json() for name, worker in self.workers.items()},
            "agreement": asdict(self.agreement),
            "shift": asdict(self.shift),
            "top": asdict(self.top),
            "truth": None if self.labelled is None else asdict(self.labelled),
        }


def compare(
    champion: ScoreLog, challenger: ScoreLog, categories: ScoreCategories, top: int
) -> Comparison:
    """Join both workers' scores and measure their differences, without labels.

    Args:
        champion: Scores of the champion.
        challenger: Scores of the challenger.
        categories: Categories of the codes in both.
        top: Number of cards a day in the overlap of first cards.

    Raises:
        ConfigurationError: There are no events to compare.
    """
    joined = join(champion, challenger, categories)
    events = events_of(champion, challenger, joined, categories)

    def compared(
        log: ScoreLog, other: ScoreLog, unmatched: Unmatched, answers: WorkerAnswers
    ) -> ComparedWorker:
        return ComparedWorker(
            log.topic,
            log.default,
            unmatched,
            log.repeated,
            other.letters is not None,
            answers,
            alerts(events, answers),
        )

    return Comparison(
        events,
        compared(champion, challenger, joined.only_champion, events.champion),
        compared(challenger, champion, joined.only_challenger, events.challenger),
        agreement(events),
        shift(events),
        Top(top, DailyRange.of(top_overlap(events, top)[1])),
    )
