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
_MULTI_CLASS: Final = ("multi:softprob", "multi:softmax")
"""Both minimise the loss of the softmax, so a class has log-odds, whatever they predict."""
_MAX_CLASSES: Final = 100

# Meaning of the margin by prefix of the objective's name; the longest matching prefix counts.
_MARGIN_MEANINGS: Final = {
    "binary:hinge": "it is the side of a hyperplane that a row is on, not a probability",
    "count:": "it is the logarithm of a count",
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
    """Refuse a model unless its margin is log-odds, or it has classes that have log-odds.

    Args:
        facts: Facts of the model.
        where: Name of the model in messages.

    Raises:
        BundleRefusedError: naming the fact that is not accepted.
    """
    if facts.booster != "gbtree":
        raise BundleRefusedError(f"{where}: its booster is {facts.booster}, {_remedy(facts)}")
    if facts.objective in _MULTI_CLASS:
        if not 1 < facts.outputs <= _MAX_CLASSES:
            raise BundleRefusedError(
                f"{where}: it has {facts.outputs:,} class(es); accepted are 2 to {_MAX_CLASSES}"
            )
    elif (meaning := _other_meaning(facts.objective)) or facts.outputs != 1:
        raise BundleRefusedError(
            f"{where}: its objective is {facts.objective} with {facts.outputs} output(s) per row"
            f"{meaning and f', whose margin is not log-odds ({meaning})'}; accepted: "
            f"{', '.join(_ACCEPTED_OBJECTIVES)}, with one output, and {', '.join(_MULTI_CLASS)}. "
            "Train it with one of these. If you use your own objective function and its margin is "
            "log-odds, set the objective binary:logistic as well"
        )
    if not 0 < facts.trees <= MAX_TREES:
        raise BundleRefusedError(
            f"{where}: has {facts.trees} trees; accepted are 1 to {MAX_TREES:,}"
        )


def _remedy(facts: ModelFacts) -> str:
    """Remedy for a model of another booster."""
    if facts.booster == "dart":
        return "with weights of trees; write the bundle again, with the weights in the leaves"
    if facts.booster == "gblinear":
        return (
            "accepted: gbtree, dart. XGBoost itself will remove gblinear (deprecated since 3.3): "
            "train trees"
        )
    return "accepted: gbtree, dart"


def check_fraud_class(facts: ModelFacts, fraud_class: int | None, where: str) -> None:
    """Refuse a model of classes without the one that is fraud, and a class of other models.

    Args:
        facts: Facts of an accepted model.
        fraud_class: The class; None for a model with one output.
        where: Name of the model in messages.

    Raises:
        BundleRefusedError: naming the classes.
    """
    classes = facts.outputs
    if classes == 1 and fraud_class is not None:
        raise BundleRefusedError(
            f"{where}: fraud class {fraud_class} of a model with one output, {facts.objective}; "
            "omit the class if label 1 of the training was fraud, else train it so"
        )
    if classes > 1 and (fraud_class is None or not 0 <= fraud_class < classes):
        given = "and none is" if fraud_class is None else f"and {fraud_class} is"
        raise BundleRefusedError(
            f"{where}: the model has {classes} classes, 0 to {classes - 1}, {given} given as the "
            "class that is fraud; give it with --fraud-class"
        )


def _other_meaning(objective: str) -> str:
    """Meaning of an objective's margin; "" if it is log-odds."""
    if objective in (*_ACCEPTED_OBJECTIVES, *_MULTI_CLASS):
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
    check_fraud_class(facts, manifest.fraud_class, where)
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
