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


def comparison_page(found: Comparison) -> str:
    """Text of the report."""
    title = f"{found.champion.topic} and {found.challenger.topic}: champion and challenger"
    return page(title, [_head(found), _tiles(found), *_sections(found)])


def _head(found: Comparison) -> str:
    times = found.events.times
    first, last = (_day(int(time)) for time in (times.min(), times.max()))
    said = "".join(f" {escape(remark)}" for remark in remarks(found))
    return (
        "<header><h1>Champion and challenger</h1>"
        f"<p>{count(len(found.events), 'event')} from {first} to {last} that both scored: the "
        f"champion on {escape(found.champion.topic)}, the challenger on "
        f"{escape(found.challenger.topic)}, joined by the position of the event. Days are those of "
        f"UTC; the first and the last may not be whole.{said}</p></header>\n"
    )


def _tiles(found: Comparison) -> str:
    own, other = found.champion.alerts.events.mean, found.challenger.alerts.events.mean
    rank = found.shift.rank_correlation
    given = [
        ("Same decision", f"{found.agreement.same:.2%}", "of events"),
        ("Alerts a day", f"{other:,.0f}", f"champion: {own:,.0f}"),
        (f"Of the first {found.top.top} cards", f"{found.top.overlap.mean:.0%}", "in both, a day"),
        ("Rank correlation", "none" if rank is None else f"{rank:.3f}", "of scores"),
    ]
    if found.truth is None:
        index = f"{found.shift.stability_index:.3f}"
        given.append(("Stability index", index, "of scores; much is 0.25"))
    else:
        worth = [w.average_precision for w in (found.truth.champion, found.truth.challenger)]
        given.append(("Average precision", f"{worth[1]:.3f}", f"champion: {worth[0]:.3f}"))
    return tiles(given)


def _sections(found: Comparison) -> Iterator[str]:
    yield section(
        "Alerts",
        f"Decisions other than the default ({escape(_defaults(found))}), over the events that both "
        "scored; a day's mean, and the least and the most of a day."
        + ("" if found.truth is None else " Frauds are counted among labelled events."),
        table(_SIDES, _rows(alert_rows(found))),
    )
    yield section(
        "Decisions",
        "The champion's down, the challenger's across; on the diagonal they agree. Below each "
        "number its share of the champion's row.",
        _confusion(found.agreement),
    )
    yield section("Alerts day by day", "", charts.alerts_by_day(found.events))
    yield section(
        f"The first {found.top.top} cards of a day",
        "How many of them both name. A card stands where its highest score of the day does; cards "
        "are told apart by the keys of the records.",
        charts.overlap_by_day(found.events, found.top.top),
    )
    yield f'<div class="pair">{_shift(found)}</div>'
    if found.truth is not None:
        words = "Over the labelled events; dotted is what chance would bring."
        curves = charts.precision_recall(found.events)
        yield section("Precision and recall", words, curves)
    yield section("How far they agree", _AGREE, table(("", ""), _rows(agreement_rows(found))))
    yield section("What was scored", _SCORED, table(_SIDES, _rows(scored_rows(found))))


_AGREE = (
    "Differences are the challenger's score less the champion's. The population stability index "
    f"compares the distributions in {BINS} bins of equal numbers of the champion's scores; below "
    "0.1 little has moved, above 0.25 much has."
)
_SCORED = (
    "An event that one worker scored and the other did not is a dead letter of the other, lies "
    "outside of what the other has scored so far, or is missing. Scores name the model, the policy and "
    "the feature set (the beginning of its fingerprint) that made them."
)


def _shift(found: Comparison) -> str:
    return section(
        "How scores lie",
        "Events by score. Scores stand at their log-odds; the count is logarithmic too.",
        charts.distribution(found.events),
    ) + section(
        "Event by event",
        "Above the dotted line the challenger is the more suspicious. The darker, the more events.",
        charts.density(found.events),
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


def _defaults(found: Comparison) -> str:
    return " and ".join(dict.fromkeys(side.default for side in found.sides.values()))


def _rows(rows: Iterable[Sequence[str]]) -> str:
    return "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )


def _day(time: int) -> str:
    return f"{utc(time):%-d %B %Y}"
