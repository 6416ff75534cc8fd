"""Refuse ONNX graphs in which an event's values decide how large an array is.

The child process that tests a model finds graphs that take too much memory for golden vectors. It
cannot find a graph that takes it for an event with a certain value: `Range(0, max(x), 1)` is small
until one amount is 1e9. Sizes from constants, and from the shapes of other arrays, are the same for
every event.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from base.errors import BundleRefusedError

_SIZES: Final = {
    "AffineGrid": (1,),
    "BlackmanWindow": (0,),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "ConstantOfShape": (0,),
    "DFT": (1,),
    "Expand": (1,),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "MaxUnpool": (2,),
    "MelWeightMatrix": (0, 1),
    "OneHot": (1,),
    "Pad": (1,),
    "Range": (0, 1, 2),
    "Resize": (1, 2, 3),
    "STFT": (1, 3),
    "Tile": (1,),
    "Upsample": (1,),
}
"""Inputs that decide how large the output is, beyond the inputs' own sizes, in opsets 9 to 25.

Others, such as Reshape, Slice, TopK and Split, take sizes as well, but make nothing larger than
their input.
"""
_SHAPES: Final = ("Shape", "Size")


def check_sizes(nodes: Iterable[Any], source: str, where: str) -> None:
    """Refuse an operator that takes a size from the values of the graph's input.

    Args:
        nodes: Operators of the graph, each after those that make its inputs.
        source: Name of the graph's input.
        where: Name of the model in messages.

    Raises:
        BundleRefusedError: naming the operator and the remedy.
    """
    of_values = {source}
    for node in nodes:
        for tensor in _sizes(node):
            if tensor in of_values:
                named = f" ({node.name})" if node.name else ""
                raise BundleRefusedError(
                    f"{where}: the operator {node.op_type}{named} computes the size of its output "
                    f"{node.output[0]} from {tensor}, which depends on an event's values, so that "
                    "one event may take any amount of memory; export the model with a constant in "
                    f"the place of {tensor} (PyTorch: one_hot with num_classes; a number, or a size "
                    "from x.shape, for arange, repeat, expand and pad)"
                )
        if node.op_type not in _SHAPES and of_values.intersection(node.input):
            of_values.update(node.output)


def _sizes(node: Any) -> Iterator[str]:
    """Names of the tensors that decide how large the output of a node is."""
    for place in _SIZES.get(node.op_type, ()):
        if place < len(node.input):
            yield node.input[place]
