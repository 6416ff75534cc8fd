"""Check an ONNX graph before ONNX Runtime loads it, and reduce it to the output that is a score."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from base.errors import BundleRefusedError
from models.bundle.onnx_sizes import check_sizes

OPSETS: Final = {"ai.onnx": (9, 25), "ai.onnx.ml": (1, 5)}
"""First and last accepted opset of each accepted domain; ONNX Runtime 1.24 and later know all."""

_RANDOM: Final = frozenset(
    (
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    )
)
_ONE_INPUT: Final = (
    "convert the model with one input of all features: skl2onnx with FloatTensorType([None, N]), "
    "torch.onnx.export with one tensor and a dynamic first dimension"
)
_SORT: Final = "sort them: onnxruntime.transformers.onnx_model.OnnxModel(model).topological_sort()"
_INLINE: Final = "write it to one file: onnx.save(onnx.load('model.onnx'), 'whole.onnx')"
_LABELS: Final = ("classlabels_strings", "classlabels_int64s", "classlabels_ints")
_SHOWN: Final = 8
# Numbers of TensorProto.DataType and TensorProto.DataLocation.
_FLOAT: Final = 1
_FLOATS: Final = (_FLOAT, 10, 11)  # of 32, 16 and 64 bits
_EXTERNAL: Final = 1


class OnnxGraph:
    """A graph of ONNX operators.

    Attributes:
        model: The ModelProto.
    """

    def __init__(self, content: bytes, where: str) -> None:
        """Parse a model file.

        Args:
            content: Bytes of the file.
            where: Name of the file in messages.

        Raises:
            BundleRefusedError: if the bytes are not an ONNX model, or `onnx` is not installed.
        """
        onnx = import_or_refuse("onnx", where)
        self._where = where
        try:
            self.model = onnx.ModelProto.FromString(content)
        except Exception as error:  # the decoder's class depends on the version of protobuf
            raise BundleRefusedError(
                f"{where}: is not a model in ONNX, or is cut off or damaged ({error}); export it again"
            ) from error
        if not self.model.graph.node:
            raise BundleRefusedError(f"{where}: has no operators; export the model again")

    def check(self) -> int:
        """Refuse a graph that is not one of this package's bundles.

        Returns:
            Number of columns of its input.

        Raises:
            BundleRefusedError: naming the first fault and the remedy.
        """
        self._check_operators()
        self._check_tensors()
        self._check_order()
        value = self._checked_input()
        check_sizes(self.model.graph.node, value.name, self._where)
        return int(value.type.tensor_type.shape.dim[1].dim_value)

    @property
    def outputs(self) -> list[str]:
        """Names of its outputs."""
        return [value.name for value in self.model.graph.output]

    @property
    def labels(self) -> list[str]:
        """Labels of the classes, in the order of their probabilities; empty if it names none."""
        for node in reversed(self.model.graph.node):
            for attribute in node.attribute:
                if attribute.name in _LABELS:
                    texts = [label.decode(errors="replace") for label in attribute.strings]
                    return texts or [str(label) for label in attribute.ints]
        return []

    def reduce(self, output: str | None) -> str:
        """Remove everything that the score does not need.

        Args:
            output: Name of the output, or of a tensor within the graph; None for the only output
                that may be one.

        Returns:
            Name of the output.

        Raises:
            BundleRefusedError: if there is no such output, or it is not clear which one is meant.
        """
        self._check_order()
        graph = self.model.graph
        name = self._chosen(output)
        needed, nodes = {name}, []
        for node in reversed(graph.node):
            if needed.intersection(node.output):
                needed.update(node.input)
                nodes.append(node)
        nodes.reverse()
        kept = [[item for item in items if item.name in needed] for items in _named(graph)]
        sparse = [each for each in graph.sparse_initializer if each.values.name in needed]
        for field in ("node", "output", "value_info", "sparse_initializer", "initializer", "input"):
            graph.ClearField(field)
        graph.node.extend(nodes)
        graph.output.add().name = name
        graph.initializer.extend(kept[0])
        graph.input.extend(kept[1])
        graph.sparse_initializer.extend(sparse)
        return name

    def as_bytes(self) -> bytes:
        """Serialise the model."""
        content: bytes = self.model.SerializeToString()
        return content

    def _chosen(self, output: str | None) -> str:
        graph = self.model.graph
        outputs = {value.name: value.type.WhichOneof("value") for value in graph.output}
        inner = [name for node in graph.node for name in node.output if name]
        if output is None:
            output = self._only_output(outputs)
        elif output not in outputs and output not in inner:
            raise BundleRefusedError(
                f"{self._where}: --output: there is no {output}; it has the outputs "
                f"{_listed(outputs)}"
            )
        # None: the file does not say what it is, which the first run shows.
        if outputs.get(output) not in (None, "tensor_type"):
            raise BundleRefusedError(self._of_no_tensor(output))
        return output

    def _only_output(self, outputs: Mapping[str, str | None]) -> str:
        """Name of the only output, or of the only one of floats.

        Without floats it is that of a map, whose message is more helpful than that of no choice.
        """
        floats = [
            value.name
            for value in self.model.graph.output
            if value.type.tensor_type.elem_type in _FLOATS
        ]
        others = [name for name, kind in outputs.items() if kind not in (None, "tensor_type")]
        for names in (list(outputs), floats, others[:1] if not floats else []):
            if len(names) == 1:
                return names[0]
        raise BundleRefusedError(
            f"{self._where}: has the outputs {_listed(outputs)}; name the one that is the score "
            "with --output"
        )

    def _of_no_tensor(self, output: str) -> str:
        """Say what an output is, and for a sequence of maps, which tensor they are made from."""
        graph = self.model.graph
        made = [node for node in graph.node if output in node.output]
        (kind,) = (value.type for value in graph.output if value.name == output)
        if kind.sequence_type.elem_type.HasField("map_type") or "ZipMap" in [
            node.op_type for node in made
        ]:
            source = [node.input[0] for node in made if node.op_type == "ZipMap"]
            named = (
                f", or name the tensor that it is made from: --output {source[0]}" if source else ""
            )
            return (
                f"{self._where}: its output {output} is a sequence of maps (ZipMap), not a tensor; "
                f"convert the model with zipmap=False (skl2onnx: options={{'zipmap': False}}){named}"
            )
        what = kind.WhichOneof("value").removesuffix("_type")
        by = f", made by {made[0].op_type}" if made else ""
        return (
            f"{self._where}: its output {output} is a {what}{by}, not a tensor; name the tensor that "
            "is the score with --output (it may lie within the graph), or export the model with a "
            "tensor as its output"
        )

    def _check_operators(self) -> None:
        if self.model.functions:
            raise BundleRefusedError(
                f"{self._where}: has functions of its own ({self.model.functions[0].name}); inline "
                "them with onnx.inliner.inline_local_functions"
            )
        used = set()
        for node in self.model.graph.node:
            domain = node.domain or "ai.onnx"
            if domain not in OPSETS:
                raise BundleRefusedError(
                    f"{self._where}: has the operator {node.op_type} of the domain {domain}; accepted "
                    f"are those of {' and '.join(OPSETS)}: export the model without custom or "
                    "optimised operators"
                )
            if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
                raise BundleRefusedError(
                    f"{self._where}: has control flow ({node.op_type}), whose time and memory have "
                    "no bound; export the model without it"
                )
            if node.op_type in _RANDOM:
                raise BundleRefusedError(
                    f"{self._where}: has the operator {node.op_type}, so that its scores are random; "
                    "export the model for inference (PyTorch: model.eval())"
                )
            used.add(domain)
        opsets = {each.domain or "ai.onnx": each.version for each in self.model.opset_import}
        for domain in sorted(used):
            first, last = OPSETS[domain]
            if not first <= opsets.get(domain, 0) <= last:
                raise BundleRefusedError(
                    f"{self._where}: uses opset {opsets.get(domain, 0)} of {domain}; accepted are "
                    f"{first} to {last}: convert the model with target_opset (PyTorch: opset_version) "
                    f"{last} or lower"
                )

    def _check_tensors(self) -> None:
        for tensor in _tensors(self.model.graph):
            if tensor.data_location == _EXTERNAL or tensor.external_data:
                raise BundleRefusedError(
                    f"{self._where}: keeps the tensor {tensor.name} in another file; {_INLINE}"
                )

    def _check_order(self) -> None:
        """Refuse operators before those that make their inputs, which ONNX Runtime accepts."""
        graph = self.model.graph
        known = {value.name for items in _named(graph) for value in items}
        known.update(sparse.values.name for sparse in graph.sparse_initializer)
        made = {name for node in graph.node for name in node.output}
        for node in graph.node:
            for name in node.input:
                if name and name not in known:
                    fault, remedy = "nothing makes", "export the model again"
                    if name in made:
                        fault, remedy = "a later operator makes", _SORT
                    raise BundleRefusedError(
                        f"{self._where}: the operator {node.op_type} takes {name}, which {fault}; "
                        f"{remedy}"
                    )
            known.update(node.output)

    def _checked_input(self) -> Any:
        graph = self.model.graph
        constants = {tensor.name for tensor in graph.initializer}
        inputs = [value for value in graph.input if value.name not in constants]
        if len(inputs) != 1:
            raise BundleRefusedError(
                f"{self._where}: has {len(inputs)} inputs ({_listed(v.name for v in inputs)}); a "
                f"bundle's model has one, of shape [events, features]: {_ONE_INPUT}"
            )
        (value,) = inputs
        tensor = value.type.tensor_type
        if value.type.WhichOneof("value") != "tensor_type" or tensor.elem_type != _FLOAT:
            raise BundleRefusedError(
                f"{self._where}: its input {value.name} is not float32; {_ONE_INPUT}"
            )
        dims = [dim.dim_value for dim in tensor.shape.dim]
        if len(dims) != 2 or dims[0] or not dims[1]:
            shape = ", ".join(str(dim or "any") for dim in dims)
            raise BundleRefusedError(
                f"{self._where}: its input {value.name} has the shape [{shape}]; it must be [any, N] "
                f"for N features, so that it takes any number of events: {_ONE_INPUT}"
            )
        return value


def import_or_refuse(package: str, where: str) -> Any:
    """Import a package of the extra `onnx`, which a process without such a model does not load.

    Raises:
        BundleRefusedError: if it is not installed.
    """
    import importlib  # noqa: PLC0415

    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise BundleRefusedError(
            f"{where}: is a model in ONNX, and {package} cannot be imported ({error}); install the "
            "extra `onnx` (on a GPU: `onnx-gpu`)"
        ) from error


def _named(graph: Any) -> tuple[Iterable[Any], Iterable[Any]]:
    return graph.initializer, graph.input


def _tensors(graph: Any) -> Iterator[Any]:
    """All tensors of a graph without subgraphs."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
