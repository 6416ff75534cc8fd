"""Margins: the same for every batch size, and nothing infinite or misshapen reaches the model."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st

from base.errors import ConfigurationError, CudaUnusableError, DeviceLostError
from models.backend import NonFiniteFeatureError, available_threads, cuda, open_backend
from models.backend.cuda import why_unusable
from models.bundle import Bundle, load_bundle
from models.bundle.xgboost_model import XgboostModel
from tests.support.bundles import booster_in
from tests.support.small_model import NAMES, matrix_of

ROOT = Path(__file__).parents[3]
HAS_GPU = why_unusable() is None


def bits(margins: np.ndarray) -> np.ndarray:
    return margins.view(np.uint32)


def test_margins_are_those_of_the_booster(bundle: Bundle, booster: xgb.Booster) -> None:
    matrix = matrix_of(300, len(NAMES), seed=1)
    margins = open_backend(bundle, "cpu", threads=2).margins(matrix)
    assert margins.dtype == np.float32
    assert margins.shape == (300,)
    expected = booster.predict(xgb.DMatrix(matrix), output_margin=True)
    np.testing.assert_array_equal(bits(margins), bits(expected))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("size", [1, 2, 7, 8, 63, 64, 65, 500])
def test_margins_are_bit_equal_for_every_batch_size(
    bundle: Bundle, size: int, threads: int
) -> None:
    matrix = matrix_of(1_000, len(NAMES), seed=2)
    together = open_backend(bundle, "cpu", threads=1).margins(matrix)
    backend = open_backend(bundle, "cpu", threads=threads)
    parts = [backend.margins(matrix[i : i + size]) for i in range(0, len(matrix), size)]
    np.testing.assert_array_equal(bits(np.concatenate(parts)), bits(together))


def test_a_backend_gives_no_margins_for_no_rows(bundle: Bundle) -> None:
    margins = open_backend(bundle, "cpu", threads=1).margins(np.empty((0, 4), dtype=np.float32))
    assert margins.shape == (0,)
    assert margins.dtype == np.float32


def test_nan_is_a_missing_value(bundle: Bundle, booster: xgb.Booster) -> None:
    matrix = np.full((1, 4), np.nan, dtype=np.float32)
    expected = booster.predict(xgb.DMatrix(matrix, missing=np.nan), output_margin=True)
    np.testing.assert_array_equal(open_backend(bundle, "cpu").margins(matrix), expected)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_an_infinite_value_is_refused_and_its_feature_named(bundle: Bundle, value: float) -> None:
    matrix = matrix_of(10, len(NAMES))
    matrix[3, 2] = value
    with pytest.raises(NonFiniteFeatureError, match="values in avg_amount;"):
        open_backend(bundle, "cpu").margins(matrix)


@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((2, 3), np.float32),
        np.zeros(4, np.float32),
        np.zeros((2, 4), np.float64),
        np.asfortranarray(np.zeros((2, 4), np.float32)),
        np.zeros((2, 8), np.float32)[:, ::2],
    ],
)
def test_a_backend_refuses_another_shape_dtype_or_layout(
    bundle: Bundle, matrix: np.ndarray
) -> None:
    with pytest.raises(ValueError, match="expected"):
        open_backend(bundle, "cpu").margins(matrix)


def test_a_backend_leaves_the_bundles_own_booster_alone(folder: Path) -> None:
    # a second backend, of another model version or device, may be opened on the same bundle
    bundle = load_bundle(folder)
    before = booster_in(bundle).save_config()
    open_backend(bundle, "cpu", threads=3)
    assert booster_in(bundle).save_config() == before


def test_the_device_is_named(bundle: Bundle) -> None:
    assert open_backend(bundle, "cpu").device == "cpu"
    assert open_backend(bundle, "auto").device == ("cuda" if HAS_GPU else "cpu")


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU here")
def test_a_gpu_that_cannot_be_had_is_refused_with_the_remedy(bundle: Bundle) -> None:
    with pytest.raises(CudaUnusableError, match="device: cpu") as refused:
        open_backend(bundle, "cuda")
    assert isinstance(refused.value, ConfigurationError)


@pytest.mark.gpu
def test_margins_of_a_gpu_are_near_those_of_a_cpu(bundle: Bundle) -> None:
    matrix = matrix_of(1_000, len(NAMES))
    on_gpu = open_backend(bundle, "cuda").margins(matrix)
    on_cpu = open_backend(bundle, "cpu").margins(matrix)
    assert isinstance(on_gpu, np.ndarray)
    assert on_gpu.dtype == np.float32
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-5, atol=1e-5)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the CPU stand in for a GPU."""
    monkeypatch.setattr(cuda, "DEVICE", "cpu")
    monkeypatch.setattr(cuda, "why_unusable", lambda: None)


