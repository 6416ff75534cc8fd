"""``fraud-worker features explain``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from base.file_path import FilePath
from base.times import utc
from tools.cli.input_reports import SORT_THEM, known_labels, tell_flagged, tell_times
from tools.cli.options import (
    EVENTS,
    HERE,
    LabelsOption,
    MoreEvents,
    PipelineOption,
    RecordTimeOption,
    SetOption,
    SortOption,
    features_file,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from features.inspect.explanation import ExplainedValue, Explanation, Member


def explain(
    *,
    feature: Annotated[str, typer.Argument(help="Name of a feature in features.yaml.")],
    event_id: Annotated[str, typer.Argument(help="Id of an event.")],
    events: Annotated[list[FilePath], EVENTS],
    more_events: MoreEvents = None,
    feature_set: SetOption = None,
    labels: LabelsOption = None,
    record_time: RecordTimeOption = None,
    sort: SortOption = False,
    pipeline: PipelineOption = HERE,
) -> None:
    """Explain one feature value of one event: list the events that its window counted.

    Reads the files in the given order, as `features build` does. Prints a table on
    a terminal, JSON lines in a pipe: the feature, the events that it counts, then
    the features that it is computed from.
    """
    from features.definition import load_feature_set
    from features.inspect.explanation import Explainer
    from features.tables import EventTableReader, SortedEvents
    from tools.progress import progress

    files = [*events, *(more_events or [])]
    made = load_feature_set(features_file(feature_set, pipeline))
    known = known_labels(made, labels)
    read = EventTableReader(made, files, record_time=record_time)
    source = SortedEvents(read) if sort else read
    total = source.count()
    with progress("reading") as advance:
        read.advance = lambda done: advance(done, total)
        explanation = Explainer(made).explain(feature, event_id, source, known)
    tell_times(made, explanation.times, record_time, SORT_THEM)
    tell_flagged(explanation.before)
    if sys.stdout.isatty():
        _tables(explanation)
    else:
        for line in _lines(explanation, explanation.feature):
            print(json.dumps(line))


def _lines(explanation: Explanation, feature: ExplainedValue) -> Iterator[dict[str, Any]]:
    counted = feature.counted
    head: dict[str, Any] = {
        "feature": feature.name,
        "event_id": explanation.event_id,
        "value": feature.value,
        "kind": feature.kind,
        "definition": feature.definition,
        "event_time": utc(explanation.event_time).isoformat(),
        "partition": explanation.partition,
        "offset": explanation.offset,
        "flags": explanation.flags,
        "fields": feature.fields,
        "features": {inner.name: inner.value for inner in feature.features},
    }
    if counted is not None:
        head |= {
            "after": utc(counted.after).isoformat(),
            "until": utc(counted.until).isoformat(),
            "events": len(counted.members),
        }
    yield head
    for member in counted.members if counted else ():
        yield {"counted_by": feature.name, **_row(member)}
    for inner in feature.features:
        yield from _lines(explanation, inner)


def _row(member: Member) -> dict[str, Any]:
    return {
        "event_id": member.event_id,
        "time": utc(member.time).isoformat(),
        "value": member.value,
        "fraud": member.fraud,
        "itself": member.current,
        "partition": member.partition,
        "offset": member.offset,
    }


def _tables(explanation: Explanation) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.print(f"event {explanation.event_id} of {utc(explanation.event_time).isoformat()}")
    if explanation.flags:
        console.print(f"flags: {', '.join(explanation.flags)}")
    _show(console, explanation.feature)


def _show(console: Console, feature: ExplainedValue) -> None:
    from rich.table import Table

    value = "missing" if feature.value is None else f"{feature.value:.9g}"
    console.print(f"\n{feature.name} = {value}   ({feature.definition})")
    for path, text in feature.fields.items():
        console.print(f"  {path} = {'null' if text is None else text}")
    counted = feature.counted
    if counted is not None:
        console.print(
            f"  {len(counted.members)} events after {utc(counted.after).isoformat()}, until "
            f"{utc(counted.until).isoformat()}"
        )
        rows = [_row(member) for member in counted.members]
        # A field that no event of this window has gets no column.
        names = [n for n in rows[0] if any(row[n] is not None for row in rows)] if rows else []
        table = Table(*names)
        for row in rows:
            table.add_row(*("" if row[name] is None else str(row[name]) for name in names))
        console.print(table)
    for inner in feature.features:
        _show(console, inner)
