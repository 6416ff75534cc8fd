"""Checks of the models that this package accepts, and loading of models by XGBoost."""

from __future__ import annotations

import re

import xgboost as xgb

from base.errors import BundleRefusedError
from models.bundle.manifest import Manifest
from models.bundle.model_file import ModelFacts
from models.bundle.objective import ACCEPTED, why_refused
from models.bundle.trees import MAX_TREES


def open_model(content: bytes, where: str) -> xgb.Booster:
    """The booster in the bytes of a model file, UBJ or JSON. It works on one thread.

    Damaged bytes may end the process, take all its memory or all its time: `verify` first.
    Raises BundleRefusedError; `where` names the model in its message.
    """
    try:
        booster = xgb.Booster(model_file=bytearray(content))
        booster.set_param({"nthread": 1, "device": "cpu"})
    except (xgb.core.XGBoostError, ValueError, TypeError) as error:
        raise BundleRefusedError(
            f"{where}: XGBoost cannot load it ({in_words(error)}); save the model again with this "
            "or an older version of XGBoost"
        ) from error
    return booster


def in_words(error: Exception) -> str:
    """Message of an XGBoost error, without its place in the source and without the stack trace."""
    text = re.sub(r"^\[[\d:]+\] \S+:\d+: ", "", str(error).partition("Stack trace")[0].strip())
    return " ".join(text.split())[:300] or type(error).__name__


def check_accepted(facts: ModelFacts, where: str) -> None:
    """Refuse a model that does not give one margin a row, whose logistic is a probability.

    Raises BundleRefusedError; `where` names the model in its message.
    """
    if facts.booster != "gbtree":
        raise BundleRefusedError(f"{where}: its booster is {facts.booster}, accepted: gbtree")
    why = why_refused(facts.objective)
    if why or facts.outputs != 1:
        raise BundleRefusedError(
            f"{where}: its objective is {facts.objective} with {facts.outputs} output(s) per row"
            f"{why and f', whose margin is no log-odds ({why})'}; accepted: "
            f"{', '.join(ACCEPTED)}, with one output. Train it with one of these; beside an "
            "objective function of your own whose margin is log-odds, name binary:logistic too"
        )
    if any(kind in ("c", "categorical") for kind in facts.types):
        raise BundleRefusedError(
            f"{where}: it has categorical features; encode categories as numbers and train it again"
        )
    if not 0 < facts.trees <= MAX_TREES:
        raise BundleRefusedError(
            f"{where}: has {facts.trees} trees; accepted are 1 to {MAX_TREES:,}"
        )


def check_agree(facts: ModelFacts, manifest: Manifest, where: str) -> None:
    """Refuse a model that is not what the manifest says it is, features in order included.

    Raises BundleRefusedError; `where` names the model in its message.
    """
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
    if facts.names is None:
        raise BundleRefusedError(
            f"{where}: the model names no features, so their order cannot be proven; "
            "write the bundle again"
        )
    if facts.names != tuple(feature.name for feature in manifest.features):
        raise BundleRefusedError(
            f"{where}: the model was trained with other feature names, or in another order, than "
            "the manifest lists; write the bundle again with the features in training order"
        )
