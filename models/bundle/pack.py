"""Pack a model that was trained elsewhere into a bundle."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import xgboost as xgb

from base.errors import BundleRefusedError
from base.suggest import unknown
from models.bundle.draw import DEFAULT_GOLDEN, draw_vectors
from models.bundle.facts import check_accepted, open_model
from models.bundle.foreign import name_beginning, name_document
from models.bundle.manifest import MAX_GOLDEN, FeatureRef, NamedFeature
from models.bundle.model_file import ModelDocument, ModelFacts, is_dart
from models.bundle.sums import MAX_BUNDLE_BYTES, read_plain
from models.bundle.trees import Trees, check_trees
from models.bundle.verify import Verified, save_anew, verify
from models.bundle.write import write_bundle
from models.sandbox.process import DEFAULT_LIMITS, Limits


@dataclass(frozen=True, slots=True)
class Names:
    """Names of the model's columns.

    Attributes:
        given: Names in the order of the columns; None for those in the model file.
        generate: Use f0, f1, … where the model file has no names.
    """

    given: Sequence[str] | None = None
    generate: bool = False


@dataclass(frozen=True, slots=True)
class Packed:
    """A bundle that was written and verified.

    Attributes:
        verified: Result of the verification.
        objective: The model's objective.
        trees: Number of trees.
        golden: Number of golden vectors.
        missing: Value that stands for a missing one, besides NaN; NaN where there is none.
        notes: Sentences for the model's owner about changes to the model.
    """

    verified: Verified
    objective: str
    trees: int
    golden: int
    missing: float
    notes: tuple[str, ...]


def pack_model(  # noqa: PLR0913  what a model file does not say
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
    limits: Limits = DEFAULT_LIMITS,
) -> Packed:
    """Write the bundle `out` of the model file `model`, XGBoost's JSON or UBJ.

    Args:
        model: The model file.
        out: Folder of the bundle.
        name: Name in the manifest.
        version: Version in the manifest.
        names: Names of the model's columns.
        definitions: Features of a set, which must include all columns. None: the bundle does not
            say how its features are defined, and fits no feature set.
        golden: Number of golden vectors to draw along the model's thresholds.
        seed: Random seed of the golden vectors.
        all_rounds: Keep the rounds after the best one of a training that stopped early.
        missing: Value that the model was trained to take as missing. None: the one in the file, and
            where it has none, only NaN.
        limits: Limits of the child process that verifies.

    Raises:
        BundleRefusedError: naming what was found and what to do; `out` does not exist then.
    """
    if not 0 < golden <= MAX_GOLDEN:
        raise BundleRefusedError(f"{golden} golden vectors; take 1 to {MAX_GOLDEN}")
    booster = checked_model(_as_saved_anew(model, limits), str(model))
    missing, told = _missing(booster, missing, model)
    booster, rounds = _best_rounds(booster, all_rounds=all_rounds)
    features = _defined(_names(booster, names, model), definitions)
    booster.feature_names = None
    facts, trees = _contents(booster, str(model))
    vectors = draw_vectors(booster, trees, facts.columns, count=golden, seed=seed, missing=missing)
    write_bundle(
        out,
        booster,
        name=name,
        version=version,
        features=features,
        golden=vectors,
        missing=missing,
    )
    try:
        verified = verify(out, expected=definitions, limits=limits)
    except BundleRefusedError:
        shutil.rmtree(out)
        raise
    return Packed(verified, facts.objective, facts.trees, golden, missing, (*told, *rounds))


def read_model(path: Path) -> xgb.Booster:
    """Load the model file of any version of XGBoost; the content is not validated.

    Raises BundleRefusedError for a file that is no model of XGBoost.
    """
    content = read_plain(path, MAX_BUNDLE_BYTES)
    if said := name_beginning(content):
        raise BundleRefusedError(f"{path}: {said}")
    if is_dart(content):
        raise BundleRefusedError(f"{path}: its booster is dart, accepted: gbtree")
    try:
        return open_model(content, str(path))
    except BundleRefusedError:
        if said := name_document(content):
            raise BundleRefusedError(f"{path}: {said}") from None
        raise


def checked_model(content: bytes, where: str) -> xgb.Booster:
    """Validate and load a model file as this version of XGBoost saves it.

    Raises BundleRefusedError where no bundle can be made of it; `where` names it.
    """
    document = ModelDocument(content, where)
    check_accepted(document.facts, where)
    check_trees(document.trees(), document.facts.columns, where)
    return open_model(content, where)


def _as_saved_anew(model: Path, limits: Limits) -> bytes:
    """Bytes of the model as a child process loaded and saved it, valid whatever the file was."""
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "model.ubj"
        save_anew(model, saved, limits)
        return read_plain(saved, MAX_BUNDLE_BYTES)


def _contents(booster: xgb.Booster, where: str) -> tuple[ModelFacts, Trees]:
    document = ModelDocument(bytes(booster.save_raw("ubj")), where)
    return document.facts, document.trees()


def _best_rounds(booster: xgb.Booster, *, all_rounds: bool) -> tuple[xgb.Booster, tuple[str, ...]]:
    """The rounds that XGBoost's scikit-learn API would predict with."""
    told = booster.attr("best_iteration")
    rounds = booster.num_boosted_rounds()
    best = int(told) + 1 if told is not None and told.isdigit() else rounds
    if best >= rounds or best < 1:
        return booster, ()
    stopped = "its training stopped early"
    if all_rounds:
        return booster, (f"{stopped}; all {rounds} rounds are kept, the first {best} were best",)
    note = (
        f"{stopped}; the first {best} of {rounds} rounds are kept, as XGBClassifier predicts with "
        "them (--all-rounds keeps all)"
    )
    return booster[:best], (note,)


