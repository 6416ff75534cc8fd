"""``fraud-worker model pack``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tools.cli.options import JsonOption, require_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.bundle.manifest import NamedFeature
    from models.bundle.pack import Packed


def pack(
    *,
    model: Annotated[
        Path, typer.Option(metavar="FILE", help="XGBoost's own file, JSON or UBJ; never a pickle.")
    ],
    name: Annotated[str, typer.Option(help="What the model is called on every score.")],
    version: Annotated[str, typer.Option(help="And its version there.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The bundle's folder, a new one.")],
    features_from: Annotated[
        Path | None,
        typer.Option(
            metavar="FEATURES.yaml",
            help="The feature set that the model was trained on; without it the bundle fits none.",
        ),
    ] = None,
    feature_names: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Names of the model's columns, comma-separated, or @FILE with one on each line.",
        ),
    ] = None,
    generate_names: Annotated[
        bool, typer.Option("--generate-names", help="Call the columns f0, f1, …")
    ] = False,
    all_rounds: Annotated[
        bool,
        typer.Option("--all-rounds", help="Keep the rounds after the best of an early stop."),
    ] = False,
    missing: Annotated[
        float | None,
        typer.Option(
            metavar="NUMBER",
            help="The value that was missing=… when the model was trained; NaN always is.",
            show_default="as the file says",
        ),
    ] = None,
    golden: Annotated[
        int, typer.Option(min=1, max=1000, help="How many golden vectors to draw.")
    ] = 128,
    seed: Annotated[int, typer.Option(min=0, help="What to draw them from.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Make a bundle of a model that was trained elsewhere, and have it prove itself.

    Takes a model of XGBoost with one margin a row, also one that XGBClassifier
    saved. The golden vectors are drawn along the thresholds of its trees.
    """
    from models.bundle.pack import Names, pack_model

    names = Names(None if feature_names is None else _listed(feature_names), generate_names)
    packed = pack_model(
        model,
        out,
        name=name,
        version=version,
        names=names,
        definitions=None if features_from is None else _features(features_from),
        golden=golden,
        seed=seed,
        all_rounds=all_rounds,
        missing=_number(missing),
    )
    if as_json:
        print(json.dumps(_as_json(packed, out)))
        return
    for line in _lines(packed, out, defined=features_from is not None):
        print(line)


def _listed(text: str) -> list[str]:
    """Names in the option: separated by commas, or on the lines of a file."""
    from base.errors import ConfigurationError

    if not text.startswith("@"):
        return [name.strip() for name in text.split(",")]
    path = Path(text[1:])
    require_path("--feature-names", path)
    try:
        lines = _text(path.read_bytes()).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--feature-names: {path} cannot be read ({error})") from error
    return [line.strip() for line in lines if line.strip()]


def _text(data: bytes) -> str:
    """Decode UTF-8, or the UTF-16 that Windows writes, with or without a byte order mark."""
    return data.decode(json.detect_encoding(data))


def _number(missing: float | None) -> float | None:
    """Check that the value of --missing is one that a feature can have."""
    from base.errors import ConfigurationError
    from models.bundle.manifest import LARGEST

    if missing is not None and abs(missing) > LARGEST:
        raise ConfigurationError(
            f"--missing: {missing:g} is no float32, so no feature has it (what is infinite is NaN "
            "here); leave it away, or give the value that the model was trained with"
        )
    return missing


def _features(path: Path) -> Sequence[NamedFeature]:
    from features.definition import load_feature_set

    return load_feature_set(path).features


def _as_json(packed: Packed, out: Path) -> dict[str, object]:
    verified = packed.verified
    return {
        "bundle": str(out),
        "name": verified.name,
        "version": verified.version,
        "objective": packed.objective,
        "trees": packed.trees,
        "features": [feature.model_dump() for feature in verified.features],
        "golden": packed.golden,
        "missing": None if math.isnan(packed.missing) else packed.missing,
        "sums": verified.sums,
        "notes": list(packed.notes),
    }


def _lines(packed: Packed, out: Path, *, defined: bool) -> list[str]:
    verified = packed.verified
    made = (
        f"{out}: {verified.name} {verified.version}, {packed.objective}, {packed.trees:,} trees, "
        f"{len(verified.features)} features, {packed.golden} golden vectors; it proved itself"
    )
    if not math.isnan(packed.missing):
        made += f"; {packed.missing:.9g} is missing, as NaN is"
    lines = [made, *(f"note: {note}" for note in packed.notes)]
    if not defined:
        lines.append(
            "note: it says nothing of how its features are defined, and no worker serves it; pack "
            "it with --features-from FEATURES.yaml for that"
        )
    return lines
