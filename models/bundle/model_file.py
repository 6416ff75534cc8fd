"""Parse and validate an XGBoost model file before XGBoost loads it.

XGBoost does not validate a file: an array that is shorter than its tree, or a tree for an output
that does not exist, makes XGBoost read and write outside of its memory. A file that is accepted
here has no such fault.
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
    """Facts about a model, as its file states them.

    Attributes:
        booster: Kind of booster; `dart` if trees have weights.
        objective: Name of the objective.
        trees: Number of trees; 0 unless the booster is gbtree.
        columns: Number of columns.
        outputs: Number of outputs: classes or targets.
        names: Names of the columns; None if the file has none.
        types: Types of the columns; empty if the file has none.
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
            BundleRefusedError: if the bytes are not a model file of XGBoost.
        """
        self._where = where
        self._values: Any = self._read(lambda: _parsed(content))
        self.facts = self._read(self._facts)

    def trees(self) -> Trees:
        """Read the trees; their arrays have equal lengths, `check_trees` checks their structure.

        Raises:
            BundleRefusedError: if the booster is not gbtree, or not as XGBoost writes it.
        """
        return self._read(self._trees)

    def _read(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except (ValueError, RecursionError) as error:
            raise BundleRefusedError(
                f"{self._where}: is not as XGBoost writes it: {error}; save the model again"
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
            raise ValueError("tree_info names an output other than the first")
        if len(rounds) < 2 or rounds[0] or rounds[-1] != len(trees) or (np.diff(rounds) < 0).any():
            raise ValueError("iteration_indptr does not lead from the first tree to the last")
        if _number(_within(model, "gbtree_model_param"), "num_parallel_tree") < 1:
            raise ValueError("num_parallel_tree is 0")
        if any(not _is_empty(value) for value in _within(model, "cats").values()):
            raise ValueError("cats holds categories")
        return Trees.joined(
            [_tree_arrays(tree, number, self.facts) for number, tree in enumerate(trees)]
        )


def is_dart(content: bytes) -> bool:
    """Detect a model file with weights of trees, which XGBoost before 3.4 ignores silently.

    XGBoost 3.4 writes a DART booster with such weights under the name gbtree.

    Returns:
        True if there are such weights; False also for a file that cannot be read.
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
    """Parse UBJ or JSON; the byte after `{` tells them apart, for XGBoost too."""
    if content[:2] in (b"{L", b"{}"):
        return parse_ubj(content)
    return json.loads(content, object_pairs_hook=_unique_keys)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("an object has a key twice")
    return values


def _tree_arrays(tree: Any, number: int, facts: ModelFacts) -> dict[str, npt.NDArray[Any]]:
    """Arrays of one tree by name, each with one value for each node."""
    try:
        param = _within(tree, "tree_param")
        nodes, deleted = _number(param, "num_nodes"), _number(param, "num_deleted")
        if not 0 <= deleted < nodes:
            raise ValueError(f"num_deleted is {deleted}, num_nodes {nodes}")
        if _number(param, "num_feature") != facts.columns:
            raise ValueError(f"num_feature is not that of the model, {facts.columns}")
        if _number(param, "size_leaf_vector") > 1:
            raise ValueError("its leaves have more than one value")
        if type(tree.get("id")) is not int or tree["id"] != number:
            raise ValueError(f"its id is {tree.get('id')!r}, but it is at position {number}")
        arrays: dict[str, npt.NDArray[Any]] = {key: _ints(tree, key) for key in _INT_ARRAYS}
        arrays |= {key: _floats(tree, key) for key in _FLOAT_ARRAYS}
        for key, array in arrays.items():
            if len(array) != nodes:
                raise ValueError(f"{key} has {len(array)} numbers for {nodes} nodes")
        if ((arrays["default_left"] < 0) | (arrays["default_left"] > 1)).any():
            raise ValueError("default_left holds other numbers than 0 and 1")
        if arrays["split_type"].any() or any(len(_ints(tree, key)) for key in _CATEGORIES):
            raise ValueError("it splits by categories; encode categories as numbers")
    except ValueError as error:
        raise ValueError(f"tree {number}: {error}") from error
    return arrays


def _within(values: Any, *keys: str) -> Mapping[str, Any]:
    for key in keys:
        values = values.get(key) if isinstance(values, dict) else None
    if not isinstance(values, dict):
        raise ValueError(f"{'.'.join(keys) or 'the document'} is not an object")  # noqa: TRY004
    return values


def _text(values: Mapping[str, Any], key: str) -> str:
    text = values.get(key)
    if not isinstance(text, str):
        raise ValueError(f"{key} is not a string")  # noqa: TRY004
    return text


def _number(values: Mapping[str, Any], key: str) -> int:
    """Value of a parameter, which XGBoost writes as text."""
    text = _text(values, key)
    if re.fullmatch(r"[0-9]{1,9}", text) is None:
        raise ValueError(f"{key} is {text[:40]!r}, not a number")
    return int(text)


def _list(values: Mapping[str, Any], key: str) -> Sequence[Any]:
    items = values.get(key)
    if not isinstance(items, list):
        raise ValueError(f"{key} is not an array")  # noqa: TRY004
    return items


def _texts(values: Mapping[str, Any], key: str, columns: int) -> tuple[str, ...]:
    items = _list(values, key)
    if len(items) not in (0, columns) or not all(isinstance(item, str) for item in items):
        raise ValueError(f"{key} is not an array of {columns} strings")
    return tuple(items)


def _ints(values: Mapping[str, Any], key: str) -> npt.NDArray[np.int64]:
    array = _array(values.get(key), key)
    if array.dtype.kind not in "iu" or (array < _INT32.min).any() or (array > _INT32.max).any():
        raise ValueError(f"{key} is not an array of 32-bit whole numbers")
    return array.astype(np.int64)


def _floats(values: Mapping[str, Any], key: str) -> npt.NDArray[np.float32]:
    value = values.get(key)
    array = _array(value, key)
    if value is array and array.dtype.kind != "f":
        raise ValueError(f"{key} is an array of whole numbers")
    # An overflow becomes infinite, and is refused for that later.
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _is_empty(value: Any) -> bool:
    return isinstance(value, list | np.ndarray) and len(value) == 0


def _array(value: Any, key: str) -> npt.NDArray[Any]:
    if isinstance(value, np.ndarray):
        return value
    if not isinstance(value, list) or not all(type(item) in (int, float) for item in value):
        raise ValueError(f"{key} is not an array of numbers")
    try:
        return np.array(value, dtype=None if value else np.int64)
    except OverflowError as error:
        raise ValueError(f"{key} holds a number that is too large") from error
