"""Rewrite a model file so that its trees alone, split by codes, give the margin.

A DART booster multiplies each tree by a weight. XGBoost 3.2 computes it tree by tree, and its
`inplace_predict` gives other last bits than its `predict`; XGBoost 3.4 writes it as a gbtree with
weights, which older versions ignore silently. So the weights are multiplied into the leaves, in
float32, as XGBoost's `predict` does for each row.

A model that was trained on a data frame names the categories of its columns. XGBoost does not check
the arrays with these names. Here they are read and removed; the manifest keeps them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from base.errors import BundleRefusedError
from models.bundle.model_file import is_ubj, parse_document
from models.bundle.typed_values import floats_in, ints_in, list_in, object_in
from models.bundle.ubj import format_ubj

ModelCategories = Mapping[int, tuple[str | int, ...]]
"""Categories by column, in the order of their codes."""


@dataclass(frozen=True, slots=True)
class SimpleModel:
    """A model file without weights of trees and names of categories.

    Attributes:
        content: Bytes of the file.
        categories: Categories that the file named.
        was_dart: True if its trees had weights.
    """

    content: bytes
    categories: ModelCategories
    was_dart: bool


def simplify(content: bytes, where: str) -> SimpleModel:
    """Multiply the weights of a model's trees into their leaves, and take its categories out.

    Args:
        content: Bytes of the file, UBJ or JSON.
        where: Name of the file in messages.

    Raises:
        BundleRefusedError: if the file, the weights or the categories are not as XGBoost writes
            them.
    """
    try:
        return _simplified(content)
    except (ValueError, RecursionError) as error:
        raise BundleRefusedError(
            f"{where}: is not as XGBoost writes it: {error}; save the model again"
        ) from error


def _simplified(content: bytes) -> SimpleModel:
    document = parse_document(content)
    learner = object_in(document, "learner")
    booster = object_in(learner, "gradient_booster")
    weights = None
    if booster.get("name") == "dart":
        weights = floats_in(booster, "weight_drop")
        learner["gradient_booster"] = booster = object_in(booster, "gbtree")
    if "model" not in booster:
        return SimpleModel(content, {}, was_dart=False)
    model = object_in(booster, "model")
    if "weight_drop" in model:
        weights = floats_in(model, "weight_drop")
        del model["weight_drop"]
    categories = _take_categories(model)
    if weights is not None:
        _multiply(list_in(model, "trees"), weights)
    if weights is None and not categories:
        return SimpleModel(content, {}, was_dart=False)
    if is_ubj(content):
        content = format_ubj(document)
    else:  # without escapes like \u00e9, which XGBoost does not decode
        content = json.dumps(document, ensure_ascii=False).encode()
    return SimpleModel(content, categories, weights is not None)


def _multiply(trees: list[Any], weights: npt.NDArray[np.float32]) -> None:
    """Multiply the leaves of each tree by its weight."""
    if len(weights) != len(trees):
        raise ValueError(f"weight_drop has {len(weights)} weights for {len(trees)} trees")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("weight_drop holds weights that are negative, or not finite numbers")
    for number, (tree, weight) in enumerate(zip(trees, weights, strict=True)):
        try:
            values = floats_in(object_in(tree), "split_conditions")
            leaves = ints_in(tree, "left_children") == -1
        except ValueError as error:
            raise ValueError(f"tree {number}: {error}") from error
        if len(values) != len(leaves):
            raise ValueError(
                f"tree {number}: split_conditions has {len(values)} numbers for {len(leaves)} nodes"
            )
        values = np.where(leaves, values * weight, values)
        given = tree["split_conditions"]
        is_typed = isinstance(given, np.ndarray)
        tree["split_conditions"] = values.astype(">f4") if is_typed else _shortest(values)


def _shortest(values: npt.NDArray[np.float32]) -> list[float]:
    """Numbers whose text in JSON is the shortest that float32 reads back."""
    return [float(text) for text in map(str, values)]


def _take_categories(model: dict[str, Any]) -> ModelCategories:
    """Remove the categories of the columns from a model, and return them."""
    if "cats" not in model:
        return {}
    columns = list_in(object_in(model, "cats"), "enc")
    categories = {}
    for column, encoded in enumerate(columns):
        try:
            values = _decode(object_in(encoded))
        except (ValueError, OverflowError) as error:
            raise ValueError(f"cats of column {column}: {error}") from error
        if values:
            categories[column] = values
    if categories:
        model["cats"] = {"enc": [], "feature_segments": [], "sorted_idx": []}
    return categories


def _decode(encoded: Mapping[str, Any]) -> tuple[str | int, ...]:
    """Categories of one column: whole numbers, or the bytes of texts end to end."""
    values = encoded.get("values")
    items = values.tolist() if isinstance(values, np.ndarray) else values
    if not isinstance(items, list) or not all(type(item) is int for item in items):
        raise ValueError("values is not an array of whole numbers; use text or whole numbers")
    decoded: tuple[str | int, ...] = tuple(items)
    if "offsets" in encoded:
        offsets = ints_in(encoded, "offsets")
        if not len(offsets):
            return ()
        if offsets[0] or (np.diff(offsets) < 0).any() or offsets[-1] != len(items):
            raise ValueError("offsets do not lead from the first byte of its values to the last")
        text = np.array(items, np.int8).tobytes() if items else b""
        decoded = tuple(decode_name(text[a:b]) for a, b in pairwise(offsets))
    if len(set(decoded)) < len(decoded) and is_whole(decoded):
        raise ValueError("it names a category twice")
    return decoded


def is_whole(names: tuple[str | int, ...]) -> bool:
    """False for names that XGBoost 3.1 to 3.3 may have cut: those that are not ASCII."""
    return all(isinstance(name, int) or (name.isascii() and "\\x" not in name) for name in names)


def decode_name(encoded: bytes) -> str:
    """Name of a category; bytes that are not UTF-8 are escaped."""
    return encoded.decode(errors="backslashreplace")
