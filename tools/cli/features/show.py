"""``fraud-worker features show``."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict, replace
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tools.cli.options import HERE, PipelineOption, SetOption, features_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from features.definition import FeatureSet
    from features.inspect.describe import Described

_COLUMNS = ("name", "kind", "definition", "across", "default", "fingerprint")
_DIGITS = 12


def show(
    feature_set: SetOption = None,
    pipeline: PipelineOption = HERE,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one line of JSON on stdout, with full fingerprints."),
    ] = False,
) -> None:
    """List the features: kind, definition, default for a missing value, fingerprint."""
    from features.definition import load_feature_set
    from features.inspect.describe import describe

    made = load_feature_set(features_file(feature_set, pipeline))
    features = describe(made)
    if as_json:
        typer.echo(json.dumps(_as_json(made, features)))
        return
    if sys.stdout.isatty():
        _table(made, features)
    else:
        typer.echo("\n".join(_lines(features)))


def _as_json(made: FeatureSet, features: Iterable[Described]) -> dict[str, Any]:
    rules = made.histories.rules
    return {
        "name": made.name,
        "fingerprint": made.fingerprint,
        "features": [
            {**asdict(feature), "default": _json_number(feature.default)} for feature in features
        ],
        "history": {
            "allowed_lateness_s": rules.allowed_lateness / 1e6,
            "duplicates_s": rules.duplicates / 1e6,
            "cap": rules.cap,
            "watermark_support": rules.watermark_support,
            "max_ahead_s": None if rules.max_ahead is None else rules.max_ahead / 1e6,
            "arrival": "record_timestamp" if rules.arrival else None,
        },
        "flags": list(made.flags.names),
    }


def _json_number(value: float | None) -> float | str | None:
    """Convert NaN to text, since JSON has no NaN."""
    return "nan" if value is not None and math.isnan(value) else value


def _rows(features: Iterable[Described]) -> list[tuple[str, ...]]:
    """One row for each entry of features.yaml."""
    from features.inspect.describe import number

    entries = groupby(features, lambda feature: feature.vector or feature.name)
    return [
        (
            feature.name,
            feature.kind,
            feature.definition,
            feature.across or "",
            number(feature.default),
            feature.fingerprint[:_DIGITS],
        )
        for feature in (_entry(list(columns)) for _, columns in entries)
    ]


def _entry(columns: list[Described]) -> Described:
    """A feature, or all columns of a vector together, without their fingerprints."""
    from features.inspect.describe import range_name

    first, last = columns[0], columns[-1]
    if first is last:
        return first
    definition = first.definition.replace("[0]", f"[0 … {len(columns) - 1}]", 1)
    name = range_name(first.name, last.name)
    return replace(first, name=name, definition=definition, fingerprint="")


def _lines(features: Iterable[Described]) -> list[str]:
    rows: Sequence[tuple[str, ...]] = [_COLUMNS, *_rows(features)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_COLUMNS))]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _table(made: FeatureSet, features: Iterable[Described]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{made.name} {made.fingerprint[:_DIGITS]}")
    for name in _COLUMNS:
        table.add_column(name, justify="right" if name == "default" else "left", overflow="fold")
    for row in _rows(features):
        table.add_row(*map(Text, row))
    Console().print(table)
