"""Report of a training as an HTML page: data, metrics, effects of thresholds, and charts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from base.times import utc
from models.report.document import count, facts, page, section, table, tiles
from models.training.alerts import Alerts, alerts_at, alerts_by_budget
from models.training.out_of_fold import OutOfFold
from models.training.report import charts
from models.training.result import Training, describe_data
from models.training.search import Trial

BUDGETS = (5, 10, 20, 50, 100, 200, 500)
"""Numbers of cards per day for which the table of thresholds has a row."""
_SHOWN_TRIALS = 8


@dataclass(frozen=True, slots=True)
class ReportDetails:
    """Contents of the report that are not part of the training.

    Attributes:
        name: Name of the bundle.
        version: Version of the bundle.
        table: Path of the training table.
        card: Column that identifies the card.
        review_cost: Cost of a review in minor units.
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


def write_report(training: Training, details: ReportDetails) -> str:
    """Make the page as one HTML text without external resources."""
    sections = [
        _head(training, details),
        _tiles(training),
        _thresholds(training, details),
        *_charts(training, details),
        section("Parameter search", _SEARCH, _trials(training)),
        section("Origin", "", _facts(training, details)),
    ]
    return page(f"{details.name} {details.version}: training report", sections)


_SEARCH = (
    "Each row is a parameter set at its best number of rounds. Each fold has its own training days, "
    "and is assessed on later days, after the label delay. No fold uses events after the last day of "
    "training."
)


def _head(training: Training, details: ReportDetails) -> str:
    days = training.days
    data = "".join(f"{escape(line)}. " for line in describe_data(training))
    return (
        f"<header><h1>{escape(details.name)} <small>{escape(details.version)}</small></h1>"
        f"<p>{data}All numbers below are "
        f"measured on {count(len(training.begins), 'earlier fold')}: each is trained on "
        f"{training.span} and, after a label delay of {days.delay:g} days, assessed on "
        f"{count(days.assess, 'day')}. The assessed days have "
        f"{len(training.out_of_fold.labels):,} events and "
        f"{int(training.out_of_fold.labels.sum()):,} frauds. Each event is scored by a model that "
        "was not trained on it. Cards known to be compromised are left out.</p></header>\n"
    )


def _tiles(training: Training) -> str:
    metrics, scored = training.best_trial.metrics, training.out_of_fold
    return tiles(
        [
            ("Average precision", f"{metrics.average_precision:.3f}", "mean of folds"),
            ("ROC AUC", f"{metrics.roc_auc:.3f}", "mean of folds"),
            ("Card precision at 100", f"{metrics.card_precision_100:.1%}", "of 100 cards a day"),
            ("Calibration error", f"{scored.calibration_error:.2%}", "cross-validated"),
            ("Brier score", f"{scored.brier:.5f}", "cross-validated"),
        ]
    )


def _thresholds(training: Training, details: ReportDetails) -> str:
    """Table of thresholds: a row for each budget, and a marked row for each band."""
    scored = training.out_of_fold
    rows = {a.threshold: a for a in alerts_by_budget(scored, BUDGETS, details.review_cost)}
    for threshold in details.bands.values():
        rows.setdefault(threshold, alerts_at(scored, threshold, details.review_cost))
    decisions = {threshold: decision for decision, threshold in details.bands.items()}
    body = "".join(
        _row(rows[threshold], decisions.get(threshold), details.scale)
        for threshold in sorted(rows, reverse=True)
    )
    bands = (
        "Bands of the suggested policy are marked."
        if details.bands
        else "The suggested policy has no band: no band saved more than its reviews cost."
    )
    return section(
        "Effects of thresholds",
        "Each row is a threshold, with the number of cards that it alerts on an average day. A card "
        "is reviewed at most once a day. Saved money is the amounts of alerted frauds minus "
        f"{_money(details.review_cost, details.scale)} for each review, in the currency of the "
        f"events. {bands}",
        table(_THRESHOLD_TITLES, body),
    )


