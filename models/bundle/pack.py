"""Pack a model of XGBoost that was trained elsewhere into a bundle."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import xgboost as xgb

from base.errors import BundleRefusedError
from models.bundle.categories import describe_unconfirmed, references
from models.bundle.draw_golden import DEFAULT_GOLDEN, draw_vectors
from models.bundle.foreign_formats import explain_wrong_format, explain_wrong_json
from models.bundle.load import read_manifest
from models.bundle.manifest import NamedFeature
from models.bundle.model_checks import check_accepted, open_model
from models.bundle.model_file import ModelDocument
from models.bundle.packed import Names, Packed, check_golden_count, defined
from models.bundle.simplify import ModelCategories, simplify
from models.bundle.sums import MAX_BUNDLE_BYTES, read_plain
from models.bundle.trees import check_trees
from models.bundle.verify import SavedModel, save_again, verify
from models.bundle.wrapper_facts import choose_class, missing_value
from models.bundle.write import write_bundle
from models.sandbox.process import DEFAULT_LIMITS, Limits

_WAS_DART: Final = (
    "it is a DART model; the weights of its trees are multiplied into their leaves, which gives the "
    "margins of XGBoost's predict"
)


@dataclass(frozen=True, slots=True, eq=False)
class ReadModel:
    """A model file that XGBoost has loaded, without weights of trees and names of categories.

    Attributes:
        booster: The model.
        categories: Categories that the file names, by column.
        was_dart: True if its trees had weights, which are in its leaves now.
    """

    booster: xgb.Booster
    categories: ModelCategories
    was_dart: bool


def pack_model(  # noqa: PLR0913  options that a model file does not state
    model: Path,
    out: Path,
    *,
    name: str,
    version: str,
    names: Names,
    definitions: Sequence[NamedFeature] | None = None,
    golden: int = DEFAULT_GOLDEN,
    seed: int = 0,
    all_rounds: bool = False,
    missing: float | None = None,
    fraud_class: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Packed:
    """Write a bundle of a model file.

    Args:
        model: The model file, in XGBoost's JSON or UBJ format.
        out: Folder of the bundle.
        name: Name in the manifest.
        version: Version in the manifest.
        names: Names of the model's columns.
        definitions: Features of a set, which must include all columns. With None, the bundle does
            not record the definitions of its features, and matches no feature set.
        golden: Number of golden vectors to draw along the model's thresholds.
        seed: Random seed of the golden vectors.
        all_rounds: True to keep the rounds after the best one of a training that stopped early.
        missing: Feature value that meant missing in training. None for the value in the file; if
            there is none, only NaN means missing.
        fraud_class: Name or number of the class that is fraud; None for a model with one output.
        limits: Limits of the child process that verifies the bundle.

    Raises:
        BundleRefusedError: naming the fault and the remedy; `out` is not written then.
    """
    check_golden_count(golden)
    content, saved = _saved_again(model, limits)
    booster = checked_model(content, str(model))
    chosen = choose_class(booster, fraud_class, str(model))
    missing, missing_notes = missing_value(booster, missing, model)
    booster, rounds_notes = _best_rounds(booster, all_rounds=all_rounds)
    columns, own_names = booster.num_features(), booster.feature_names
    features = defined(names.of(columns, own_names, model), definitions)
    features = references(features, saved.categories, str(model))
    booster.feature_names = None
    trees = ModelDocument(bytes(booster.save_raw("ubj")), str(model)).trees()
    vectors = draw_vectors(booster, trees, columns, count=golden, seed=seed, missing=missing)
    write_bundle(
        out,
        booster,
        name=name,
        version=version,
        features=features,
        golden=vectors,
        missing=missing,
        fraud_class=chosen,
    )
    try:
        verified = verify(out, expected=definitions, limits=limits)
    except BundleRefusedError:
        shutil.rmtree(out)
        raise
    dart_notes = (_WAS_DART,) if saved.was_dart else ()
    category_notes = describe_unconfirmed(features, saved.categories, trees)
    notes = (*missing_notes, *rounds_notes, *dart_notes, *category_notes)
    return Packed(verified, read_manifest(out), notes)


def read_model(path: Path) -> ReadModel:
    """Load a model file of any version of XGBoost, without validating its trees.

    Raises:
        BundleRefusedError: if the file is not a model of XGBoost.
    """
    content = read_plain(path, MAX_BUNDLE_BYTES)
    if message := explain_wrong_format(content):
        raise BundleRefusedError(f"{path}: {message}")
    try:
        simple = simplify(content, str(path))
        booster = open_model(simple.content, str(path))
    except BundleRefusedError:
        if message := explain_wrong_json(content):
            raise BundleRefusedError(f"{path}: {message}") from None
        raise
    return ReadModel(booster, simple.categories, simple.was_dart)


def checked_model(content: bytes, where: str) -> xgb.Booster:
    """Validate and load a model file that this version of XGBoost has saved.

    Args:
        content: Bytes of the file, UBJ or JSON.
        where: Name of the model in messages.

    Raises:
        BundleRefusedError: if the model is invalid or not accepted.
    """
    document = ModelDocument(content, where)
    check_accepted(document.facts, where)
    check_trees(document.trees(), document.facts.columns, where)
    return open_model(content, where)


def _saved_again(model: Path, limits: Limits) -> tuple[bytes, SavedModel]:
    """Load and save a model file in a child process, and return the bytes, which are valid."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.ubj"
        saved = save_again(model, path, limits)
        return read_plain(path, MAX_BUNDLE_BYTES), saved


def _best_rounds(booster: xgb.Booster, *, all_rounds: bool) -> tuple[xgb.Booster, tuple[str, ...]]:
    """Keep the rounds that XGBoost's scikit-learn API predicts with.

    Returns:
        The booster with these rounds, and notes for the model's owner.
    """
    attribute = booster.attr("best_iteration")
    rounds = booster.num_boosted_rounds()
    best = int(attribute) + 1 if attribute is not None and attribute.isdigit() else rounds
    if best >= rounds or best < 1:
        return booster, ()
    stopped = "its training stopped early"
    if all_rounds:
        return booster, (f"{stopped}; all {rounds} rounds are kept, the first {best} were best",)
    note = (
        f"{stopped}; the first {best} of {rounds} rounds are kept, because XGBClassifier predicts "
        "with them (--all-rounds keeps all)"
    )
    return booster[:best], (note,)
