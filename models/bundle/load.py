"""Loading a bundle: sums first, then the manifest, then the model against the manifest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xgboost as xgb

from models.bundle.manifest import (
    MANIFEST_FILE,
    FeatureRef,
    Manifest,
    NamedFeatures,
    parse_manifest,
)
from models.bundle.refusal import BundleRefusedError
from models.bundle.sums import read_verified

MODEL_FILES = ("model.ubj", "model.json")
MAX_MANIFEST_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A model whose files were checked, and what its manifest says of it."""

    path: Path
    name: str
    version: str
    features: tuple[FeatureRef, ...]
    """In the order of the model's columns."""
    objective: str
    trees: int
    created_at: datetime
    booster: xgb.Booster
    """As loaded; a backend works on a copy of its own."""

    def columns_for(self, feature_set: NamedFeatures) -> npt.NDArray[np.intp] | None:
        """Where each of the model's columns stands in the matrix of `feature_set`.

        intp[F] in the model's order, or None where the matrix is the model's input as it is (same
        features, same order: no copy needed). The set may be wider than the model.
        Raises BundleRefusedError, naming every feature that the set lacks or defines otherwise.
        """
        at = {feature.name: i for i, feature in enumerate(feature_set.features)}
        absent = [feature.name for feature in self.features if feature.name not in at]
        if absent:
            raise BundleRefusedError(
                f"{self.path}: the feature set does not define {', '.join(absent)}, which the "
                f"model {self.name} {self.version} needs; add them to features.yaml, or use a "
                "model trained on this feature set"
            )
        changed = [
            feature.name
            for feature in self.features
            if feature_set.features[at[feature.name]].fingerprint != feature.fingerprint
        ]
        if changed:
            raise BundleRefusedError(
                f"{self.path}: the model {self.name} {self.version} was trained on other "
                f"definitions of {', '.join(changed)}; restore the definitions (and bindings) in "
                "features.yaml, or train the model again"
            )
        columns = np.array([at[feature.name] for feature in self.features], dtype=np.intp)
        if np.array_equal(columns, np.arange(len(feature_set.features))):
            return None
        return columns


def load_bundle(path: Path) -> Bundle:
    """The bundle in folder `path`.

    Raises BundleRefusedError, naming the file, what was found and what to do, when files are
    missing, too many, too large, linked or changed, when the manifest is not exactly as this
    version writes it, and when the model is not what the manifest says it is.
    """
    files = read_verified(path)
    if MANIFEST_FILE not in files:
        raise BundleRefusedError(f"{path}: has no {MANIFEST_FILE}; write the bundle again")
    text = files[MANIFEST_FILE]
    if len(text) > MAX_MANIFEST_BYTES:
        raise BundleRefusedError(
            f"{path / MANIFEST_FILE}: is larger than the {MAX_MANIFEST_BYTES} bytes allowed here"
        )
    manifest = parse_manifest(text, str(path / MANIFEST_FILE))
    models = [name for name in MODEL_FILES if name in files]
    if len(models) != 1:
        raise BundleRefusedError(
            f"{path}: expected one of {' and '.join(MODEL_FILES)} (XGBoost's own formats, never a "
            f"pickle), found {' and '.join(models) or 'none'}"
        )
    where = str(path / models[0])
    booster = _booster(files[models[0]], where)
    check_accepted(model_facts(booster), where)
    check_agree(booster, manifest, where)
    return Bundle(
        path=path,
        name=manifest.name,
        version=manifest.version,
        features=manifest.features,
        objective=manifest.objective,
        trees=manifest.trees,
        created_at=manifest.created_at,
        booster=booster,
    )


def _booster(content: bytes, where: str) -> xgb.Booster:
    try:
        return xgb.Booster(model_file=bytearray(content))
    except (xgb.core.XGBoostError, ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else "no reason given"
        raise BundleRefusedError(
            f"{where}: XGBoost cannot load it ({reason}); save the model again with this or an "
            "older version of XGBoost"
        ) from error


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a booster says of itself."""

    booster: str
    objective: str
    trees: int
    columns: int
    outputs: int


def model_facts(booster: xgb.Booster) -> ModelFacts:
    """The facts of a booster that a manifest repeats, read from its own configuration."""
    learner: dict[str, Any] = json.loads(booster.save_config())["learner"]
    shape = learner["learner_model_param"]
    trees = learner["gradient_booster"].get("gbtree_model_param", {}).get("num_trees", 0)
    return ModelFacts(
        booster=learner["gradient_booster"]["name"],
        objective=learner["objective"]["name"],
        trees=int(trees),
        columns=booster.num_features(),
        outputs=max(int(shape.get("num_class", 0)), int(shape.get("num_target", 1)), 1),
    )


def check_accepted(facts: ModelFacts, where: str) -> None:
    """Refuse a model that does not give one margin a row, whose logistic is a probability.

    Raises BundleRefusedError; `where` names the model in its message.
    """
    if facts.booster != "gbtree":
        raise BundleRefusedError(f"{where}: its booster is {facts.booster}, accepted: gbtree")
    accepted = facts.objective in {"binary:logistic", "binary:logitraw"}
    if not (accepted or facts.objective.startswith("reg:")) or facts.outputs != 1:
        raise BundleRefusedError(
            f"{where}: its objective is {facts.objective} with {facts.outputs} output(s) per row; "
            "accepted: binary:logistic, binary:logitraw and reg:*, with one output"
        )


def check_agree(booster: xgb.Booster, manifest: Manifest, where: str) -> None:
    """Refuse a model that is not what the manifest says it is.

    Raises BundleRefusedError; `where` names the model in its message.
    """
    facts = model_facts(booster)
    said = {
        "objective": (manifest.objective, facts.objective),
        "trees": (manifest.trees, facts.trees),
        "features (their number)": (len(manifest.features), facts.columns),
    }
    for key, (expected, found) in said.items():
        if expected != found:
            raise BundleRefusedError(
                f"{where}: the manifest says {key}: {expected}, the model has {found}; "
                "model and manifest do not belong together: write the bundle again"
            )
    names = [feature.name for feature in manifest.features]
    if booster.feature_names is not None and booster.feature_names != names:
        raise BundleRefusedError(
            f"{where}: the model was trained with other feature names, or in another order, than "
            "the manifest lists; write the bundle again with the features in training order"
        )
