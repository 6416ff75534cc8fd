"""Page of the training report: the training, its quality, and the effects of thresholds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from base.times import utc
from models.report.document import count, facts, page, section, table, tiles
from models.training.alerts import Alerts, alerts_at, alerts_by_budget
from models.training.report import charts
from models.training.scored import OutOfFold
from models.training.search import Trial
from models.training.told import learned_from
from models.training.train import Training

BUDGETS = (5, 10, 20, 50, 100, 200, 500)
"""Cards a day for which the table of thresholds has a row."""
_SHOWN_TRIES = 8


@dataclass(frozen=True, slots=True)
class Subject:
    """Facts for the report that the training does not have.

    Attributes:
        name: Name of the bundle.
        version: Version of the bundle.
        table: Name of the training table.
        card: Column that identifies the card.
        review_cost: Minor units for a review.
        scale: Decimal digits of the minor units.
        bands: Thresholds of the suggested policy, by decision.
    """

    name: str
    version: str
    table: str
    card: str
    review_cost: int
    scale: int
    bands: Mapping[str, float]


def write_report(training: Training, subject: Subject) -> str:
    """The page as one HTML text; it refers to nothing outside itself."""
    sections = [
        _head(training, subject),
        _tiles(training),
        _thresholds(training, subject),
        *_charts(training, subject),
        section("How it was chosen", _CHOSEN, _tries(training)),
        section("Made from", "", _facts(training, subject)),
    ]
    return page(f"{subject.name} {subject.version}: training report", sections)


_CHOSEN = (
    "Each row is a set of parameters at its best number of rounds. Every fold was trained on days "
    "of its own and assessed on later ones, after the delay that labels take; none of them reaches "
    "beyond the last day of training."
)


def _head(training: Training, subject: Subject) -> str:
    plan = training.plan
    learned = "".join(f"{escape(line)}. " for line in learned_from(training))
    return (
        f"<header><h1>{escape(subject.name)} <small>{escape(subject.version)}</small></h1>"
        f"<p>{learned}All that follows is "
        f"measured on {count(len(training.begins), 'earlier fold')} of {training.span}, "
        f"{plan.delay:g} days until labels are known and {plan.assess} days assessed: "
        f"{len(training.out_of_fold.labels):,} events, {int(training.out_of_fold.labels.sum()):,} "
        "frauds, each scored by a model that had not seen it; cards known to be compromised are "
        "left out.</p></header>\n"
    )


def _tiles(training: Training) -> str:
    worth, scored = training.chosen.worth, training.out_of_fold
    return tiles(
        [
            ("Average precision", f"{worth.average_precision:.3f}", "mean of folds"),
            ("ROC AUC", f"{worth.roc_auc:.3f}", "mean of folds"),
            ("Card precision at 100", f"{worth.card_precision_100:.1%}", "of 100 cards a day"),
            ("Calibration error", f"{scored.calibration_error:.2%}", "by curves of other folds"),
            ("Brier score", f"{scored.brier:.5f}", "likewise"),
        ]
    )


def _thresholds(training: Training, subject: Subject) -> str:
    """Table of thresholds: a row for each budget, and a marked row for each band."""
    scored = training.out_of_fold
    rows = {a.threshold: a for a in alerts_by_budget(scored, BUDGETS, subject.review_cost)}
    for threshold in subject.bands.values():
        rows.setdefault(threshold, alerts_at(scored, threshold, subject.review_cost))
    marks = {threshold: decision for decision, threshold in subject.bands.items()}
    titles = (
        "score from",
        "cards a day",
        "least to most",
        "events a day",
        "least to most",
        "precision",
        "recall",
        "saved a day",
    )
    body = "".join(
        _row(rows[threshold], marks.get(threshold), subject.scale)
        for threshold in sorted(rows, reverse=True)
    )
    cost = _money(subject.review_cost, subject.scale)
    return section(
        "What thresholds would bring",
        "Each row alerts so many cards on an average day. A card is reviewed once a day however "
        "many of its events are alerted. Saved are the amounts of the frauds that are alerted, "
        f"less {cost} for each review; amounts in the units of the events. "
        + (
            "Bands of the suggested policy are marked."
            if subject.bands
            else "The suggested policy has no band: none saved more than its reviews cost."
        ),
        table(titles, body),
    )


def _row(alerts: Alerts, decision: str | None, scale: int) -> str:
    mark = "" if decision is None else f'<span class="mark">{escape(decision)}</span>'
    saved = "unknown" if alerts.saved is None else _money(alerts.saved, scale)
    bad = ' class="bad"' if alerts.saved is not None and alerts.saved < 0 else ""
    cells = [
        f"{alerts.threshold}{mark}",
        f"{alerts.cards.mean:,.1f}",
        f"<small>{alerts.cards.least:,} to {alerts.cards.most:,}</small>",
        f"{alerts.events.mean:,.1f}",
        f"<small>{alerts.events.least:,} to {alerts.events.most:,}</small>",
        f"{alerts.precision:.1%}",
        f"{alerts.recall:.1%}",
    ]
    tag = ' class="band"' if decision else ""
    inner = "".join(f"<td>{cell}</td>" for cell in cells)
    return f"<tr{tag}>{inner}<td{bad}>{saved}</td></tr>"


def _charts(training: Training, subject: Subject) -> list[str]:
    scored = training.out_of_fold
    marked = [
        (decision, alerts_at(scored, threshold, subject.review_cost))
        for decision, threshold in subject.bands.items()
    ]
    pair = section(
        "Precision and recall",
        "How many alerts are frauds, and how many frauds are alerts, at every threshold.",
        charts.precision_recall(scored, marked),
    ) + section(
        "Reliability",
        "What became of events by their score; on the dotted line a score is the share of frauds. "
        "Bars: two standard errors.",
        charts.reliability(scored),
    )
    return [
        f'<div class="pair">{pair}</div>',
        *([_day_by_day(scored, min(subject.bands.values()))] if subject.bands else []),
        section(
            "Scores by day",
            "Where the median event stands, and the most suspicious tenth, hundredth and "
            "thousandth. Lines that climb or fall over the weeks say that the stream changes.",
            charts.score_quantiles(scored),
        ),
        section(
            "What the model looks at",
            "Share of the total gain: what the splits on a feature took from the loss in training.",
            charts.gains(training.gains),
        ),
    ]


def _day_by_day(scored: OutOfFold, lowest: float) -> str:
    return section(
        "Day by day",
        f"Frauds and alerts of each assessed day, at a score of {lowest:.3g} or more.",
        charts.by_day(scored, lowest),
    )


def _tries(training: Training) -> str:
    best: list[Trial] = []
    for one in training.tried if training.tried[0].folds else [training.chosen]:
        if all(one.params != other.params for other in best):
            best.append(one)
    folds = [f"from {_day(begin)}" for begin in training.begins]
    titles = ["average precision", *folds, "cards at 100", "ROC AUC", "rounds", "parameters"]
    rows = []
    for one in best[:_SHOWN_TRIES]:
        worth = one.worth
        cells = [
            f"{worth.average_precision:.4f}",
            *(f"<small>{fold.average_precision:.3f}</small>" for fold in one.folds),
            f"{worth.card_precision_100:.1%}",
            f"{worth.roc_auc:.4f}",
            str(one.rounds),
        ]
        told = ", ".join(f"{name} {value}" for name, value in sorted(one.params.items()))
        tag = ' class="band"' if one is best[0] else ""
        rows.append(f"<tr{tag}>" + "".join(f"<td>{cell}</td>" for cell in cells))
        rows.append(f'<td class="words">{escape(told)}</td></tr>')
    return table(titles, "".join(rows))


def _facts(training: Training, subject: Subject) -> str:
    trained = training.trained
    return facts(
        {
            "table": escape(subject.table),
            "its SHA-256": f"<code>{trained.data}</code>",
            "cards by": escape(subject.card),
            "features": str(len(training.gains)),
            "XGBoost": f"{escape(trained.xgboost)}, seed {trained.seed}",
            "parameters": f"<code>{escape(json.dumps(trained.params))}</code>",
            "calibration": f"{len(training.calibration.margins)} knots from margin "
            f"{training.calibration.margins[0]:.2f} to {training.calibration.margins[-1]:.2f}",
        }
    )


def _money(minor: float, scale: int) -> str:
    return f"{minor / 10**scale:,.{scale}f}"


def _day(time: int) -> str:
    return f"{utc(time):%-d %b}"
