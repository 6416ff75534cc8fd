"""Parse and validate an XGBoost model file before XGBoost loads it.

XGBoost trusts a file: an array that is shorter than its tree, or a tree of an output that does not
exist, makes XGBoost read and write foreign memory. A file that is accepted here has neither.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from base.errors import BundleRefusedError
from models.bundle.trees import Trees
from models.bundle.ubj import parse_ubj

_INT_ARRAYS = (
    "default_left",
    "left_children",
    "right_children",
    "parents",
    "split_indices",
    "split_type",
)
_FLOAT_ARRAYS = ("base_weights", "loss_changes", "split_conditions", "sum_hessian")
_CATEGORIES = ("categories", "categories_nodes", "categories_segments", "categories_sizes")
T = TypeVar("T")
_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Facts that a model file states about its model.

    Attributes:
        booster: Kind of booster; `dart` where trees have weights.
        objective: Name of the objective.
        trees: Number of trees; 0 unless the booster is gbtree.
        columns: Number of columns.
        outputs: Number of outputs: classes or targets.
        names: Names of the columns; None where the file has none.
        types: Types of the columns; empty where the file has none.
    """

    booster: str
    objective: str
    trees: int
    columns: int
    outputs: int
    names: tuple[str, ...] | None
    types: tuple[str, ...]