def test_a_backend_on_a_gpu_gives_the_margins_and_contributions_of_the_booster(
    bundle: Bundle, booster: xgb.Booster, stand_in: None
) -> None:
    backend = open_backend(bundle, "cuda", threads=2)
    assert backend.device == "cuda"
    matrix = matrix_of(300, len(NAMES))
    data = xgb.DMatrix(matrix)
    margins, contributions = backend.margins(matrix), backend.contributions(matrix)
    assert margins.dtype == contributions.dtype == np.float32
    np.testing.assert_array_equal(margins, booster.predict(data, output_margin=True))
    np.testing.assert_array_equal(contributions, booster.predict(data, pred_contribs=True))
    assert backend.margins(matrix[:0]).shape == (0,)
    assert backend.contributions(matrix[:0]).shape == (0, len(NAMES) + 1)


def test_a_missing_value_of_the_model_is_nan_on_a_gpu(bundle: Bundle, stand_in: None) -> None:
    matrix = matrix_of(300, len(NAMES))
    given = np.nan_to_num(matrix, nan=-1.0)
    plain = open_backend(bundle, "cuda")
    backend = open_backend(
        dataclasses.replace(bundle, model=XgboostModel(booster_in(bundle), -1.0)), "cuda"
    )
    np.testing.assert_array_equal(backend.margins(given), plain.margins(matrix))
    np.testing.assert_array_equal(backend.contributions(given), plain.contributions(matrix))
    assert not np.isnan(given).any()


def test_a_gpu_that_fails_ends_the_process_and_is_told_from_a_fault_of_events(
    bundle: Bundle, stand_in: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object, **__: object) -> None:
        raise xgb.core.XGBoostError("cudaErrorECCUncorrectable: uncorrectable ECC error")

    backend = open_backend(bundle, "cuda")
    monkeypatch.setattr(xgb.Booster, "predict", lost)
    matrix = matrix_of(3, len(NAMES))
    for ask in (backend.margins, backend.contributions):
        with pytest.raises(DeviceLostError, match=r"uncorrectable ECC error.*nvidia-smi"):
            ask(matrix)
    # The first call is made by the constructor, to warm up.
    with pytest.raises(DeviceLostError):
        open_backend(bundle, "cuda")
    matrix[0, 0] = np.inf
    with pytest.raises(NonFiniteFeatureError):
        backend.contributions(matrix)


def test_a_gpu_that_xgboost_does_not_find_is_unusable(monkeypatch: pytest.MonkeyPatch) -> None:
    # An XGBoost without CUDA goes the way that one with CUDA goes without a GPU: to the CPU.
    monkeypatch.setattr(xgb, "build_info", lambda: {"USE_CUDA": True, "CUDA_VERSION": [12, 9]})
    monkeypatch.setattr(cuda, "DEVICE", "cuda:99")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with pytest.raises(
        CudaUnusableError, match=r"no GPU that XGBoost.*driver for CUDA 12 .*device: cpu"
    ):
        cuda.require_cuda()


CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@given(quota=st.integers(1_000, 2_000_000), deep=st.booleans(), version=st.sampled_from([1, 2]))
@settings(max_examples=30, deadline=None)
def test_threads_follow_the_quota_of_the_group_or_a_parent(
    tmp_path_factory: pytest.TempPathFactory, quota: int, deep: bool, version: int
) -> None:
    root = tmp_path_factory.mktemp("cgroup")
    mount = root if version == 2 else root / "cpu,cpuacct"
    group = mount / "pods" / "one"
    group.mkdir(parents=True)
    where = group if deep else mount / "pods"
    if version == 2:
        (mount / "cpu.max").write_text("max 100000\n")
        (where / "cpu.max").write_text(f"{quota} 100000\n")
    else:
        (mount / "cpu.cfs_quota_us").write_text("-1\n")
        (mount / "cpu.cfs_period_us").write_text("100000\n")
        (where / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (where / "cpu.cfs_period_us").write_text("100000\n")
    line = "0::/pods/one" if version == 2 else "4:cpu,cpuacct:/pods/one"
    (root / "membership").write_text(f"9:memory:/pods/two\n{line}\n")
    found = available_threads(root, root / "membership")
    assert found == max(1, min(CPUS, quota // 100_000))


def test_threads_without_a_quota_are_the_cpus_of_the_process(tmp_path: Path) -> None:
    assert available_threads(tmp_path, tmp_path / "absent") == CPUS


def test_idle_threads_do_not_spin() -> None:
    """CPU time between calls: 0.3-0.7 ms a call when waiting passively, 4-12 ms when spinning."""
    program = """
import time, numpy as np
from models.training import fit
rng = np.random.default_rng(0)
matrix = rng.normal(size=(500, 4)).astype(np.float32)
booster = fit(matrix, (matrix[:, 0] > 1).astype(np.int8), rounds=5, threads=2)
begin = time.process_time()
for _ in range(60):
    booster.inplace_predict(matrix[:1], predict_type="margin")
    time.sleep(0.005)  # the time until the next micro-batch
print((time.process_time() - begin) / 60)
"""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert float(done.stdout) < 0.0025
