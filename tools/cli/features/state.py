"""``fraud-worker features state``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from base.times import utc
from tools.cli.features.load import stored_features
from tools.cli.input_reports import note
from tools.cli.options import HERE, PipelineOption

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from features.inspect.stored_history import ShownHistory, ShownLabel, ShownMember


def state(
    entity: Annotated[str, typer.Argument(help="Name of an entity in features.yaml.")],
    key: Annotated[
        list[str],
        typer.Argument(help="Key of the entity; one of several fields as so many values."),
    ],
    pipeline: PipelineOption = HERE,
) -> None:
    """Show the history of one key in the online store: the events that windows see.

    Prints a table on a terminal, JSON lines in a pipe. The store keeps ids and
    texts as 64-bit hashes.
    """
    text, history, names = _read(pipeline, entity, key)
    if sys.stdout.isatty():
        _table(f"{entity} {text}", history, names)
    else:
        for member in history.members:
            print(json.dumps(_line(member, names)))
    twice = history.stored - len(history.members)
    note(
        f"{len(history.members):,} events, {history.bytes:,} bytes; {history.labels:,} labels"
        + (f"; {twice:,} events are stored twice, and count once" if twice else "")
    )


def _read(pipeline: Path, entity: str, key: list[str]) -> tuple[str, ShownHistory, dict[str, str]]:
    from base.errors import ConfigurationError
    from features.inspect.stored_history import column_names, key_text, read_history, windows_of
    from worker.histories.location import find_namespace

    with stored_features(pipeline) as (settings, feature_set, store):
        windows, text = windows_of(feature_set, entity), key_text(feature_set, entity, key)
        namespace = find_namespace(settings, feature_set, store)
        if namespace is None or entity not in namespace.generations:
            raise ConfigurationError(
                f"store.state: the store has no histories of {settings.state_name} and feature set "
                f"{feature_set.name}; a worker that runs with both creates them"
            )
        history = read_history(windows, text, store, namespace)
    return text, history, column_names(feature_set)


def _line(member: ShownMember, names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "partition": member.partition,
        "offset": member.offset,
        "time": utc(member.time).isoformat(),
        "event_id_64": member.event_id_hash,
        "kept": {names.get(key, key): value for key, value in member.values.items()},
        "labels": [
            {
                "fraud": label.fraud,
                "label_time": utc(label.label_time).isoformat(),
                "partition": label.partition,
                "offset": label.offset,
            }
            for label in member.labels
        ],
    }


def _table(title: str, history: ShownHistory, names: Mapping[str, str]) -> None:
    from rich.console import Console
    from rich.table import Table

    kept = list(history.members[0].values) if history.members else []
    columns = (
        "partition",
        "offset",
        "time",
        "id (64 bits)",
        *(names.get(key, key) for key in kept),
    )
    table = Table(*columns, "labels", title=title)
    for member in history.members:
        values = ["" if member.values[k] is None else str(member.values[k]) for k in kept]
        labels = ", ".join(map(_label, member.labels))
        place = str(member.partition), str(member.offset)
        table.add_row(*place, utc(member.time).isoformat(), member.event_id_hash, *values, labels)
    Console(highlight=False).print(table)


def _label(label: ShownLabel) -> str:
    return f"{'fraud' if label.fraud else 'no fraud'} since {utc(label.label_time).isoformat()}"
