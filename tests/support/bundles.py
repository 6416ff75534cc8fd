"""Bundles that were changed by hand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xgboost as xgb

from models.bundle import Bundle
from models.bundle.model_file import ModelDocument
from models.bundle.trees import Trees
from models.bundle.xgboost_model import XgboostModel


def sum_again(folder: Path) -> None:
    """As an attacker or a helpful colleague would: make the sums agree with the files."""
    files = sorted(path for path in folder.iterdir() if path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(lines))


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    sum_again(folder)


def edit_model(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the JSON of a model, as XGBoost itself would not write it."""
    path = folder / "model.ubj"
    model = json.loads(bytes(xgb.Booster(model_file=path).save_raw("json")))
    change(model)
    path.unlink()
    (folder / "model.json").write_text(json.dumps(model))
    sum_again(folder)


def booster_in(bundle: Bundle) -> xgb.Booster:
    assert isinstance(bundle.model, XgboostModel)
    return bundle.model.booster


def trees_of(booster: xgb.Booster) -> Trees:
    return ModelDocument(bytes(booster.save_raw("ubj")), "model").trees()


def trees_in(model: dict[str, Any]) -> list[dict[str, Any]]:
    trees: list[dict[str, Any]] = model["learner"]["gradient_booster"]["model"]["trees"]
    return trees
