"""Policy files of the measurements."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from features.definition import FeatureSet
from models.policy import Coding, Rules

BANDS = {"decline": 0.97, "review": 0.55}
SEGMENTS = {
    "cash": "channel == 'atm' and amount > 200",
    "abroad": "country != 'DE' and amount > 100",
    "new_card": "CARD_DAYS_ACTIVE < 30",
    "ecom": "channel == 'ecom'",
    "default": None,
}
"""Conditions on text, amounts and features; the last segment takes all others."""
CATALOGUE = {
    "R01": ["AMOUNT*", "IS_ROUND", "IS_REFUND"],
    "R02": ["HOUR", "WEEKDAY", "DAY", "IS_WEEKEND", "IS_NIGHT"],
    "R03": ["IS_ECOM*", "CHANNEL"],
    "R04": ["COUNTRY", "CURRENCY", "IS_FOREIGN"],
    "R05": ["IS_CASH", "CASH_AMOUNT"],
    "R06": ["MERCHANT_*"],
    "R07": ["CARD_NB_*", "CARD_PACE"],
    "R08": ["CARD_*"],
}
"""Every feature of the pipeline has a code."""


def write_one(path: Path) -> Path:
    """Write a policy with one segment and no reasons."""
    return _write(path, {"bands": BANDS})


def write_five(path: Path) -> Path:
    """Write a policy with five segments, four of them with conditions."""
    segments = [
        {"name": name, "bands": BANDS, **({} if where is None else {"where": where})}
        for name, where in SEGMENTS.items()
    ]
    return _write(path, {"segments": segments})


def write_reviewing(path: Path, threshold: float) -> Path:
    """Write a policy with the decision ``review`` from a threshold on, without reasons."""
    return _write(path, {"bands": {"review": threshold}})


def write_explaining(path: Path, threshold: float) -> Path:
    """Write a policy with the decision ``review`` from a threshold on, with reasons."""
    catalogue = {
        code: {"features": names, "text": code, "audience": "analyst"}
        for code, names in CATALOGUE.items()
    }
    return _write(
        path, {"bands": {"review": threshold}, "reasons": {"max": 4, "catalogue": catalogue}}
    )


def coding_of(rules: Rules, feature_set: FeatureSet) -> Coding:
    """Reason codes of all features.

    Raises:
        ValueError: The rules have no catalogue.
    """
    coding = rules.coding(feature_set.names, "bench")
    if coding is None:
        raise ValueError("the policy gives no reasons")
    return coding


def _write(path: Path, content: Mapping[str, Any]) -> Path:
    # JSON is YAML.
    path.write_text(json.dumps({"version": "bench", "default": "approve", **content}), "utf-8")
    return path
