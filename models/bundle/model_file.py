"""Parse and validate an XGBoost model file before XGBoost loads it.

XGBoost does not validate a file: an array that is shorter than its tree, or a tree for an output
that does not exist, makes XGBoost read and write outside of its memory. A file that is accepted
here has no such fault.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from base.errors import BundleRefusedError
from models.bundle.category_sets import read_sets
from models.bundle.trees import Trees
from models.bundle.typed_values import (
    floats_in,
    ints_in,
    is_empty,
    list_in,
    number_in,
    object_in,
    text_in,
    texts_in,
)
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
T = TypeVar("T")


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
    """

    booster: str
    objective: str
    trees: int
    columns: int
    outputs: int
    names: tuple[str, ...] | None


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
        self._values: Any = self._read(lambda: parse_document(content))
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
        learner = object_in(self._values, "learner")
        shape = object_in(learner, "learner_model_param")
        booster = object_in(learner, "gradient_booster")
        columns, targets = number_in(shape, "num_feature"), number_in(shape, "num_target")
        if not columns or not targets:
            raise ValueError(f"it has {columns} columns and {targets} targets")
        names = texts_in(learner, "feature_names", columns)
        texts_in(learner, "feature_types", columns)
        kind = text_in(booster, "name")
        trees = 0
        if kind == "gbtree" and "weight_drop" in object_in(booster, "model"):
            kind = "dart"
        if kind == "gbtree":
            trees = number_in(object_in(booster, "model", "gbtree_model_param"), "num_trees")
        return ModelFacts(
            booster=kind,
            objective=text_in(object_in(learner, "objective"), "name"),
            trees=trees,
            columns=columns,
            outputs=max(number_in(shape, "num_class"), targets),
            names=names or None,
        )

    def _trees(self) -> Trees:
        model = object_in(self._values, "learner", "gradient_booster", "model")
        trees = list_in(model, "trees")
        outputs, rounds = ints_in(model, "tree_info"), ints_in(model, "iteration_indptr")
        if not self.facts.trees == len(trees) == len(outputs):
            raise ValueError(
                f"num_trees is {self.facts.trees}, with {len(trees)} trees and {len(outputs)} in "
                "tree_info"
            )
        if ((outputs < 0) | (outputs >= self.facts.outputs)).any():
            raise ValueError(f"tree_info names an output beyond the {self.facts.outputs}")
        if len(rounds) < 2 or rounds[0] or rounds[-1] != len(trees) or (np.diff(rounds) < 0).any():
            raise ValueError("iteration_indptr does not lead from the first tree to the last")
        if number_in(object_in(model, "gbtree_model_param"), "num_parallel_tree") < 1:
            raise ValueError("num_parallel_tree is 0")
        if any(not is_empty(value) for value in object_in(model, "cats").values()):
            raise ValueError("cats holds categories, which only the manifest of a bundle does")
        return Trees.joined(
            [_tree_arrays(tree, number, self.facts) for number, tree in enumerate(trees)], outputs
        )


def parse_document(content: bytes) -> Any:
    """Parse UBJ or JSON; the byte after `{` tells them apart, for XGBoost too.

    Raises:
        ValueError: if the content is neither.
    """
    if is_ubj(content):
        return parse_ubj(content)
    return json.loads(content, object_pairs_hook=_unique_keys)


def is_ubj(content: bytes) -> bool:
    """Tell UBJ from JSON."""
    return content[:2] in (b"{L", b"{}")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("an object has a key twice")
    return values


def _tree_arrays(tree: Any, number: int, facts: ModelFacts) -> dict[str, npt.NDArray[Any]]:
    """Arrays of one tree by name, each with one value for each node."""
    try:
        param = object_in(tree, "tree_param")
        nodes, deleted = number_in(param, "num_nodes"), number_in(param, "num_deleted")
        if not 0 <= deleted < nodes:
            raise ValueError(f"num_deleted is {deleted}, num_nodes {nodes}")
        if number_in(param, "num_feature") != facts.columns:
            raise ValueError(f"num_feature is not that of the model, {facts.columns}")
        if number_in(param, "size_leaf_vector") > 1:
            raise ValueError("its leaves have more than one value")
        if type(tree.get("id")) is not int or tree["id"] != number:
            raise ValueError(f"its id is {tree.get('id')!r}, but it is at position {number}")
        arrays: dict[str, npt.NDArray[Any]] = {key: ints_in(tree, key) for key in _INT_ARRAYS}
        arrays |= {key: floats_in(tree, key) for key in _FLOAT_ARRAYS}
        for key, array in arrays.items():
            if len(array) != nodes:
                raise ValueError(f"{key} has {len(array)} numbers for {nodes} nodes")
        if ((arrays["default_left"] < 0) | (arrays["default_left"] > 1)).any():
            raise ValueError("default_left holds other numbers than 0 and 1")
        arrays |= read_sets(tree, arrays["split_type"])
    except ValueError as error:
        raise ValueError(f"tree {number}: {error}") from error
    return arrays
