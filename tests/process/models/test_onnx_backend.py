"""Margins and contributions of models in ONNX; equal bits for an event whatever is beside it."""

from __future__ import annotations

import gc
import json
import math
import subprocess
import sys
import tracemalloc
import weakref
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest

from base.errors import BundleRefusedError, CudaUnusableError, DeviceLostError
from models.backend import NonFiniteFeatureError, onnx_backend, open_backend
from models.backend.onnx_backend import OnnxBackend
from models.backend.sampled_shapley import SampledShapley
from models.bundle import Bundle, load_bundle, verify
from models.bundle.onnx_graph import OPSETS
from models.bundle.onnx_model import BLOCK, CPU, REFERENCES, Blocks, OnnxModel, open_session
from models.bundle.pack_onnx import SampleRows, pack_onnx
from models.bundle.packed import Names
from tests.support.bundles import edit_manifest, sum_again
from tests.support.onnx_models import embedding, margins_of, network, saved
from tests.support.small_model import matrix_of

COLUMNS = 15
Matrix = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    path = saved(network(COLUMNS), folder / "m.onnx")
    names = Names(generate=True)
    sample = SampleRows(np.exp(matrix_of(300, COLUMNS, seed=2)))
    options: Any = {"name": "net", "version": "1", "kind": "probability", "sample": sample}
    pack_onnx(path, folder / "b", names=names, **options)
    return folder / "b"


@pytest.fixture
def bundle(packed: Path) -> Bundle:
    return load_bundle(packed)


@pytest.fixture(scope="module")
def matrix() -> Matrix:
    return np.ascontiguousarray(np.exp(matrix_of(1_000, COLUMNS)))


