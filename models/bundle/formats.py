"""Formats of the models in bundles.

Each is a class with the same attributes and methods. To serve another kind of model takes such a
class, its name in `FORMATS` and in the manifest, and its backends in `models.backend.open_backend`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from models.bundle.onnx_model import OnnxModel
from models.bundle.xgboost_model import XgboostModel

Model: TypeAlias = XgboostModel | OnnxModel
"""A loaded model of any format, before a backend puts it on a device."""

FORMATS: Final[Mapping[str, type[Model]]] = {"xgboost": XgboostModel, "onnx": OnnxModel}
"""Classes of models, by the manifest's `format`."""
