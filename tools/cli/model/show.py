"""``fraud-worker model show``."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.cli.model.bundles import FitOption, PlaceArgument, bundle_or_location
from tools.cli.options import JsonOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.bundle import Knots, Manifest, TrainingRecord
    from models.location import Location

_COLUMNS = ("bundle", "", "model", "kind", "features", "trained", "calibration")


def show(
    where: PlaceArgument = None, pipeline: FitOption = None, as_json: JsonOption = False
) -> None:
    """Describe a bundle, or list the bundles of a location and its champion.

    Reads checksums and manifests only; `model verify` also loads the model.
    """
    from models.bundle import read_manifest

    target = bundle_or_location(where, pipeline)
    if isinstance(target, Path):
        _show_bundle(target, read_manifest(target), as_json=as_json)
    else:
        _show_location(target, as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Row:
    """Bundle of a location: its manifest, or the reason why the manifest cannot be read."""

    name: str
    mark: str
    manifest: Manifest | None
    refused: str

    def as_json(self) -> dict[str, Any]:
        if self.manifest is None:
            return {"bundle": self.name, "refused": self.refused}
        return {"bundle": self.name, **self.manifest.model_dump(mode="json", by_alias=True)}

    def cells(self) -> tuple[str, ...]:
        manifest = self.manifest
        if manifest is None:
            return (self.name, self.mark, "refused", "", "", "", "")
        return (
            self.name,
            self.mark,
            f"{manifest.name} {manifest.version}",
            manifest.kind,
            str(len(manifest.features)),
            _trained(manifest.trained),
            _calibration(manifest.calibration),
        )


def _show_bundle(path: Path, manifest: Manifest, *, as_json: bool) -> None:
    from models.bundle.write import REPORT_FILE

    report = path / REPORT_FILE
    if as_json:
        report_path = {"report": str(report) if report.exists() else None}
        print(json.dumps({**_Row(path.name, "", manifest, "").as_json(), **report_path}))
        return
    lines = {
        "bundle": str(path),
        "model": f"{manifest.name} {manifest.version}",
        "kind": manifest.kind,
        "features": ", ".join(feature.name for feature in manifest.features),
    }
    if manifest.fraud_class is not None:
        lines["fraud class"] = str(manifest.fraud_class)
    categorical = [feature.name for feature in manifest.features if feature.categories]
    if categorical:
        lines["split by category"] = ", ".join(categorical)
    lines |= {
        "missing": "NaN" if manifest.missing == "NaN" else f"NaN and {manifest.missing:.9g}",
        "calibration": _calibration(manifest.calibration),
        "golden vectors": str(manifest.golden),
        "trained": _trained(manifest.trained),
    }
    if manifest.trained is not None:
        params = {**manifest.trained.params, "seed": manifest.trained.seed}
        lines["parameters"] = ", ".join(f"{key} {value}" for key, value in params.items())
    lines["written"] = f"{manifest.created_at:%Y-%m-%d %H:%M:%S %Z}"
    if report.exists():
        lines["report"] = str(report)
    width = max(map(len, lines))
    for key, text in lines.items():
        print(f"{key:<{width}}  {text}")


def _show_location(location: Location, *, as_json: bool) -> None:
    champion, previous = location.champions()
    marks = dict.fromkeys(previous[-1:], "before") | {champion: "champion"}
    rows = [_row(location, name, marks.get(name, "")) for name in location.names()]
    if as_json:
        bundles = [row.as_json() for row in rows]
        print(json.dumps({"champion": champion, "previous": [*previous], "bundles": bundles}))
    elif sys.stdout.isatty():
        _table(location, rows)
    else:
        _print(rows)


def _row(location: Location, name: str, mark: str) -> _Row:
    from base.errors import BundleRefusedError

    try:
        return _Row(name, mark, location.manifest(name)[0], "")
    except BundleRefusedError as error:
        return _Row(name, mark, None, str(error))


def _trained(trained: TrainingRecord | None) -> str:
    if trained is None:
        return "not known"
    return (
        f"{trained.rows:,} rows, {trained.frauds:,} frauds, "
        f"{trained.since:%Y-%m-%d} to {trained.until:%Y-%m-%d}, XGBoost {trained.xgboost}"
    )


def _calibration(knots: Knots | None) -> str:
    if knots is None:
        return "none"
    low, high = knots.scores[0], knots.scores[-1]
    return f"{len(knots.margins)} knots, scores {low:.3g} to {high:.3g}"


def _print(rows: Sequence[_Row]) -> None:
    lines = [_COLUMNS, *(row.cells() for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(_COLUMNS))]
    for line in lines:
        padded = (f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
        print("  ".join(padded).rstrip())
    for row in rows:
        if row.refused:
            print(f"refused: {row.refused}")


def _table(location: Location, rows: Sequence[_Row]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=str(location))
    for name in _COLUMNS:
        table.add_column(name, justify="right" if name == "features" else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row.cells()))
    console = Console()
    console.print(table)
    for row in rows:
        if row.refused:
            console.print(Text(f"refused: {row.refused}"))