class ModelDocument:
    """A model file of XGBoost."""

    def __init__(self, content: bytes, where: str) -> None:
        """Parse a model file.

        Args:
            content: Bytes of the file, UBJ or JSON.
            where: Name of the file in messages.

        Raises:
            BundleRefusedError: where the bytes are no such document.
        """
        self._where = where
        self._values: Any = self._read(lambda: _parsed(content))
        self.facts = self._read(self._facts)

    def trees(self) -> Trees:
        """Trees of the model, with arrays of equal lengths; `check_trees` checks their structure.

        Raises BundleRefusedError where the booster is not gbtree as XGBoost writes it.
        """
        return self._read(self._trees)

    def _read(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except (ValueError, RecursionError) as error:
            raise BundleRefusedError(
                f"{self._where}: XGBoost did not write it so: {error}; save the model again"
            ) from error

    def _facts(self) -> ModelFacts:
        learner = _within(self._values, "learner")
        shape = _within(learner, "learner_model_param")
        booster = _within(learner, "gradient_booster")
        columns, targets = _number(shape, "num_feature"), _number(shape, "num_target")
        if not columns or not targets:
            raise ValueError(f"it has {columns} columns and {targets} targets")
        texts = [_texts(learner, key, columns) for key in ("feature_names", "feature_types")]
        kind = _text(booster, "name")
        trees = 0
        if kind == "gbtree" and _has_dropout(self._values):
            kind = "dart"
        if kind == "gbtree":
            trees = _number(_within(booster, "model", "gbtree_model_param"), "num_trees")
        return ModelFacts(
            booster=kind,
            objective=_text(_within(learner, "objective"), "name"),
            trees=trees,
            columns=columns,
            outputs=max(_number(shape, "num_class"), targets),
            names=texts[0] or None,
            types=texts[1],
        )

    def _trees(self) -> Trees:
        model = _within(self._values, "learner", "gradient_booster", "model")
        trees = _list(model, "trees")
        info, rounds = _ints(model, "tree_info"), _ints(model, "iteration_indptr")
        if not self.facts.trees == len(trees) == len(info):
            raise ValueError(
                f"num_trees is {self.facts.trees}, with {len(trees)} trees and {len(info)} in "
                "tree_info"
            )
        if info.any():
            raise ValueError("tree_info names an output beyond the first")
        if len(rounds) < 2 or rounds[0] or rounds[-1] != len(trees) or (np.diff(rounds) < 0).any():
            raise ValueError("iteration_indptr does not lead from the first tree to the last")
        if _number(_within(model, "gbtree_model_param"), "num_parallel_tree") < 1:
            raise ValueError("num_parallel_tree is 0")
        if any(not _is_empty(held) for held in _within(model, "cats").values()):
            raise ValueError("cats holds categories")
        columns = [_columns(tree, number, self.facts) for number, tree in enumerate(trees)]
        return Trees.joined(columns)


def is_dart(content: bytes) -> bool:
    """Say if a model file has weights of trees, which XGBoost before 3.4 ignores silently.

    XGBoost 3.4 writes DART with such weights under the name of gbtree. The answer is False for a
    file that cannot be read.
    """
    if b"weight_drop" not in content:
        return False
    try:
        return _has_dropout(_parsed(content))
    except (ValueError, RecursionError):
        return False


def _has_dropout(values: Any) -> bool:
    model = _within(values, "learner", "gradient_booster").get("model")
    weights = model.get("weight_drop", []) if isinstance(model, dict) else []
    return not isinstance(weights, list | np.ndarray) or any(weight != 1 for weight in weights)


def _parsed(content: bytes) -> Any:
    """Parse UBJ or JSON; the byte after `{` says which, as it does for XGBoost."""
    if content[:2] in (b"{L", b"{}"):
        return parse_ubj(content)
    return json.loads(content, object_pairs_hook=_without_repeats)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a key twice")
    return found


def _columns(tree: Any, number: int, facts: ModelFacts) -> dict[str, npt.NDArray[Any]]:
    """Arrays of one tree by name, each with one value for each node."""
    try:
        param = _within(tree, "tree_param")
        nodes, deleted = _number(param, "num_nodes"), _number(param, "num_deleted")
        if not 0 <= deleted < nodes:
            raise ValueError(f"num_deleted is {deleted}, num_nodes {nodes}")
        if _number(param, "num_feature") != facts.columns:
            raise ValueError(f"num_feature is not that of the model, {facts.columns}")
        if _number(param, "size_leaf_vector") > 1:
            raise ValueError("its leaves are no single numbers")
        if type(tree.get("id")) is not int or tree["id"] != number:
            raise ValueError(f"its id is {tree.get('id')!r}, not its place")
        found: dict[str, npt.NDArray[Any]] = {key: _ints(tree, key) for key in _INT_ARRAYS}
        found |= {key: _floats(tree, key) for key in _FLOAT_ARRAYS}
        for key, array in found.items():
            if len(array) != nodes:
                raise ValueError(f"{key} has {len(array)} numbers for {nodes} nodes")
        if ((found["default_left"] < 0) | (found["default_left"] > 1)).any():
            raise ValueError("default_left holds other numbers than 0 and 1")
        if found["split_type"].any() or any(len(_ints(tree, key)) for key in _CATEGORIES):
            raise ValueError("it splits by categories; encode categories as numbers")
    except ValueError as error:
        raise ValueError(f"tree {number}: {error}") from error
    return found


def _within(values: Any, *keys: str) -> Mapping[str, Any]:
    for key in keys:
        values = values.get(key) if isinstance(values, dict) else None
    if not isinstance(values, dict):
        raise ValueError(f"{'.'.join(keys) or 'its whole'} is no object")  # noqa: TRY004  of a file
    return values


def _text(values: Mapping[str, Any], key: str) -> str:
    found = values.get(key)
    if not isinstance(found, str):
        raise ValueError(f"{key} is no text")  # noqa: TRY004
    return found


def _number(values: Mapping[str, Any], key: str) -> int:
    """Value of a parameter; XGBoost writes parameters as text."""
    found = _text(values, key)
    if re.fullmatch(r"[0-9]{1,9}", found) is None:
        raise ValueError(f"{key} is {found[:40]!r}, no number")
    return int(found)


def _list(values: Mapping[str, Any], key: str) -> Sequence[Any]:
    found = values.get(key)
    if not isinstance(found, list):
        raise ValueError(f"{key} is no array")  # noqa: TRY004
    return found


def _texts(values: Mapping[str, Any], key: str, columns: int) -> tuple[str, ...]:
    found = _list(values, key)
    if len(found) not in (0, columns) or not all(isinstance(item, str) for item in found):
        raise ValueError(f"{key} is no array of {columns} texts")
    return tuple(found)


def _ints(values: Mapping[str, Any], key: str) -> npt.NDArray[np.int64]:
    array = _array(values.get(key), key)
    if array.dtype.kind not in "iu" or (array < _INT32.min).any() or (array > _INT32.max).any():
        raise ValueError(f"{key} is no array of whole numbers of 32 bits")
    return array.astype(np.int64)


def _floats(values: Mapping[str, Any], key: str) -> npt.NDArray[np.float32]:
    found = values.get(key)
    array = _array(found, key)
    if found is array and array.dtype.kind != "f":
        raise ValueError(f"{key} is an array of whole numbers")
    with np.errstate(over="ignore"):  # infinite, and refused as such
        return array.astype(np.float32)


def _is_empty(found: Any) -> bool:
    return isinstance(found, list | np.ndarray) and len(found) == 0


def _array(found: Any, key: str) -> npt.NDArray[Any]:
    if isinstance(found, np.ndarray):
        return found
    if not isinstance(found, list) or not all(type(item) in (int, float) for item in found):
        raise ValueError(f"{key} is no array of numbers")
    try:
        return np.array(found, dtype=None if found else np.int64)
    except OverflowError as error:
        raise ValueError(f"{key} holds a number that is too large") from error
