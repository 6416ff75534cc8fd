"""``fraud-worker features drop-layout``."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from base.times import SECOND, utc
from tools.cli.features.load import StoredFeatures, stored_features
from tools.cli.options import HERE, PipelineOption

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from worker.histories.layouts import Place
    from worker.histories.record import HistoryStart, StateRecord


class _Layouts(NamedTuple):
    """Histories of a state.

    Attributes:
        keys: Number of keys of each.
        begun: Those that are in the record of the state.
        own: Those that the feature set of the pipeline uses.
    """

    keys: Mapping[Place, int]
    begun: Mapping[Place, HistoryStart]
    own: frozenset[Place]


def drop_layout(
    layout: Annotated[
        str | None,
        typer.Argument(
            metavar="[LAYOUT]",
            help="Histories to delete, as the list names them: ENTITY:DIGEST. Without it they are "
            "only listed.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Delete also histories that a worker has had within a day, or of which that is "
            "unknown. A worker that still has them fills them again.",
        ),
    ] = False,
    pipeline: PipelineOption = HERE,
) -> None:
    """Delete histories of earlier windows from the online store, or list all histories.

    Histories that keep other values, or for another time, have keys of their own.
    Workers delete none of them. Prints a table on a terminal, JSON lines in a pipe.
    """
    with stored_features(pipeline) as stored:
        layouts = _layouts(stored, pipeline)
        if layout is None:
            _show(layouts)
            return
        place = _require_old(layouts, layout, force=force)
        keys = _drop(stored, place, layouts, force=force)
        print(json.dumps({"layout": str(place), "keys": keys}))


def _layouts(stored: StoredFeatures, pipeline: Path) -> _Layouts:
    from base.errors import ConfigurationError
    from features.history.namespace import history_keys
    from tools.progress import doing
    from worker.histories.layouts import Place, recorded, scanned
    from worker.histories.record import read_record

    settings, feature_set, store = stored
    names = feature_set.name, settings.state_name
    record = read_record(store, *names)
    if record is None:
        raise ConfigurationError(
            f"store.state: the store of {pipeline} has no state {names[1]} of feature set "
            f"{names[0]}; a worker that runs with both creates it"
        )
    prefix = history_keys(*names)
    counts = Counter[Place]()
    with doing(f"Reading the keys of {names[1]}"):
        for keys in scanned(store, prefix):
            counts.update(
                Place(*map(bytes.decode, key[len(prefix) :].split(b":", 2)[:2])) for key in keys
            )
    return _Layouts(counts, recorded(record, *names), _own(stored, record))


def _own(stored: StoredFeatures, record: StateRecord) -> frozenset[Place]:
    from worker.histories.layouts import recorded
    from worker.histories.location import histories_in_use

    settings, feature_set, _ = stored
    used = histories_in_use(settings, feature_set, record)
    begun = recorded(record, feature_set.name, settings.state_name)
    return frozenset(place for place, one in begun.items() if one == used.get(place.entity))


def _require_old(layouts: _Layouts, layout: str, *, force: bool) -> Place:
    """The histories of a name.

    Raises:
        ConfigurationError: There are none, or they are in use.
    """
    from base.errors import ConfigurationError
    from worker.histories.layouts import KEEP_S

    every = {str(place): place for place in (*layouts.begun, *layouts.keys)}
    if layout not in every:
        raise ConfigurationError(
            f"LAYOUT: there are no histories {layout}; features drop-layout without an argument "
            f"lists them: {', '.join(sorted(every)) or 'there are none'}"
        )
    place = every[layout]
    if place in layouts.own:
        raise ConfigurationError(
            f"LAYOUT: {layout} is what features.yaml of this pipeline uses; give the pipeline of "
            "the new windows, or another layout"
        )
    begun = layouts.begun.get(place)
    if force:
        return place
    if begun is None or not begun.seen:
        raise ConfigurationError(
            f"LAYOUT: it is unknown when a worker last had {layout}; stop workers with earlier "
            "windows, then give --force"
        )
    hours = (time.time() - begun.seen) / 3600
    if hours * 3600 < KEEP_S:
        raise ConfigurationError(
            f"LAYOUT: a worker had {layout} {hours:.0f} hours ago; stop workers with earlier "
            "windows, then give --force, or wait until it is a day"
        )
    return place


def _drop(stored: StoredFeatures, place: Place, layouts: _Layouts, *, force: bool) -> int:
    from base.errors import ConfigurationError
    from tools.progress import progress
    from worker.histories.layouts import KEEP_S, recorded, remove
    from worker.histories.record import label_namespace, or_new, read_record

    settings, feature_set, store = stored
    names = feature_set.name, settings.state_name
    namespace, now = label_namespace(store, *names), int(time.time())
    count, total = 0, layouts.keys.get(place, 0)
    with progress(f"deleting {place}") as advance:
        for keys in remove(store, namespace, place, now if force else now - KEEP_S):
            count += keys
            advance(min(count, total), total)
    if place in recorded(or_new(read_record(store, *names)), *names):
        raise ConfigurationError(
            f"LAYOUT: a worker has taken {place} meanwhile, and has it; stop workers with earlier "
            "windows, then repeat the command"
        )
    return count


def _show(layouts: _Layouts) -> None:
    places = sorted({*layouts.begun, *layouts.keys})
    lines = [_line(layouts, place) for place in places]
    if not sys.stdout.isatty():
        for line in lines:
            print(json.dumps(line))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("layout", "keys", "in use by this pipeline", "last seen")
    for line in lines:
        used = "yes" if line["own"] else ""
        table.add_row(line["layout"], f"{line['keys']:,}", used, line["last_seen"] or "unknown")
    Console(highlight=False).print(table)


def _line(layouts: _Layouts, place: Place) -> dict[str, Any]:
    begun = layouts.begun.get(place)
    seen = begun.seen if begun else 0
    return {
        "layout": str(place),
        "keys": layouts.keys.get(place, 0),
        "own": place in layouts.own,
        "last_seen": utc(seen * SECOND).isoformat() if seen else None,
    }
