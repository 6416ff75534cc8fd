"""``fraud-worker model compare``."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from base.file_path import FilePath, file_path
from tools.cli.options import Unlabelled, UnlabelledOption

if TYPE_CHECKING:
    from tools.compare.comparison import Comparison
    from tools.compare.pipelines import ComparedPipeline, Reading
    from tools.compare.score_log import LabelsOf, Period

_DATE = ["%Y-%m-%d"]


def compare(
    *,
    champion: Annotated[
        Path, typer.Argument(metavar="CHAMPION", help="Champion's pipeline folder.")
    ],
    challenger: Annotated[
        Path,
        typer.Argument(
            metavar="CHALLENGER",
            help="Challenger's pipeline folder; it has an output topic of its own.",
        ),
    ],
    labels: Annotated[
        FilePath | None,
        typer.Option(
            parser=file_path,
            metavar="FILE",
            help="Labels, for metrics of both models: a label file, events with a label column, or "
            "a table of `features build`.",
            show_default=False,
        ),
    ] = None,
    unlabelled: UnlabelledOption = Unlabelled.skip,
    since: Annotated[
        datetime | None,
        typer.Option(formats=_DATE, metavar="DATE", help="First day of events, UTC."),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(formats=_DATE, metavar="DATE", help="Last day of events, UTC."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Number of cards a day that are reviewed.")] = 100,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html", help="Write an HTML report with charts.", show_default=False
        ),
    ] = None,
) -> None:
    """Compare a challenger's scores with the champion's, event by event.

    Joins the output topics of two pipelines by the position of the event, up to
    their ends at the time of the call. The key of a record identifies its card.
    The last line on stdout is JSON.
    """
    from tools.compare.pipelines import ComparedPipeline, Reading, require_two

    _require_drawable(out)
    own, other = ComparedPipeline.load(champion), ComparedPipeline.load(challenger)
    require_two(own, other)
    labels_of = _labels(own, labels, unlabelled)
    period = _period(since, until)
    with Reading(own, other, _note) as reading:
        comparison = _compared(reading, period, labels_of, top)
    _show(comparison, out)


def _compared(reading: Reading, period: Period, labels_of: LabelsOf | None, top: int) -> Comparison:
    from tools.compare.comparison import compare
    from tools.progress import progress

    with progress("reading") as advance:
        own, other = reading.read(period, labels_of, advance)
    comparison = compare(own, other, reading.categories, top)
    if labels_of is None:
        return comparison
    from tools.compare.labelled import measure_labelled

    return replace(comparison, labelled=measure_labelled(comparison.events, top))


def _show(comparison: Comparison, out: Path | None) -> None:
    from rich.console import Console

    from tools.compare.rows import show

    show(comparison, Console(file=sys.stderr))
    if out is not None:
        _write_page(comparison, out)
    print(json.dumps({**comparison.as_json(), "out": None if out is None else str(out)}))


def _write_page(comparison: Comparison, out: Path) -> None:
    from base.errors import ConfigurationError
    from tools.compare.page import comparison_page

    page = comparison_page(comparison)
    try:
        out.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"--out: {out} cannot be written ({error.strerror}); name another file (the tables above "
            "hold the same numbers)"
        ) from None
    _note(f"Report: {out}")


def _labels(
    pipeline: ComparedPipeline, path: FilePath | None, unlabelled: Unlabelled
) -> LabelsOf | None:
    from features.definition import load_feature_set
    from tools.cli.input_reports import known_labels
    from tools.compare.labelled import EventLabels

    if path is None:
        return None
    _require("sklearn", "--labels: average precision needs scikit-learn")
    known = known_labels(load_feature_set(pipeline.settings.features), path)
    return (
        None
        if known is None
        else EventLabels(known, unlabelled=0 if unlabelled is Unlabelled.legit else -1)
    )


def _period(since: datetime | None, until: datetime | None) -> Period:
    from base.errors import ConfigurationError
    from tools.compare.score_log import Period

    if since is not None and until is not None and until < since:
        raise ConfigurationError(
            f"--until {until:%Y-%m-%d} is before --since {since:%Y-%m-%d}; give a later last day, or "
            "an earlier first one"
        )
    everything = Period()
    return Period(
        everything.begin if since is None else _micros(since),
        everything.end if until is None else _micros(until + timedelta(days=1)),
    )


def _micros(day: datetime) -> int:
    return int(day.replace(tzinfo=UTC).timestamp()) * 1_000_000


def _require_drawable(out: Path | None) -> None:
    """Raise ConfigurationError, before topics are read, for a report that could not be written."""
    from base.errors import ConfigurationError
    from base.output_file import require_file_or_nothing

    if out is None:
        return
    _require("matplotlib", "--out: charts need matplotlib")
    require_file_or_nothing(out, "--out")
    if not out.parent.is_dir():
        raise ConfigurationError(
            f"--out: {out}: {out.parent} is not a folder; name a file in an existing folder"
        )


def _require(package: str, why: str) -> None:
    from importlib.util import find_spec

    from base.errors import ConfigurationError

    if find_spec(package) is None:
        raise ConfigurationError(
            f"{why}, which is not installed; install the extra `train`, or remove the option"
        )


def _note(text: str) -> None:
    print(text, file=sys.stderr)
