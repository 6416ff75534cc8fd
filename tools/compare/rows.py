"""Results of a comparison as rows of text, for the HTML report, and as tables on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from models.report.document import count
from tools.compare.comparison import ComparedWorker, Comparison
from tools.compare.measures import DailyRange

if TYPE_CHECKING:
    from tools.compare.labelled import LabelledMetrics

Row = tuple[str, str, str]
"""Name of the measure, the champion's value, the challenger's value."""
_FINGERPRINT = 8
_APART = {
    "dead_lettered": "of these, dead letters of the other",
    "before": "of these, before the other's first score",
    "after": "of these, after the other's last score",
    "missing": "of these, missing in the other",
}


def scored_rows(comparison: Comparison) -> Iterator[Row]:
    """Rows with the number of scored events, by worker and by provenance."""
    own, other = comparison.champion, comparison.challenger
    both = f"{len(comparison.events):,}"
    yield "events that both scored", both, both
    yield (
        "events that only this one scored",
        f"{own.unmatched.total:,}",
        f"{other.unmatched.total:,}",
    )
    for name, words in _APART.items():
        counts = getattr(own.unmatched, name), getattr(other.unmatched, name)
        if any(counts):
            yield words, f"{counts[0]:,}", f"{counts[1]:,}"
    if own.repeated or other.repeated:
        yield "events scored more than once", f"{own.repeated:,}", f"{other.repeated:,}"
    made = [dict(worker.answers.made) for worker in (own, other)]
    for maker in dict.fromkeys([*made[0], *made[1]]):
        features = maker.feature_set[:_FINGERPRINT]
        name = f"by {maker.model} {maker.version}, policy {maker.policy_version}, set {features}"
        yield name, f"{made[0].get(maker, 0):,}", f"{made[1].get(maker, 0):,}"


def alert_rows(comparison: Comparison) -> Iterator[Row]:
    """Rows with the rate of alerts and, where there are labels, their precision."""
    own, other = comparison.champion.alerts, comparison.challenger.alerts
    yield "alerts, share of events", f"{own.rate:.3%}", f"{other.rate:.3%}"
    yield "alerts a day", _range(own.events), _range(other.events)
    if comparison.labelled is not None:
        yield from _labelled_rows(comparison, comparison.labelled)


def agreement_rows(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """Rows with the measures of agreement between the two workers."""
    shift, top = comparison.shift, comparison.top
    yield "same decision", f"{comparison.agreement.same:.3%}"
    correlation = (
        "none (all scores are equal)" if (rank := shift.rank_correlation) is None else f"{rank:.4f}"
    )
    yield "rank correlation of scores (Spearman)", correlation
    yield "population stability index of scores", f"{shift.stability_index:.4f}"
    yield "identical scores", f"{shift.identical:.2%}"
    yield "difference of scores: mean", f"{shift.mean:+.6f}"
    yield "difference of scores: mean absolute", f"{shift.mean_absolute:.6f}"
    for share in ("0.01", "0.5", "0.99"):
        yield f"difference of scores: quantile {float(share):.0%}", f"{shift.quantiles[share]:+.6f}"
    overlap = top.overlap
    yield (
        f"overlap of the first {top.top} cards a day",
        f"{overlap.mean:.1%} ({overlap.least:.0%} to {overlap.most:.0%})",
    )


def remarks(comparison: Comparison) -> Iterator[str]:
    """Remarks on missing and repeated scores, if there are any."""
    for name, worker in comparison.workers.items():
        other = "challenger" if name == "champion" else "champion"
        if worker.unmatched.missing:
            yield (
                f"The {other} has neither a score nor a dead letter for "
                f"{count(worker.unmatched.missing, 'event')} between events that it scored; "
                f"{_why(worker)}."
            )
        if worker.repeated:
            yield (
                f"{worker.topic} holds {worker.repeated:,} scores that a later score of the same event "
                "replaces (delivery.guarantee is at_least_once, or the group was reset)."
            )


def _why(worker: ComparedWorker) -> str:
    if not worker.other_letters_read:
        return "they may be among its dead letters, which could not be read"
    return "its output topic may have lost records, or its group's offsets were moved forward"


def _labelled_rows(comparison: Comparison, metrics: LabelledMetrics) -> Iterator[Row]:
    own, other = metrics.champion, metrics.challenger
    labelled = f"{metrics.labelled:,}"
    yield "labelled events", labelled, labelled
    yield "frauds among these", f"{metrics.frauds:,}", f"{metrics.frauds:,}"
    yield "average precision", f"{own.average_precision:.4f}", f"{other.average_precision:.4f}"
    yield "ROC AUC", f"{own.roc_auc:.4f}", f"{other.roc_auc:.4f}"
    name = f"card precision at {comparison.top.top} a day"
    yield name, f"{own.card_precision:.4f}", f"{other.card_precision:.4f}"
    for decision in comparison.agreement.decisions:
        of = [scores.decisions.get(decision) for scores in (own, other)]
        shown = [
            "none"
            if one is None
            else f"{one.precision:.2%} ({one.frauds:,} of {one.events:,}; recall {one.recall:.1%})"
            for one in of
        ]
        yield f"frauds among {decision}", shown[0], shown[1]


def _range(days: DailyRange) -> str:
    return f"{days.mean:,.1f} ({days.least:,.0f} to {days.most:,.0f})"


def show(comparison: Comparison, console: Console) -> None:
    """Print a comparison: results of both workers, measures of agreement, pairs of decisions."""
    sides = ("", "champion", "challenger")
    topics = ("output topic", comparison.champion.topic, comparison.challenger.topic)
    console.print(_table(sides, [topics, *scored_rows(comparison), *alert_rows(comparison)]))
    console.print(_table(("agreement", ""), agreement_rows(comparison)))
    names = comparison.agreement.decisions
    counts = [
        (name, *(f"{count:,}" for count in row))
        for name, row in zip(names, comparison.agreement.counts, strict=True)
    ]
    console.print(_table(("champion \\ challenger", *names), counts))
    for remark in remarks(comparison):
        console.print(Text(remark))


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table()
    for place, name in enumerate(columns):
        table.add_column(Text(name), justify="right" if place else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
