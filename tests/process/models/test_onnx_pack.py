"""What a model in ONNX must be like to be packed; other models are refused with the remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from base.errors import BundleRefusedError
from models.bundle import Limits, load_bundle
from models.bundle.onnx_graph import OPSETS
from models.bundle.pack_onnx import EXPECTED_FILE, REQUEST_FILE, SAMPLE_FILE, SampleRows, pack_onnx
from models.bundle.packed import Names
from models.bundle.reduce_onnx import reduce_onnx
from models.calibration import logistic
from tests.support.onnx_models import margins_of, model_of, network, saved, two_classes
from tests.support.small_model import NAMES, feature_set, matrix_of

ZIPMAP = "zipmap=False (skl2onnx: options={'zipmap': False}), or name the tensor that it is made"
IMPUTER = "a pipeline that begins with SimpleImputer"
node = helper.make_node


def reduced(
    model: onnx.ModelProto | bytes, folder: Path, kind: str = "probability", **request: Any
) -> dict[str, Any]:
    """Reduce a model in this process; a child process does it in `pack_onnx`."""
    path = folder / "given.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    request = {"output": None, "golden": 32, "seed": 0, "kind": kind, **request}
    (folder / REQUEST_FILE).write_text(json.dumps(request))
    if not (folder / SAMPLE_FILE).exists():
        columns = 2 if isinstance(model, bytes) else columns_of(model)
        np.save(folder / SAMPLE_FILE, matrix_of(500, columns))
    return reduce_onnx(path, folder)


def columns_of(model: onnx.ModelProto) -> int:
    shapes = [value.type.tensor_type.shape.dim for value in model.graph.input]
    return int(shapes[0][-1].dim_value) if shapes else 1


def identity(columns: int = 4, **changes: Any) -> onnx.ModelProto:
    return model_of([node("Identity", ["x"], ["y"])], {}, columns, **changes)


def of_maps() -> onnx.ModelProto:
    model = two_classes(network(4))
    maps = node("ZipMap", ["both"], ["maps"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    model.graph.node.append(maps)
    model.graph.output[0].CopyFrom(onnx.ValueInfoProto(name="maps"))
    model.graph.output[0].type.sequence_type.elem_type.map_type.key_type = TensorProto.INT64
    return model


def of_sequence() -> onnx.ModelProto:
    """An ensemble that gives the scores of its members one by one."""
    model = network(4)
    model.graph.node.append(node("SequenceConstruct", ["y", "y"], ["members"]))
    model.graph.output[0].CopyFrom(
        helper.make_tensor_sequence_value_info("members", TensorProto.FLOAT, None)
    )
    return model


def of_half_floats() -> onnx.ModelProto:
    model = network(4)
    model.graph.node.append(node("Cast", ["y"], ["half"], to=TensorProto.FLOAT16))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("half", TensorProto.FLOAT16, None))
    return model


def of_label_alone() -> onnx.ModelProto:
    model = network(4)
    model.graph.node.append(node("Cast", ["y"], ["label"], to=TensorProto.INT64))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("label", TensorProto.INT64, None))
    return model


def external() -> onnx.ModelProto:
    model = network(4)
    tensor = model.graph.initializer[2]
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    return model


def external_attribute() -> onnx.ModelProto:
    value = numpy_helper.from_array(np.array([1], np.float32), "secret")
    value.ClearField("raw_data")
    value.data_location = TensorProto.EXTERNAL
    nodes = [node("Constant", [], ["c"], value=value), node("Add", ["x", "c"], ["y"])]
    return model_of(nodes, {}, 1)


def conditional() -> onnx.ModelProto:
    branch = helper.make_graph(
        [node("Identity", ["x"], ["z"])],
        "branch",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )
    choose = node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)
    return model_of([choose], {"yes": np.bool_(True)}, 1)


def with_function() -> onnx.ModelProto:
    model = identity(1)
    function = helper.make_function(
        "own",
        "twice",
        ["a"],
        ["b"],
        [node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 20)],
    )
    model.functions.append(function)
    return model


def with_two_inputs() -> onnx.ModelProto:
    model = model_of([node("Add", ["x", "other"], ["y"])], {}, 1)
    model.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, ["n", 1]))
    return model


def of_size(operator: str, size: str = "size", **constants: Any) -> onnx.ModelProto:
    """The largest value of an event decides how many numbers an operator makes."""
    inputs = {
        "Range": ["zero", size, "one"],
        "ConstantOfShape": [size],
        "Expand": ["zeros", size],
        "Tile": ["zeros", size],
        "Pad": ["zeros", "pads"],
        "OneHot": ["one_of", size, "values"],
        "Resize": ["zeros", "", "", size],
    }
    nodes = [
        node("IsNaN", ["x"], ["missing"]),
        node("Where", ["missing", "fill", "x"], ["filled"]),
        node("Abs", ["filled"], ["absolute"]),
        node("ReduceMax", ["absolute"], ["largest"], keepdims=int(operator != "Range")),
        node("Cast", ["largest"], ["whole"], to=TensorProto.INT64),
        node("Flatten" if operator != "Range" else "Identity", ["whole"], ["flat"]),
        node("Reshape", ["flat", "single"], ["size"]),
        node("Concat", ["one_of", "size"], ["pads"], axis=0),
        node(operator, inputs[operator], ["many"], name="grow"),
        node("Cast", ["many"], ["floats"], to=TensorProto.FLOAT),
        node("ReduceSum", ["floats"], ["sum"], keepdims=0),
        node("Mul", ["sum", "fill"], ["nothing"]),
        node("Add", ["filled", "nothing"], ["y"]),
    ]
    given = {
        "fill": np.float32(0),
        "zero": np.int64(0),
        "one": np.int64(1),
        "zeros": np.zeros(1, np.float32),
        "values": np.array([0, 1], np.float32),
        "one_of": np.array([1]),
        "single": np.array([] if operator == "Range" else [1], np.int64),
    }
    return model_of(nodes, {**given, **constants}, 1)


def out_of_order() -> onnx.ModelProto:
    return model_of([node("Sigmoid", ["a"], ["y"]), node("Abs", ["x"], ["a"])], {}, 1)


def with_two_outputs() -> onnx.ModelProto:
    nodes = [node("Sigmoid", ["x"], ["first"]), node("Neg", ["x"], ["second"])]
    return model_of(nodes, {}, 1, outputs=["first", "second"])


def without_shape() -> onnx.ModelProto:
    model = identity()
    model.graph.input[0].type.tensor_type.shape.dim[1].ClearField("dim_value")
    return model


def of_opset(version: int, domain: str = "") -> onnx.ModelProto:
    return identity(1, opsets={domain: version})


REFUSED: list[tuple[Callable[[], onnx.ModelProto | bytes], str]] = [
    (lambda: b"\x08\x09\x12\x08skl2onnx\x3a\xff\xff\xff\x07", "is cut off or damaged"),
    (onnx.ModelProto, "has no operators"),
    (of_maps, f"its output maps is a sequence of maps (ZipMap), not a tensor; convert .*{ZIPMAP}"),
    (
        of_sequence,
        "its output members is a sequence, made by SequenceConstruct, not a tensor; name",
    ),
    (of_label_alone, "its output label is a tensor(int64), not a tensor of floats, so it is no"),
    (external, "keeps the tensor w1 in another file; write it to one file"),
    (external_attribute, "keeps the tensor secret in another file"),
    (conditional, "has control flow (If), whose time and memory have no bound"),
    (with_function, "has functions of its own (twice); inline them"),
    (
        lambda: model_of([node("Gelu", ["x"], ["y"], domain="com.microsoft")], {}, 1),
        "has the operator Gelu of the domain com.microsoft; accepted are those of ai.onnx and",
    ),
    (
        lambda: model_of([node("RandomUniformLike", ["x"], ["y"])], {}, 1),
        "has the operator RandomUniformLike, so that its scores are random",
    ),
    (lambda: of_opset(8), "uses opset 8 of ai.onnx; accepted are 9 to"),
    (lambda: of_opset(OPSETS["ai.onnx"][1] + 1), "convert the model with target_opset"),
    (with_two_inputs, r"has 2 inputs (x, other); a bundle's model has one"),
    (
        out_of_order,
        "the operator Sigmoid takes a, which a later operator makes; sort them: onnxruntime.",
    ),
    (
        lambda: model_of([node("Add", ["x", "lost"], ["y"])], {}, 1),
        "the operator Add takes lost, which nothing makes; export the model again",
    ),
    (lambda: identity(kind=TensorProto.DOUBLE), "its input x is not float32; convert the model"),
    (lambda: identity(kind=TensorProto.INT64), "its input x is not float32"),
    (lambda: identity(batch=1), "has the shape [1, 4]; it must be [any, N]"),
    (without_shape, "has the shape [any, any]; it must be [any, N] for N features"),
    (with_two_outputs, "has the outputs first, second; name the one that is the score with"),
    (
        lambda: identity(3),
        "its output y has the shape [N, 3] for N events; accepted are [N], [N, 1]",
    ),
    (
        lambda: model_of([node("ReduceMean", ["x"], ["y"], keepdims=0)], {}, 1),
        "its output y has the shape [] for N events",
    ),
    (
        lambda: model_of([node("ReduceSum", ["x"], ["y"])], {}, 4),
        "its output y has the shape [1, 1] for N events",
    ),
    (
        lambda: network(4, last=None),
        "which are no probabilities; if it is the log-odds, give --marg",
    ),
    (lambda: identity(2), "which are no probabilities of two classes"),
    (
        lambda: model_of([node("Log", ["x"], ["l"]), node("Sigmoid", ["l"], ["y"])], {}, 1),
        "is [nan] for the features [-",
    ),
    (
        lambda: model_of([node("Sigmoid", ["x"], ["y"])], {}, 1),
        f"gives no finite number if a feature is missing (NaN) (column 1 of 1); .*{IMPUTER}",
    ),
    (
        lambda: model_of(
            [
                node("IsNaN", ["x"], ["missing"]),
                node("Where", ["missing", "fill", "x"], ["filled"]),
                node("Softmax", ["filled"], ["y"], axis=0),
            ],
            {"fill": np.float32(0)},
            1,
        ),
        "its operators mix the events of a batch, such as a mean, a softmax",
    ),
    (
        lambda: model_of(
            [
                node("IsNaN", ["x"], ["missing"]),
                node("Where", ["missing", "fill", "x"], ["filled"]),
                node("ReduceMax", ["filled"], ["largest"]),
                node("Greater", ["largest", "bound"], ["far"]),
                node("Where", ["far", "fill", "filled"], ["kept"]),
                node("Sigmoid", ["kept"], ["y"]),
            ],
            {"fill": np.float32(0), "bound": np.float32(1e6)},
            1,
        ),
        "gives 0 for an event among others, and",
    ),
]


@pytest.mark.parametrize(("make", "said"), REFUSED, ids=[said[:30] for _, said in REFUSED])
def test_a_model_that_no_worker_can_serve_is_refused(
    tmp_path: Path, make: Callable[[], onnx.ModelProto | bytes], said: str
) -> None:
    with pytest.raises(BundleRefusedError) as refused:
        reduced(make(), tmp_path)
    message = str(refused.value)
    for part in said.split(".*"):
        assert part in message
    assert message.startswith(f"{tmp_path / 'given.onnx'}: ")
    assert not (tmp_path / "model.onnx").exists()


GROWING = ("Range", "ConstantOfShape", "Expand", "Tile", "Pad", "OneHot", "Resize")


@pytest.mark.parametrize("operator", GROWING)
def test_an_event_does_not_decide_how_much_memory_a_model_takes(
    tmp_path: Path, operator: str
) -> None:
    size = "pads" if operator == "Pad" else "size"
    with pytest.raises(BundleRefusedError) as refused:
        reduced(of_size(operator), tmp_path, kind="margin")
    assert (
        f"operator {operator} (grow) computes the size of its output many from {size}, which"
        in (str(refused.value))
    )
    assert "export the model with a constant in the place of" in str(refused.value)


@pytest.mark.parametrize("operator", [each for each in GROWING if each != "Pad"])
def test_a_size_that_is_a_constant_is_accepted(tmp_path: Path, operator: str) -> None:
    """The same graphs work, so the size alone is what was refused."""
    size = np.int64(3) if operator == "Range" else np.array([3])
    model = of_size(operator, "constant", constant=size)
    assert reduced(model, tmp_path, kind="margin")["columns"] == 1


def test_a_size_from_a_shape_is_accepted(tmp_path: Path) -> None:
    """As exporters write it: a bias for each row, in an array as large as the input."""
    nodes = [
        node("IsNaN", ["x"], ["missing"]),
        node("Where", ["missing", "fill", "x"], ["filled"]),
        node("Shape", ["filled"], ["shape"]),
        node("Gather", ["shape", "first"], ["rows"]),
        node("Concat", ["rows", "one"], ["column"], axis=0),
        node("ConstantOfShape", ["column"], ["zeros"]),
        node("Expand", ["zeros", "column"], ["expanded"]),
        node("Reshape", ["filled", "column"], ["again"]),
        node("Add", ["again", "expanded"], ["y"]),
    ]
    constants = {"fill": np.float32(0), "first": np.array([0]), "one": np.array([1])}
    assert reduced(model_of(nodes, constants, 1), tmp_path, kind="margin")["columns"] == 1


def test_an_output_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        BundleRefusedError, match="--output: there is no score; it has the outputs y"
    ):
        reduced(network(4), tmp_path, output="score")


@pytest.mark.parametrize("label_as_well", [False, True])
def test_the_only_output_of_half_floats_is_the_score(tmp_path: Path, label_as_well: bool) -> None:
    model = of_half_floats()
    if label_as_well:
        model.graph.node.append(node("Cast", ["y"], ["label"], to=TensorProto.INT64))
        label = helper.make_tensor_value_info("label", TensorProto.INT64, None)
        model.graph.output.append(label)
    assert reduced(model, tmp_path)["output"] == "half"
    margins, vectors = (np.load(tmp_path / f"golden_{name}.npy") for name in ("margins", "vectors"))
    np.testing.assert_allclose(margins, margins_of(network(4), vectors), atol=0.01)


@pytest.mark.parametrize("kind", [TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING])
def test_a_label_is_no_score(tmp_path: Path, kind: int) -> None:
    model = network(4)
    model.graph.node.append(node("Cast", ["y"], ["label"], to=kind))
    with pytest.raises(
        BundleRefusedError, match=r"output label is a tensor\(\w+\), not a tensor of"
    ):
        reduced(model, tmp_path, output="label")


@pytest.mark.parametrize(
    ("labels", "named"),
    [({}, ""), ({"classlabels_strings": ["fraud", "legit"]}, ", legit of fraud and legit")],
)
def test_which_of_two_classes_is_the_score_is_noted(
    tmp_path: Path, labels: dict[str, list[str]], named: str
) -> None:
    model = two_classes(network(4))
    if labels:
        weights: dict[str, Any] = {"coefficients": [0.0, 0.0, -1.0, 1.0], "intercepts": [0.0, 0.0]}
        classify = node(
            "LinearClassifier",
            ["both"],
            ["label", "of_labels"],
            domain="ai.onnx.ml",
            post_transform="SOFTMAX",
            **weights | labels,
        )
        model.graph.node.append(classify)
        model.graph.output[0].name = "of_labels"
    said = f"the score is the probability of the second class{named}; that must be fraud"
    assert reduced(model, tmp_path)["notes"][0] == said
    assert "second class" not in " ".join(reduced(network(4), tmp_path)["notes"])


def test_two_columns_of_margins_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleRefusedError, match="two values for each event, and a margin is one"):
        reduced(identity(2), tmp_path, kind="margin")


@pytest.mark.parametrize("shape", ["[N, 1]", "[N, 2]", "[N]"])
def test_the_golden_margins_are_those_of_the_model(tmp_path: Path, shape: str) -> None:
    model = network(4)
    if shape == "[N, 2]":
        two_classes(model)
    if shape == "[N]":
        model.graph.initializer.append(numpy_helper.from_array(np.array([1]), "last"))
        model.graph.node.append(node("Squeeze", ["y", "last"], ["flat"]))
        model.graph.output[0].name = "flat"
    result = reduced(model, tmp_path)
    vectors, margins = (np.load(tmp_path / f"golden_{name}.npy") for name in ("vectors", "margins"))
    assert result["columns"] == 4
    assert vectors.shape == (32, 4)
    assert np.isnan(vectors[0]).all()
    assert np.isnan(vectors[1:]).any()
    np.testing.assert_allclose(margins, margins_of(network(4), vectors), rtol=1e-4, atol=1e-4)


def test_what_the_score_does_not_need_is_left_out(tmp_path: Path) -> None:
    whole = of_maps()
    whole.graph.node.append(node("RandomNormalLike", ["x"], ["noise"]))
    whole.graph.output.append(helper.make_tensor_value_info("noise", TensorProto.FLOAT, None))
    assert reduced(whole, tmp_path, output="both")["output"] == "both"
    model = onnx.load(tmp_path / "model.onnx")
    assert [value.name for value in model.graph.output] == ["both"]
    assert not {"ZipMap", "RandomNormalLike"} & {each.op_type for each in model.graph.node}
    margin = reduced(network(4), tmp_path, kind="margin", output="margin")
    assert margin["output"] == "margin"
    assert "y" not in {
        name for each in onnx.load(tmp_path / "model.onnx").graph.node for name in each.output
    }


def test_the_model_of_a_bundle_is_packed_again(tmp_path: Path) -> None:
    """Its output has no type."""
    reduced(network(4), tmp_path)
    again = onnx.load(tmp_path / "model.onnx")
    assert reduced(again, tmp_path)["output"] == "y"


def test_scores_are_compared_with_those_of_the_library(tmp_path: Path) -> None:
    model, sample = network(4), matrix_of(500, 4)
    np.save(tmp_path / SAMPLE_FILE, sample)
    expected = logistic(margins_of(model, sample))
    np.save(tmp_path / EXPECTED_FILE, expected)
    (note,) = reduced(model, tmp_path)["notes"]
    assert "differs from the expected scores of 500 rows by at most" in note
    golden = np.load(tmp_path / "golden_vectors.npy")
    assert np.isin(golden[~np.isnan(golden)], sample).all()
    expected[[7, 9]] += [3e-5, -2e-5]
    np.save(tmp_path / EXPECTED_FILE, expected)
    with pytest.raises(
        BundleRefusedError, match=r"by more than 1e-05 on 2 of 500 rows, most on row 7 of"
    ):
        reduced(model, tmp_path)
    np.save(tmp_path / SAMPLE_FILE, matrix_of(10, 5))
    with pytest.raises(BundleRefusedError, match="has 4 columns, and 5 feature names were given"):
        reduced(model, tmp_path)


def test_a_packed_model_is_a_bundle_of_its_features(tmp_path: Path) -> None:
    path, out = saved(network(4), tmp_path / "m.onnx"), tmp_path / "bundle"
    features = feature_set(*NAMES).features
    options: dict[str, Any] = {"name": "net", "version": "3", "kind": "probability"}
    options["sample"] = SampleRows(matrix_of(100, 4))
    packed = pack_onnx(path, out, names=Names(NAMES), definitions=features, golden=17, **options)
    assert [reference.name for reference in packed.verified.features] == list(NAMES)
    bundle = load_bundle(out)
    assert (bundle.objective, bundle.trees, len(bundle.golden.vectors)) == (None, None, 17)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["format"] == "onnx"
    assert manifest["output"] == {"name": "y", "kind": "probability"}
    with pytest.raises(BundleRefusedError, match="16 golden vectors; give 17 to 1000"):
        pack_onnx(path, tmp_path / "other", names=Names(NAMES), golden=16, **options)
    with pytest.raises(BundleRefusedError, match="exists already"):
        pack_onnx(path, out, names=Names(NAMES), **options)
    with pytest.raises(BundleRefusedError, match="has 4 columns, and 3 feature names were given"):
        pack_onnx(path, tmp_path / "other", names=Names(NAMES[:3]), **options)
    assert not (tmp_path / "other").exists()


def test_a_model_that_takes_all_memory_is_refused(tmp_path: Path) -> None:
    """8 GB, made of one number: constants are folded when ONNX Runtime loads the graph."""
    nodes = [
        node("ConstantOfShape", ["shape"], ["huge"]),
        node("ReduceSum", ["huge"], ["sum"], keepdims=0),
        node("Add", ["x", "sum"], ["y"]),
    ]
    bomb = saved(model_of(nodes, {"shape": np.array([2**31])}, 1), tmp_path / "bomb.onnx")
    options: dict[str, Any] = {"name": "b", "version": "1", "kind": "margin"}
    options["sample"] = SampleRows(matrix_of(100, 1))
    with pytest.raises(BundleRefusedError, match=r"needs more than .* bytes of memory"):
        pack_onnx(bomb, tmp_path / "out", names=Names(generate=True), **options)


def test_a_model_that_takes_too_long_is_refused(tmp_path: Path) -> None:
    square = np.eye(1_500, dtype=np.float32)
    nodes = [node("MatMul", ["x", "first"], ["m0"])]
    nodes += [node("MatMul", [f"m{i}", "square"], [f"m{i + 1}"]) for i in range(400)]
    nodes.append(node("MatMul", ["m400", "last"], ["y"]))
    constants = {"first": square[:1], "square": square, "last": square[:, :1]}
    slow = saved(model_of(nodes, constants, 1), tmp_path / "slow.onnx")
    options: dict[str, Any] = {"name": "b", "version": "1", "kind": "margin"}
    options["sample"] = SampleRows(matrix_of(100, 1))
    with pytest.raises(BundleRefusedError, match=r"took more than 3 s; .*verify_timeout_s"):
        pack_onnx(
            slow, tmp_path / "out", names=Names(generate=True), limits=Limits(seconds=3), **options
        )