def _missing(
    booster: xgb.Booster, given: float | None, model: Path
) -> tuple[float, tuple[str, ...]]:
    """Value that stands for a missing one, and notes for the model's owner about it.

    A booster does not know this value: it was replaced when the training data was read. XGBoost's
    scikit-learn API wrote it beside the booster up to version 1.7.
    """
    own = _missing_of_wrapper(booster)
    if given is None:
        if math.isnan(own):
            return own, ()
        return own, (f"its scikit-learn wrapper took {own:.9g} as missing, and so does the bundle",)
    if not math.isnan(own) and own != given:
        raise BundleRefusedError(
            f"{model}: its scikit-learn wrapper took {own:.9g} as missing, and --missing is "
            f"{given:.9g}; leave --missing away"
        )
    return given, ()


def _missing_of_wrapper(booster: xgb.Booster) -> float:
    try:
        wrapper = json.loads(booster.attr("scikit_learn") or "{}")
    except ValueError:
        return math.nan
    own = wrapper.get("missing") if isinstance(wrapper, dict) else None
    return float(own) if isinstance(own, int | float) and math.isfinite(own) else math.nan


def _names(booster: xgb.Booster, names: Names, model: Path) -> list[str]:
    own, columns = booster.feature_names, booster.num_features()
    if names.given is not None:
        given = list(names.given)
        if len(given) != columns:
            raise BundleRefusedError(
                f"{model}: has {columns} columns, and {len(given)} feature names were given; give "
                "one for each, in the order of the training columns"
            )
        if own is not None and own != given and sorted(own) == sorted(given):
            raise BundleRefusedError(
                f"{model}: names the same features in another order ({', '.join(own[:5])}, …); "
                "leave --feature-names away, or give them in the model's order"
            )
        return given
    if own is not None:
        if names.generate:
            raise BundleRefusedError(
                f"{model}: names its features itself ({', '.join(own[:5])}, …); leave "
                "--generate-names away"
            )
        return list(own)
    if names.generate:
        return [f"f{column}" for column in range(columns)]
    raise BundleRefusedError(
        f"{model}: has {columns} columns and names none of them; give --feature-names in the order "
        "of the training columns, or --generate-names for f0, f1, …"
    )


def _defined(names: Sequence[str], definitions: Sequence[NamedFeature] | None) -> list[FeatureRef]:
    if definitions is None:
        return [FeatureRef(name=name, fingerprint="") for name in names]
    known = {feature.name: feature.fingerprint for feature in definitions}
    for name in names:
        if name not in known:
            raise BundleRefusedError(
                f"{unknown('feature', name, known)}; the model needs it: define it in the feature "
                "set, or say with --feature-names what the set calls it"
            )
    return [FeatureRef(name=name, fingerprint=known[name]) for name in names]
