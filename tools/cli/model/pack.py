"""``fraud-worker model pack``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tools.cli.model.bundles import BundleTarget
from tools.cli.model.sample_rows import read_sample
from tools.cli.options import JsonOption, require_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from models.bundle.manifest import NamedFeature
    from models.bundle.packed import Packed


def pack(
    *,
    model: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Model file: XGBoost in JSON or UBJ, or any other library in ONNX; pickles are "
            "refused.",
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
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="ONNX: output, or tensor within the graph, that is the score; default: the only "
            "output of floats.",
            show_default=False,
        ),
    ] = None,
    probability: Annotated[
        bool | None,
        typer.Option(
            "--probability/--margin",
            help="ONNX, required: the output is the probability of fraud, or its log-odds.",
            show_default=False,
        ),
    ] = None,
    sample: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.parquet",
            help="ONNX, required: rows of the training table. Golden vectors are taken from them, "
            "and reasons compare events with some of them.",
            show_default=False,
        ),
    ] = None,
    expected: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="ONNX: column of --sample with the predictions of the library that trained the "
            "model; the bundle must give the same within 1e-5.",
            show_default=False,
        ),
    ] = None,
    golden: Annotated[int, typer.Option(min=1, max=1000, help="Number of golden vectors.")] = 128,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the golden vectors.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Pack a model that was trained elsewhere into a bundle, and verify it.

    Accepts models of XGBoost and, in ONNX, of other libraries. Of XGBoost every model of
    trees that makes a probability, also those saved by XGBClassifier: with categorical
    splits, DART, random forests, and of several classes. The golden vectors are drawn
    near the thresholds of XGBoost's trees, or from the rows of --sample.
    """
    from models.bundle.pack import pack_model
    from models.bundle.pack_onnx import pack_onnx
    from models.bundle.packed import Names

    names = None if feature_names is None else _listed(feature_names)
    common: dict[str, Any] = {
        "name": name,
        "version": version,
        "names": Names(names, generate_names),
        "definitions": None if features_from is None else _features(features_from),
        "golden": golden,
        "seed": seed,
    }
    with BundleTarget(out) as target:
        if _is_onnx(model):
            of_xgboost = {"--missing": missing, "--fraud-class": fraud_class}
            _refuse_given({**of_xgboost, "--all-rounds": all_rounds or None}, "XGBoost")
            kind, rows = _kind(model, probability), read_sample(sample, names, expected)
            packed = pack_onnx(
                model, target.folder, kind=kind, output=output, sample=rows, **common
            )
        else:
            of_onnx = {"--output": output, "--sample": sample, "--expected": expected}
            _refuse_given({**of_onnx, "--probability/--margin": probability}, "ONNX")
            common |= {"all_rounds": all_rounds, "missing": _number(missing)}
            common["fraud_class"] = fraud_class
            packed = pack_model(model, target.folder, **common)
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


def _is_onnx(model: Path) -> bool:
    from models.bundle.foreign_formats import is_onnx
    from models.bundle.sums import MAX_BUNDLE_BYTES, read_plain

    return is_onnx(read_plain(model, MAX_BUNDLE_BYTES)[:3])


def _refuse_given(given: Mapping[str, object], library: str) -> None:
    """Refuse options that are for models of another library."""
    from base.errors import ConfigurationError

    for option, value in given.items():
        if value is not None:
            raise ConfigurationError(
                f"{option}: is for models of {library}, and --model is another one; remove the option"
            )


def _kind(model: Path, probability: bool | None) -> Literal["probability", "margin"]:
    from base.errors import ConfigurationError

    if probability is None:
        raise ConfigurationError(
            f"{model}: does not say what its output is; give --probability if it lies between 0 and "
            "1 (predict_proba; the graph ends with a sigmoid or softmax), or --margin if it is the "
            "log-odds of fraud before that (decision_function, raw_score, logits). If you are not "
            "sure, run the model on some rows"
        )
    return "probability" if probability else "margin"


def _as_json(packed: Packed, out: str) -> dict[str, object]:
    verified, manifest = packed.verified, packed.manifest
    return {
        "bundle": out,
        "name": verified.name,
        "version": verified.version,
        "format": manifest.format,
        "objective": manifest.objective,
        "trees": manifest.trees,
        "fraud_class": manifest.fraud_class,
        "output": None if manifest.output is None else manifest.output.model_dump(),
        "features": [feature.model_dump() for feature in verified.features],
        "golden": manifest.golden,
        "missing": None if manifest.missing == "NaN" else manifest.missing,
        "sums": verified.sums,
        "notes": list(packed.notes),
    }


def _lines(packed: Packed, out: str, *, defined: bool) -> list[str]:
    verified, manifest = packed.verified, packed.manifest
    made = (
        f"{out}: {verified.name} {verified.version}, {manifest.kind}, {len(verified.features)} "
        f"features, {manifest.golden} golden vectors; verified"
    )
    if manifest.fraud_class is not None:
        made += f"; scores are the probability of class {manifest.fraud_class}"
    if manifest.missing != "NaN":
        made += f"; {manifest.missing:.9g} counts as missing, like NaN"
    lines = [made, *(f"note: {note}" for note in packed.notes)]
    if not defined:
        lines.append(
            "note: the bundle does not hold the definitions of its features, so no worker serves "
            "it; to serve it, pack it with --features-from FEATURES.yaml"
        )
    return lines