def copied(packed: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in packed.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def alone(margins: Callable[[Matrix], Matrix], matrix: Matrix) -> Matrix:
    return np.concatenate([margins(row[None]) for row in matrix])


def bits(margins: Matrix) -> npt.NDArray[np.uint32]:
    return margins.view(np.uint32)


def test_margins_are_those_of_the_network(bundle: Bundle, matrix: Matrix) -> None:
    margins = open_backend(bundle, "cpu", threads=1).margins(matrix)
    assert margins.dtype == np.float32
    expected = margins_of(network(COLUMNS), matrix)
    np.testing.assert_allclose(margins, expected, rtol=1e-5, atol=1e-5)


def test_onnx_runtime_gives_other_bits_for_a_row_alone(bundle: Bundle, matrix: Matrix) -> None:
    """The reason for blocks: without them the test below would fail for this very model."""
    model = bundle.model
    assert isinstance(model, OnnxModel)

    def free(rows: Matrix) -> Matrix:
        probabilities: Matrix = model.session.run(["y"], {"x": rows})[0][:, 0]
        return probabilities

    assert (bits(alone(free, matrix)) != bits(free(matrix))).any()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_an_event_has_the_same_bits_alone_and_in_any_batch(
    bundle: Bundle, matrix: Matrix, threads: int
) -> None:
    expected = open_backend(bundle, "cpu", threads=1).margins(matrix)
    backend = open_backend(bundle, "cpu", threads=threads)
    np.testing.assert_array_equal(bits(backend.margins(matrix)), bits(expected))
    np.testing.assert_array_equal(bits(alone(backend.margins, matrix)), bits(expected))
    random = np.random.default_rng(1)
    for size in (2, 3, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 5, 999):
        rows = random.permutation(len(matrix))[:size]
        np.testing.assert_array_equal(bits(backend.margins(matrix[rows])), bits(expected[rows]))


def test_a_probability_of_0_or_1_has_a_finite_margin(tmp_path: Path) -> None:
    path = saved(network(1), tmp_path / "m.onnx")
    names, sample = Names(generate=True), SampleRows(matrix_of(100, 1))
    options: Any = {"name": "n", "version": "1", "kind": "probability", "sample": sample}
    pack_onnx(path, tmp_path / "b", names=names, **options)
    backend = open_backend(load_bundle(tmp_path / "b"), "cpu", threads=1)
    extreme = np.array([[0.0], [1e38], [-1e38]], np.float32)
    assert np.isfinite(backend.margins(extreme)).all()


@pytest.fixture
def embedded(tmp_path: Path) -> Bundle:
    path = saved(embedding([-1.5, 0.5, 2.5, 7.0]), tmp_path / "m.onnx")
    sample = SampleRows(np.arange(4, dtype=np.float32)[:, None])
    options: Any = {"name": "n", "version": "1", "kind": "margin", "sample": sample}
    pack_onnx(path, tmp_path / "b", names=Names(generate=True), **options)
    return load_bundle(tmp_path / "b")


@pytest.mark.parametrize("threads", [1, 2])
def test_events_for_which_an_operator_fails_are_nan_and_the_others_are_scored(
    embedded: Bundle, threads: int
) -> None:
    backend = open_backend(embedded, "cpu", threads=threads)
    codes = np.arange(3 * BLOCK + 1) % 4
    rows, wrong = codes.astype(np.float32)[:, None], [0, 5, BLOCK - 1, BLOCK, 3 * BLOCK]
    rows[wrong] = [[4.0], [1e30], [-5.0], [4.0], [9.0]]
    margins = backend.margins(rows)
    assert np.flatnonzero(np.isnan(margins)).tolist() == wrong
    expected = np.array([-1.5, 0.5, 2.5, 7.0], np.float32)[codes]
    expected[wrong] = np.nan
    np.testing.assert_array_equal(margins, expected)


def test_an_error_that_no_event_causes_is_raised(
    embedded: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> None:
        raise RuntimeError("Failed to allocate memory")

    backend = open_backend(embedded, "cpu", threads=1)
    monkeypatch.setattr(Blocks, "_run", exhausted)
    with pytest.raises(RuntimeError, match="Failed to allocate memory"):
        backend.margins(np.zeros((3, 1), np.float32))


def test_no_events_have_no_margins(bundle: Bundle) -> None:
    backend = open_backend(bundle, "cpu", threads=2)
    assert backend.margins(np.empty((0, COLUMNS), np.float32)).shape == (0,)
    assert backend.contributions(np.empty((0, COLUMNS), np.float32)).shape == (0, COLUMNS + 1)


def test_infinite_features_are_refused(bundle: Bundle, matrix: Matrix) -> None:
    backend = open_backend(bundle, "cpu", threads=1)
    changed = matrix[:3].copy()
    changed[1, 2] = np.inf
    for compute in (backend.margins, backend.contributions):
        with pytest.raises(NonFiniteFeatureError, match="infinite values in f2;"):
            compute(changed)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux lists threads in /proc")
def test_a_session_starts_no_threads_that_could_spin(packed: Path) -> None:
    code = (
        "import os, time, numpy as np, onnxruntime\n"
        "from models.backend import open_backend\n"
        "from models.bundle import load_bundle\n"
        f"bundle = load_bundle(__import__('pathlib').Path({str(packed)!r}))\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "backend = open_backend(bundle, 'cpu', threads=1)\n"
        f"backend.margins(np.zeros((1000, {COLUMNS}), np.float32))\n"
        "print(before, len(os.listdir('/proc/self/task')))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, ran.stdout.split())
    # The one more is the backend's own, and it sleeps.
    assert after <= before + 1


def test_contributions_and_bias_add_up_to_the_margin(bundle: Bundle, matrix: Matrix) -> None:
    backend = open_backend(bundle, "cpu", threads=2)
    explained = matrix[:20]
    contributions = backend.contributions(explained)
    assert contributions.dtype == np.float32
    np.testing.assert_allclose(contributions.sum(axis=1), backend.margins(explained), atol=1e-5)
    references = bundle.golden.vectors[1 : 1 + REFERENCES]
    assert contributions[:, -1] == pytest.approx(backend.margins(references).mean())
    np.testing.assert_array_equal(alone(backend.contributions, explained), contributions)


def shapley(
    margins: Callable[[Matrix], Matrix], rows: Matrix, references: Matrix
) -> npt.NDArray[np.float64]:
    """Shapley values by their definition: over all orders and all references."""
    columns = rows.shape[1]
    exact = np.zeros(rows.shape)
    for reference in references:
        for order in permutations(range(columns)):
            known = np.tile(reference, (len(rows), 1))
            before = margins(known)
            for feature in order:
                known[:, feature] = rows[:, feature]
                after = margins(known)
                exact[:, feature] += after - before
                before = after
    return exact / (math.factorial(columns) * len(references))


def test_contributions_are_near_the_shapley_values(matrix: Matrix) -> None:
    model, some = network(5), np.nan_to_num(matrix[:, :5])

    def margins(rows: Matrix) -> Matrix:
        found: Matrix = margins_of(model, rows).astype(np.float32)
        return found

    rows, references = some[:10], some[10 : 10 + REFERENCES]
    exact = shapley(margins, rows, references)
    sampled = SampledShapley(margins, references)(margins, rows)[:, :-1]
    np.testing.assert_allclose(sampled, exact, atol=0.1 * np.abs(exact).max())
    assert (sampled.argmax(axis=1) == exact.argmax(axis=1)).mean() >= 0.9


def test_contributions_are_exact_where_features_interact_in_pairs() -> None:
    random = np.random.default_rng(3)
    single, pairs = random.normal(size=4), np.triu(random.normal(size=(4, 4)), 1)

    def margins(rows: Matrix) -> Matrix:
        known = rows.astype(np.float64)
        values = known @ single + np.einsum("ni,ij,nj->n", known, pairs, known)
        found: Matrix = values.astype(np.float32)
        return found

    rows, reference = (random.normal(size=(n, 4)).astype(np.float32) for n in (3, 1))
    found = SampledShapley(margins, reference)(margins, rows)[:, :-1]
    np.testing.assert_allclose(found, shapley(margins, rows, reference), atol=1e-5)


def test_one_feature_contributes_all() -> None:
    references = np.array([[1.0], [2.0]], np.float32)

    def margins(rows: Matrix) -> Matrix:
        return 2 * rows[:, 0]

    found = SampledShapley(margins, references)(margins, np.array([[3.0]], np.float32))
    assert found.tolist() == [[3.0, 3.0]]


def test_reasons_of_a_wide_model_take_bounded_memory() -> None:
    """Golden: contributions of a sum are the differences from the mean of the references."""
    columns, sizes = 300, []
    weights = np.arange(columns, dtype=np.float32) / columns

    def margins(rows: Matrix) -> Matrix:
        sizes.append(rows.size)
        return (rows @ weights).astype(np.float32)

    references = matrix_of(REFERENCES, columns, seed=3)
    references, rows = np.nan_to_num(references), np.nan_to_num(matrix_of(2, columns, seed=4))
    explain = SampledShapley(margins, references)
    tracemalloc.start()
    try:
        contributions = explain(margins, rows)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(sizes) > 2 * 2 * REFERENCES * (columns - 1) * columns
    assert max(sizes) <= 2**20
    assert peak < 25e6
    expected = (rows - references.mean(axis=0)) * weights
    np.testing.assert_allclose(contributions[:, :-1], expected, atol=1e-4)


def test_a_backend_that_was_swapped_out_is_freed_at_once(bundle: Bundle, matrix: Matrix) -> None:
    """Objects from before the loop are frozen: no collection of garbage would find a cycle."""
    backend = open_backend(bundle, "cpu", threads=2)
    backend.margins(matrix)
    backend.contributions(matrix[:1])
    alive = weakref.ref(backend)
    gc.disable()
    try:
        del backend
        assert alive() is None
    finally:
        gc.enable()


def test_a_damaged_weight_is_found(packed: Path, tmp_path: Path) -> None:
    folder = copied(packed, tmp_path)
    model = onnx.load(folder / "model.onnx")
    weights = next(each for each in model.graph.initializer if each.name == "w1")
    weights.raw_data = np.frombuffer(weights.raw_data, np.float32).copy()[::-1].tobytes()
    saved(model, folder / "model.onnx")
    with pytest.raises(BundleRefusedError, match=r"model\.onnx: has the SHA-256"):
        load_bundle(folder)
    sum_again(folder)
    with pytest.raises(BundleRefusedError, match="gives other margins for"):
        verify(folder)


def test_a_bundle_whose_memory_an_event_decides_is_not_loaded(packed: Path, tmp_path: Path) -> None:
    """Whoever put it into the location did not use `model pack`."""
    folder = copied(packed, tmp_path)
    model = onnx.load(folder / "model.onnx")
    first = onnx.helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0)
    second = onnx.helper.make_node("Range", ["fill", "largest", "one"], ["many"])
    model.graph.node.extend([first, second])
    saved(model, folder / "model.onnx")
    sum_again(folder)
    with pytest.raises(BundleRefusedError, match="Range computes the size of its output many from"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"format": "xgboost", "objective": "binary:logistic", "trees": 1},
            "format: xgboost has no",
        ),
        ({"objective": "binary:logistic"}, "objective is 'binary:logistic'; format: onnx has none"),
        ({"missing": -1.0}, "missing is -1.0 and fraud_class None; format: onnx has neither"),
        ({"output": None}, "output is None; format: onnx needs it"),
        (
            {"output": {"name": "z", "kind": "margin"}},
            "the outputs y; the manifest says 15 features",
        ),
        ({"golden": 16}, "has 16 golden vectors, a model in ONNX needs more than 16"),
        ({"format": "tflite"}, "Input should be 'xgboost' or 'onnx'"),
        (
            {"format": "xgboost", "output": None, "objective": "binary:logistic", "trees": 1},
            "says format: xgboost, for which the model is model.ubj or model.json",
        ),
    ],
)
def test_a_manifest_of_another_model_is_refused(
    packed: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    folder = copied(packed, tmp_path)
    edit_manifest(folder, lambda manifest: manifest.update(change))
    with pytest.raises(BundleRefusedError) as refused:
        load_bundle(folder)
    assert said in str(refused.value)


def test_this_onnx_runtime_knows_all_accepted_opsets(tmp_path: Path) -> None:
    model = network(2)
    for domain, (first, last) in OPSETS.items():
        for version in (max(first, 20), last) if domain == "ai.onnx" else (first, last):
            changed = onnx.ModelProto()
            changed.CopyFrom(model)
            for imported in changed.opset_import:
                if (imported.domain or "ai.onnx") == domain:
                    imported.version = version
            content = changed.SerializeToString()
            assert onnxruntime.InferenceSession(content, providers=[CPU]).get_outputs()


def test_the_format_of_onnx_runtime_itself_is_refused(tmp_path: Path) -> None:
    """A file can be read as both formats, and only the graph in ONNX is checked."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "m.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(network(2).SerializeToString(), options, providers=[CPU])
    content = (tmp_path / "m.ort").read_bytes()
    assert content[4:8] == b"ORTM"
    with pytest.raises(BundleRefusedError, match=r"m: ONNX Runtime .* cannot load it"):
        open_session(content, "m", [CPU])


def test_a_process_without_such_a_model_does_not_load_onnx_runtime(tmp_path: Path) -> None:
    code = (
        "import json, sys, models.backend, models.bundle, worker.app, tools.cli.model.pack\n"
        "print(json.dumps(sorted({'onnx', 'onnxruntime'} & set(sys.modules))))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) == []


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_its_packages_the_remedy_is_named(
    packed: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BundleRefusedError, match=f"{package} cannot be imported.*extra `onnx`"):
        load_bundle(packed)


@pytest.mark.skipif(
    onnx_backend.CUDA in onnxruntime.get_available_providers(), reason="there is a GPU here"
)
def test_a_gpu_that_cannot_be_had_is_refused_with_the_remedy(bundle: Bundle) -> None:
    with pytest.raises(CudaUnusableError, match="install the extra `onnx-gpu` instead of `onnx`"):
        open_backend(bundle, "cuda")
    assert open_backend(bundle, "auto").device == "cpu"


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the CPU stand in for a GPU."""
    monkeypatch.setattr(onnx_backend, "CUDA", CPU)
    monkeypatch.setattr(onnx_backend, "_CUDA_OPTIONS", {})


def test_a_backend_on_a_gpu_gives_the_margins_of_the_model(
    bundle: Bundle, matrix: Matrix, stand_in: None
) -> None:
    backend = open_backend(bundle, "cuda", threads=2)
    assert backend.device == "cuda"
    on_cpu = open_backend(bundle, "cpu", threads=1)
    np.testing.assert_allclose(backend.margins(matrix), on_cpu.margins(matrix), atol=1e-5)
    contributions = backend.contributions(matrix[:3])
    np.testing.assert_allclose(contributions, on_cpu.contributions(matrix[:3]), atol=1e-5)


def test_a_gpu_that_fails_ends_the_process(
    bundle: Bundle, matrix: Matrix, stand_in: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise RuntimeError("CUDA failure 719: unspecified launch failure")

    backend = open_backend(bundle, "cuda")
    monkeypatch.setattr(Blocks, "margins", lost)
    for compute in (backend.margins, backend.contributions):
        with pytest.raises(DeviceLostError, match=r"unspecified launch failure.*nvidia-smi"):
            compute(matrix[:3])


def test_margins_of_a_gpu_are_near_those_of_a_cpu(bundle: Bundle, matrix: Matrix) -> None:
    if onnx_backend.CUDA not in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has no CUDA; install the extra onnx-gpu instead of onnx")
    on_gpu = open_backend(bundle, "cuda").margins(matrix)
    on_cpu = open_backend(bundle, "cpu").margins(matrix)
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-4, atol=1e-4)


def test_threads_take_whole_blocks(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[int] = []
    real = Blocks.margins

    def noted(blocks: Blocks, rows: Matrix) -> Matrix:
        shares.append(len(rows))
        return real(blocks, rows)

    monkeypatch.setattr(Blocks, "margins", noted)
    backend = open_backend(bundle, "cpu", threads=2)
    assert isinstance(backend, OnnxBackend)
    shares.clear()
    backend.margins(np.zeros((5 * BLOCK + 1, COLUMNS), np.float32))
    assert sorted(shares) == [2 * BLOCK + 1, 3 * BLOCK]
