"""``fraud-worker features state``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from base.times import utc
from tools.cli.features.inputs import note
from tools.cli.options import HERE, PipelineOption

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from features.inspect.stored_history import ShownHistory, ShownLabel, ShownMember


def state(
    entity: Annotated[str, typer.Argument(help="An entity of features.yaml.")],
    key: Annotated[str, typer.Argument(help="One of its keys, as text.")],
    pipeline: PipelineOption = HERE,
) -> None:
    """Show a history as the online store holds it: the events that windows see.

    A table on a terminal, JSON lines in a pipe. Of an event's id, and of text,
    the store keeps 64 bits.
    """
    history, names = _read(pipeline, entity, key)
    if sys.stdout.isatty():
        _table(f"{entity} {key}", history, names)
    else:
        for member in history.members:
            print(json.dumps(_line(member, names)))
    twice = history.stored - len(history.members)
    note(
        f"{len(history.members):,} events, {history.bytes:,} bytes; {history.labels:,} labels"
        + (f"; {twice:,} events are stored twice, and count once" if twice else "")
    )


def _read(pipeline: Path, entity: str, key: str) -> tuple[ShownHistory, dict[str, str]]:
    from base.errors import ConfigurationError
    from features.definition import load_feature_set
    from features.inspect.stored_history import column_names, read_history, windows_of
    from worker.app import open_store
    from worker.histories.record import find_namespace
    from worker.settings import load_settings

    settings = load_settings(pipeline)
    if settings.store is None:
        raise ConfigurationError(f"{pipeline / 'worker.yaml'}: store is missing; add store.url")
    feature_set = load_feature_set(settings.features)
    windows = windows_of(feature_set, entity)
    store = open_store(settings)
    try:
        namespace = find_namespace(store, feature_set.name, settings.state_name)
        if namespace is None:
            raise ConfigurationError(
                f"store.state: the store has no histories of {settings.state_name} and feature set "
                f"{feature_set.name}: a worker that runs with them begins them"
            )
        history = read_history(windows, key, store, namespace)
    finally:
        store.close()
    return history, column_names(feature_set)


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
