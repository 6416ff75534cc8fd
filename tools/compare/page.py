"""HTML report of a comparison: one file that needs no others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from base.times import utc
from models.report.document import count, page, section, table, tiles
from tools.compare import charts
from tools.compare.comparison import Comparison
from tools.compare.measures import BINS, Agreement
from tools.compare.rows import agreement_rows, alert_rows, remarks, scored_rows

_SIDES = ("", "champion", "challenger")


def comparison_page(comparison: Comparison) -> str:
    """Text of the report."""
    title = (
        f"{comparison.champion.topic} and {comparison.challenger.topic}: champion and challenger"
    )
    return page(title, [_head(comparison), _tiles(comparison), *_sections(comparison)])


def _head(comparison: Comparison) -> str:
    times = comparison.events.times
    first, last = (_day(int(time)) for time in (times.min(), times.max()))
    said = "".join(f" {escape(remark)}" for remark in remarks(comparison))
    return (
        "<header><h1>Champion and challenger</h1>"
        f"<p>{count(len(comparison.events), 'event')} from {first} to {last} that both workers scored: "
        f"the champion on {escape(comparison.champion.topic)}, the challenger on "
        f"{escape(comparison.challenger.topic)}, joined by the position of the event. Days are in UTC; "
        f"the first and the last may be incomplete.{said}</p></header>\n"
    )


def _tiles(comparison: Comparison) -> str:
    own, other = comparison.champion.alerts.events.mean, comparison.challenger.alerts.events.mean
    rank = comparison.shift.rank_correlation
    given = [
        ("Same decision", f"{comparison.agreement.same:.2%}", "of events"),
        ("Alerts a day", f"{other:,.0f}", f"champion: {own:,.0f}"),
        (
            f"First {comparison.top.top} cards",
            f"{comparison.top.overlap.mean:.0%}",
            "a day, named by both",
        ),
        ("Rank correlation", "none" if rank is None else f"{rank:.3f}", "of scores"),
    ]
    if comparison.labelled is None:
        index = f"{comparison.shift.stability_index:.3f}"
        given.append(("Stability index", index, "of scores; 0.25 is large"))
    else:
        precision = [
            w.average_precision
            for w in (comparison.labelled.champion, comparison.labelled.challenger)
        ]
        given.append(("Average precision", f"{precision[1]:.3f}", f"champion: {precision[0]:.3f}"))
    return tiles(given)


def _sections(comparison: Comparison) -> Iterator[str]:
    yield section(
        "Alerts",
        f"Decisions other than the default ({escape(_defaults(comparison))}) on the events that both "
        "scored: mean, smallest and largest number a day."
        + ("" if comparison.labelled is None else " Frauds are counted among labelled events."),
        table(_SIDES, _rows(alert_rows(comparison))),
    )
    yield section(
        "Decisions",
        "Rows are the champion's decisions, columns the challenger's; on the diagonal they agree. "
        "Below each number is its share of the row.",
        _confusion(comparison.agreement),
    )
    yield section("Alerts by day", "", charts.alerts_by_day(comparison.events))
    yield section(
        f"The first {comparison.top.top} cards of a day",
        "Share of these cards that both workers name. Cards are ranked by their highest score of "
        "the day; the key of a record identifies its card.",
        charts.overlap_by_day(comparison.events, comparison.top.top),
    )
    yield f'<div class="pair">{_shift(comparison)}</div>'
    if comparison.labelled is not None:
        words = "On the labelled events; the dotted line is random guessing."
        curves = charts.precision_recall(comparison.events)
        yield section("Precision and recall", words, curves)
    yield section("Agreement", _AGREE, table(("", ""), _rows(agreement_rows(comparison))))
    yield section("Scored events", _SCORED, table(_SIDES, _rows(scored_rows(comparison))))


_AGREE = (
    "A difference is the challenger's score minus the champion's. The population stability index "
    f"compares the distributions in {BINS} bins with equal numbers of the champion's scores: below "
    "0.1 they are much alike, above 0.25 they differ much."
)
_SCORED = (
    "An event that only one worker scored is a dead letter of the other, lies before or after the "
    "events that the other has scored, or is missing. Each score names its model, policy and "
    "feature set (the beginning of the fingerprint)."
)


def _shift(comparison: Comparison) -> str:
    return section(
        "Distribution of scores",
        "Number of events by score, on log-odds and logarithmic axes.",
        charts.distribution(comparison.events),
    ) + section(
        "Scores event by event",
        "Above the dotted line the challenger's score is higher. Darker cells hold more events.",
        charts.density(comparison.events),
    )


def _confusion(agreement: Agreement) -> str:
    rows = []
    for at, (name, counts) in enumerate(zip(agreement.decisions, agreement.counts, strict=True)):
        total = max(1, sum(counts))
        cells = "".join(
            f'<td style="background:rgba({_shade(at == place)},{0.04 + 0.5 * part / total:.3f})">'
            f'{part:,}<br><small style="color:inherit">{part / total:.2%}</small></td>'
            for place, part in enumerate(counts)
        )
        rows.append(f"<tr><td>{escape(name)}</td>{cells}</tr>")
    return table(("", *agreement.decisions), "".join(rows))


def _shade(same: bool) -> str:  # noqa: FBT001 - a cell's one property
    return "37,99,168" if same else "194,65,12"


def _defaults(comparison: Comparison) -> str:
    return " and ".join(dict.fromkeys(worker.default for worker in comparison.workers.values()))


def _rows(rows: Iterable[Sequence[str]]) -> str:
    return "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )


def _day(time: int) -> str:
    return f"{utc(time):%-d %B %Y}"
