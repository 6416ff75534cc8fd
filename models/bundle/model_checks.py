"""Load models with XGBoost, and check that this package accepts them."""

from __future__ import annotations

import re
from typing import Final

import xgboost as xgb

from base.errors import BundleRefusedError
from models.bundle.manifest import Manifest
from models.bundle.model_file import ModelFacts
from models.bundle.trees import MAX_TREES

_ACCEPTED_OBJECTIVES: Final = ("binary:logistic", "binary:logitraw", "reg:logistic")
"""All three minimise the logistic loss, so the margin is log-odds, whatever they predict."""

# Meaning of the margin by prefix of the objective's name; the longest matching prefix counts.
_MARGIN_MEANINGS: Final = {
    "binary:hinge": "it is the side of a hyperplane that a row is on, not a probability",
    "count:": "it is the logarithm of a count",
    "multi:": "each class has its own margin",
    "rank:": "it orders the rows of a group, and has no meaning outside of it",
    "reg:": "it is the predicted value itself, or its logarithm",
    "reg:squarederror": "it is the predicted value itself: an estimate of 0 or 1 gives .5 or .73",
    "survival:": "it is the logarithm of a hazard or a time",
}


def open_model(content: bytes, where: str) -> xgb.Booster:
    """Load the bytes of a model file with XGBoost, for the CPU and one thread.

    Damaged bytes may crash the process, or exhaust its memory or time. Call `verify` first, which
    loads the model in a child process.

    Args:
        content: Bytes of the file, UBJ or JSON.
        where: Name of the model in messages.

    Raises:
        BundleRefusedError: if XGBoost cannot load it.
    """
    try:
        booster = xgb.Booster(model_file=bytearray(content))
        booster.set_param({"nthread": 1, "device": "cpu"})
    except (xgb.core.XGBoostError, ValueError, TypeError) as error:
        raise BundleRefusedError(
            f"{where}: XGBoost cannot load it ({short_message(error)}); save the model again with "
            "this or an older version of XGBoost"
        ) from error
    return booster


def short_message(error: Exception) -> str:
    """Message of an XGBoost error without its source location and stack trace."""
    text = re.sub(r"^\[[\d:]+\] \S+:\d+: ", "", str(error).partition("Stack trace")[0].strip())
    return " ".join(text.split())[:300] or type(error).__name__


def check_accepted(facts: ModelFacts, where: str) -> None:
    """Refuse a model unless it has one margin for each row, and the margin is log-odds.

    Args:
        facts: Facts of the model.
        where: Name of the model in messages.

    Raises:
        BundleRefusedError: naming the fact that is not accepted.
    """
    if facts.booster != "gbtree":
        raise BundleRefusedError(f"{where}: its booster is {facts.booster}, accepted: gbtree")
    meaning = _other_meaning(facts.objective)
    if meaning or facts.outputs != 1:
        raise BundleRefusedError(
            f"{where}: its objective is {facts.objective} with {facts.outputs} output(s) per row"
            f"{meaning and f', whose margin is not log-odds ({meaning})'}; accepted: "
            f"{', '.join(_ACCEPTED_OBJECTIVES)}, with one output. Train it with one of these. If "
            "you use your own objective function and its margin is log-odds, set the objective "
            "binary:logistic as well"
        )
    if any(kind in ("c", "categorical") for kind in facts.types):
        raise BundleRefusedError(
            f"{where}: it has categorical features; encode categories as numbers and train it again"
        )
    if not 0 < facts.trees <= MAX_TREES:
        raise BundleRefusedError(
            f"{where}: has {facts.trees} trees; accepted are 1 to {MAX_TREES:,}"
        )


def _other_meaning(objective: str) -> str:
    """Meaning of an objective's margin; "" if it is log-odds."""
    if objective in _ACCEPTED_OBJECTIVES:
        return ""
    prefixes = sorted(filter(objective.startswith, _MARGIN_MEANINGS), key=len)
    return _MARGIN_MEANINGS[prefixes[-1]] if prefixes else "its meaning is not known"


def check_agree(facts: ModelFacts, manifest: Manifest, where: str) -> None:
    """Refuse a model that differs from its manifest, including the order of features.

    Args:
        facts: Facts of the model.
        manifest: The manifest.
        where: Name of the model in messages.

    Raises:
        BundleRefusedError: naming the difference.
    """
    pairs = {
        "objective": (manifest.objective, facts.objective),
        "trees": (manifest.trees, facts.trees),
        "features (their number)": (len(manifest.features), facts.columns),
    }
    for key, (stated, actual) in pairs.items():
        if stated != actual:
            raise BundleRefusedError(
                f"{where}: the manifest says {key}: {stated}, the model has {actual}; "
                "model and manifest do not belong together: write the bundle again"
            )
    if facts.names is None:
        raise BundleRefusedError(
            f"{where}: the model does not name its features, so their order cannot be checked; "
            "write the bundle again"
        )
    if facts.names != tuple(feature.name for feature in manifest.features):
        raise BundleRefusedError(
            f"{where}: the model was trained with other feature names, or in another order, than "
            "the manifest lists; write the bundle again with the features in training order"
        )
