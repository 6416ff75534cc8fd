"""Small models in ONNX, made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

HIDDEN = 7  # odd, so that arrays end within a vector of the CPU
OPSETS = {"": 20, "ai.onnx.ml": 3}


def model_of(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, Any],
    columns: int,
    *,
    outputs: Sequence[str] = ("y",),
    batch: int | str | None = "n",
    kind: int = TensorProto.FLOAT,
    opsets: dict[str, int] | None = None,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", kind, [batch, columns])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    imports = [helper.make_opsetid(*opset) for opset in {**OPSETS, **(opsets or {})}.items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=9)


def network(
    columns: int, *, seed: int = 0, activation: str = "Softplus", last: str | None = "Sigmoid"
) -> onnx.ModelProto:
    """A network of one hidden layer on logarithms, with 0 for a missing value.

    Without `last` its output is the margin.
    """
    random = np.random.default_rng(seed)
    floats = {
        "fill": np.float32(0),
        "one": np.float32(1),
        "w1": random.normal(0, 0.5, (columns, HIDDEN)).astype(np.float32),
        "b1": random.normal(0, 0.5, HIDDEN).astype(np.float32),
        "w2": random.normal(0, 0.5, (HIDDEN, 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("IsNaN", ["x"], ["missing"]),
        helper.make_node("Where", ["missing", "fill", "x"], ["filled"]),
        helper.make_node("Abs", ["filled"], ["size"]),
        helper.make_node("Add", ["size", "one"], ["above"]),
        helper.make_node("Log", ["above"], ["log"]),
        helper.make_node("MatMul", ["log", "w1"], ["a"]),
        helper.make_node("Add", ["a", "b1"], ["b"]),
        helper.make_node(activation, ["b"], ["c"]),
        helper.make_node("MatMul", ["c", "w2"], ["margin" if last else "y"]),
    ]
    if last:
        nodes.append(helper.make_node(last, ["margin"], ["y"]))
    return model_of(nodes, floats, columns)


def embedding(table: Sequence[float]) -> onnx.ModelProto:
    """A model of one column, a code, whose margin is its place in a table; a gap counts as 0."""
    nodes = [
        helper.make_node("IsNaN", ["x"], ["missing"]),
        helper.make_node("Where", ["missing", "fill", "x"], ["filled"]),
        helper.make_node("Cast", ["filled"], ["code"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "code"], ["y"]),
    ]
    return model_of(nodes, {"fill": np.float32(0), "table": np.array(table, np.float32)}, 1)


def two_classes(probability: onnx.ModelProto) -> onnx.ModelProto:
    """A model whose output is the probabilities of both classes, [N, 2]."""
    graph = probability.graph
    graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), "whole"))
    graph.node.extend(
        [
            helper.make_node("Sub", ["whole", "y"], ["legit"]),
            helper.make_node("Concat", ["legit", "y"], ["both"], axis=1),
        ]
    )
    graph.output[0].name = "both"
    return probability


def saved(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def margins_of(model: onnx.ModelProto, matrix: npt.NDArray[np.float32]) -> Any:
    """Margins of a `network` by numpy, in float64."""
    constants = {
        t.name: numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer
    }
    log = np.log(np.abs(np.nan_to_num(matrix.astype(np.float64))) + 1.0)
    hidden = np.logaddexp(0.0, log @ constants["w1"] + constants["b1"])
    return (hidden @ constants["w2"])[:, 0]
