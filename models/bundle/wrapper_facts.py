"""Facts that XGBoost's scikit-learn API has written into a model file beside the model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import xgboost as xgb

from base.errors import BundleRefusedError


def choose_class(booster: xgb.Booster, given: str | None, where: str) -> int | None:
    """Number of the class that is fraud.

    XGBoost's scikit-learn API wrote the names of the classes into the file up to version 1.7.

    Args:
        booster: The model.
        given: Name of the class if the file names its classes, else its number.
        where: Name of the model in messages.

    Raises:
        BundleRefusedError: if there is no such class.
    """
    if given is None:
        return None
    classes = _wrapper(booster).get("classes_")
    names = [str(name) for name in classes] if isinstance(classes, list) else []
    if given in names:
        return names.index(given)
    if names or not given.isdecimal():
        known = f"names {', '.join(names)}" if names else "does not name its classes; give a number"
        raise BundleRefusedError(f"--fraud-class: {given!r} is not a class: {where} {known}")
    return int(given)


def missing_value(
    booster: xgb.Booster, given: float | None, model: Path
) -> tuple[float, tuple[str, ...]]:
    """Feature value that means missing, and notes for the model's owner about it.

    A booster does not record this value, because XGBoost replaces it when it reads the training
    data. XGBoost's scikit-learn API wrote it into the file up to version 1.7.
    """
    own = _missing_in_file(booster)
    if given is None:
        if math.isnan(own):
            return own, ()
        note = f"the model's scikit-learn wrapper treated {own:.9g} as missing; the bundle does the same"
        return own, (note,)
    if not math.isnan(own) and own != given:
        raise BundleRefusedError(
            f"{model}: the model's scikit-learn wrapper treated {own:.9g} as missing, and --missing is "
            f"{given:.9g}; omit --missing"
        )
    return given, ()


def _missing_in_file(booster: xgb.Booster) -> float:
    own = _wrapper(booster).get("missing")
    return float(own) if isinstance(own, int | float) and math.isfinite(own) else math.nan


def _wrapper(booster: xgb.Booster) -> dict[str, Any]:
    """Attributes that XGBoost's scikit-learn API has written into the file."""
    try:
        wrapper = json.loads(booster.attr("scikit_learn") or "{}")
    except (ValueError, RecursionError):
        return {}
    return wrapper if isinstance(wrapper, dict) else {}