_THRESHOLD_TITLES = (
    "score from",
    "cards a day",
    "lowest to highest",
    "events a day",
    "lowest to highest",
    "precision",
    "recall",
    "saved a day",
)


def _row(alerts: Alerts, decision: str | None, scale: int) -> str:
    mark = "" if decision is None else f'<span class="mark">{escape(decision)}</span>'
    saved = "unknown" if alerts.saved is None else _money(alerts.saved, scale)
    bad = ' class="bad"' if alerts.saved is not None and alerts.saved < 0 else ""
    cells = [
        f"{alerts.threshold}{mark}",
        f"{alerts.cards.mean:,.1f}",
        f"<small>{alerts.cards.min:,} to {alerts.cards.max:,}</small>",
        f"{alerts.events.mean:,.1f}",
        f"<small>{alerts.events.min:,} to {alerts.events.max:,}</small>",
        f"{alerts.precision:.1%}",
        f"{alerts.recall:.1%}",
    ]
    tag = ' class="band"' if decision else ""
    inner = "".join(f"<td>{cell}</td>" for cell in cells)
    return f"<tr{tag}>{inner}<td{bad}>{saved}</td></tr>"


def _charts(training: Training, details: ReportDetails) -> list[str]:
    scored = training.out_of_fold
    marked = [
        (decision, alerts_at(scored, threshold, details.review_cost))
        for decision, threshold in details.bands.items()
    ]
    pair = section(
        "Precision and recall",
        "Share of frauds among alerts (precision), and share of frauds that are alerted (recall), at "
        "each threshold.",
        charts.precision_recall(scored, marked),
    ) + section(
        "Reliability",
        "Share of frauds by score. On the dotted line the score equals the share of frauds. Bars "
        "show two standard errors.",
        charts.reliability(scored),
    )
    return [
        f'<div class="pair">{pair}</div>',
        *([_day_by_day(scored, min(details.bands.values()))] if details.bands else []),
        section(
            "Scores by day",
            "Score of the median event, and the scores that a tenth, a hundredth and a thousandth of "
            "the events exceed. If the lines rise or fall over the weeks, the events are changing.",
            charts.score_quantiles(scored),
        ),
        section(
            "Feature importance",
            "Share of the total gain: the reduction of the training loss by the splits on a feature.",
            charts.gains(training.gains),
        ),
    ]


def _day_by_day(scored: OutOfFold, lowest: float) -> str:
    return section(
        "Day by day",
        f"Frauds and alerts on each assessed day, with alerts from a score of {lowest:.3g}.",
        charts.by_day(scored, lowest),
    )


def _trials(training: Training) -> str:
    """Table of the best trial of each parameter set; the best of all is marked."""
    best: list[Trial] = []
    for trial in training.trials:
        if all(trial.params != other.params for other in best):
            best.append(trial)
    folds = [f"from {_day(begin)}" for begin in training.begins]
    titles = [
        "average precision",
        *folds,
        "card precision at 100",
        "ROC AUC",
        "rounds",
        "parameters",
    ]
    rows = []
    for trial in best[:_SHOWN_TRIALS]:
        metrics = trial.metrics
        cells = [
            f"{metrics.average_precision:.4f}",
            *(f"<small>{fold.average_precision:.3f}</small>" for fold in trial.folds),
            f"{metrics.card_precision_100:.1%}",
            f"{metrics.roc_auc:.4f}",
            str(trial.rounds),
        ]
        params = ", ".join(f"{name} {value}" for name, value in sorted(trial.params.items()))
        tag = ' class="band"' if trial is best[0] else ""
        rows.append(f"<tr{tag}>" + "".join(f"<td>{cell}</td>" for cell in cells))
        rows.append(f'<td class="words">{escape(params)}</td></tr>')
    return table(titles, "".join(rows))


def _facts(training: Training, details: ReportDetails) -> str:
    trained = training.trained
    return facts(
        {
            "training table": escape(details.table),
            "SHA-256 of the table": f"<code>{trained.data}</code>",
            "card column": escape(details.card),
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
