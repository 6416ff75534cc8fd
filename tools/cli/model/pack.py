"""``fraud-worker model pack``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tools.cli.model.bundles import BundleTarget
from tools.cli.options import JsonOption, require_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.bundle.manifest import NamedFeature
    from models.bundle.pack import Packed


def pack(
    *,
    model: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="Model file of XGBoost, JSON or UBJ; pickles are refused."
        ),
    ],
    name: Annotated[str, typer.Option(help="Name of the model, as scores show it.")],
    version: Annotated[str, typer.Option(help="Version of the model, as scores show it.")],
    out: Annotated[
        str,
        typer.Option(
            metavar="BUNDLE",
            help="Folder or URL of the bundle, which must not exist; or mlflow:NAME, for the next "
            "version of a registered model.",
        ),
    ],
    features_from: Annotated[
        Path | None,
        typer.Option(
            metavar="FEATURES.yaml",
            help="Feature set that the model was trained on; without it no worker serves the bundle.",
        ),
    ] = None,
    feature_names: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Names of the model's columns, comma-separated; or @FILE with one name a line.",
        ),
    ] = None,
    generate_names: Annotated[
        bool, typer.Option("--generate-names", help="Name the columns f0, f1, …")
    ] = False,
    all_rounds: Annotated[
        bool,
        typer.Option(
            "--all-rounds", help="Keep the rounds after the best iteration of early stopping."
        ),
    ] = False,
    missing: Annotated[
        float | None,
        typer.Option(
            metavar="NUMBER",
            help="Value passed as missing=… to XGBoost in training; NaN is always missing.",
            show_default="as the file says",
        ),
    ] = None,
    fraud_class: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|NUMBER",
            help="Class that is fraud, of a multi-class model: its name if the file names the classes, else its number from 0.",
        ),
    ] = None,
    golden: Annotated[int, typer.Option(min=1, max=1000, help="Number of golden vectors.")] = 128,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the golden vectors.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Pack an XGBoost model that was trained elsewhere into a bundle, and verify it.

    Accepts every model of trees that makes a probability, also those saved by
    XGBClassifier: with categorical splits, DART, random forests, and of several classes.
    The golden vectors are drawn near the thresholds of the model's trees.
    """
    from models.bundle.pack import Names, pack_model

    names = Names(None if feature_names is None else _listed(feature_names), generate_names)
    with BundleTarget(out) as target:
        packed = pack_model(
            model,
            target.folder,
            name=name,
            version=version,
            names=names,
            definitions=None if features_from is None else _features(features_from),
            golden=golden,
            seed=seed,
            all_rounds=all_rounds,
            missing=_number(missing),
            fraud_class=fraud_class,
        )
        target.finish()
    if as_json:
        print(json.dumps(_as_json(packed, target.where)))
        return
    for line in _lines(packed, target.where, defined=features_from is not None):
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
            f"--missing: {missing:g} is not a finite float32, so no feature can have it; remove the "
            "option, or give the value that the model was trained with"
        )
    return missing


def _features(path: Path) -> Sequence[NamedFeature]:
    from features.definition import load_feature_set

    return load_feature_set(path).features


def _as_json(packed: Packed, out: str) -> dict[str, object]:
    verified = packed.verified
    return {
        "bundle": out,
        "name": verified.name,
        "version": verified.version,
        "objective": packed.objective,
        "trees": packed.trees,
        "fraud_class": packed.fraud_class,
        "features": [feature.model_dump() for feature in verified.features],
        "golden": packed.golden,
        "missing": None if math.isnan(packed.missing) else packed.missing,
        "sums": verified.sums,
        "notes": list(packed.notes),
    }


def _lines(packed: Packed, out: str, *, defined: bool) -> list[str]:
    verified = packed.verified
    made = (
        f"{out}: {verified.name} {verified.version}, {packed.objective}, {packed.trees:,} trees, "
        f"{len(verified.features)} features, {packed.golden} golden vectors; verified"
    )
    if packed.fraud_class is not None:
        made += f"; scores are the probability of class {packed.fraud_class}"
    if not math.isnan(packed.missing):
        made += f"; {packed.missing:.9g} counts as missing, like NaN"
    lines = [made, *(f"note: {note}" for note in packed.notes)]
    if not defined:
        lines.append(
            "note: the bundle does not hold the definitions of its features, so no worker serves "
            "it; to serve it, pack it with --features-from FEATURES.yaml"
        )
    return lines
