"""Golden vectors reach the model's leaves, and only the margins of when it was written pass."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xgboost as xgb

from base.errors import BundleRefusedError
from models.bundle import Golden, load_bundle, write_bundle
from models.bundle.draw_golden import DEFAULT_GOLDEN, draw_vectors
from models.bundle.golden import check_margins
from models.training import fit
from tests.support.bundles import sum_again, trees_of
from tests.support.model_kinds import COLUMNS, KINDS, train_kind
from tests.support.small_model import NAMES, feature_set, labels_of, matrix_of

VECTORS, MARGINS = "golden_vectors.npy", "golden_margins.npy"


def saved(array: np.ndarray) -> bytes:
    kept = io.BytesIO()
    np.save(kept, array, allow_pickle=True)
    return kept.getvalue()


def leaves_reached(booster: xgb.Booster, matrix: np.ndarray) -> int:
    leaf = booster.predict(xgb.DMatrix(matrix), pred_leaf=True)
    return sum(len(np.unique(column)) for column in leaf.T)


def test_vectors_and_margins_are_those_of_the_model(folder: Path, booster: xgb.Booster) -> None:
    vectors, margins = (np.load(folder / name, allow_pickle=False) for name in (VECTORS, MARGINS))
    assert vectors.shape == (DEFAULT_GOLDEN, len(NAMES))
    assert (vectors.dtype, margins.dtype) == (np.float32, np.float32)
    expected = booster.predict(xgb.DMatrix(vectors), output_margin=True)
    np.testing.assert_array_equal(margins.view(np.uint32), expected.view(np.uint32))
    golden = load_bundle(folder).golden
    np.testing.assert_array_equal(golden.vectors, vectors)
    np.testing.assert_array_equal(golden.margins, margins)


def test_drawn_vectors_reach_more_leaves_than_data_does() -> None:
    matrix = matrix_of(5_000, 8)
    labels = (np.nan_to_num(matrix[:, 0] * matrix[:, 1]) > 0.5).astype(np.int8)
    booster = fit(matrix, labels, rounds=40, threads=1)
    trees = trees_of(booster)
    drawn = draw_vectors(booster, trees, 8)
    leaves = int((~trees.is_split).sum())
    assert leaves_reached(booster, drawn) > 0.93 * leaves
    assert leaves_reached(booster, drawn) > 1.3 * leaves_reached(booster, matrix[:DEFAULT_GOLDEN])
    assert np.isnan(drawn[0]).all()
    assert 0.02 < np.isnan(drawn[1:]).mean() < 0.3
    assert not np.isinf(drawn).any()


@pytest.mark.parametrize("name", ["one-hot", "partition"])
def test_drawn_vectors_reach_every_leaf_below_categories(name: str) -> None:
    booster = train_kind(KINDS[name], rounds=30)
    trees = trees_of(booster)
    drawn = draw_vectors(booster, trees, len(COLUMNS))
    leaf = booster.predict(xgb.DMatrix(drawn), pred_leaf=True, validate_features=False)
    assert sum(len(np.unique(column)) for column in leaf.T) == int((~trees.is_split).sum())


def test_drawn_vectors_stand_on_both_sides_of_thresholds(booster: xgb.Booster) -> None:
    trees = trees_of(booster)
    drawn = draw_vectors(booster, trees, len(NAMES))
    for feature in range(len(NAMES)):
        thresholds = trees.value[trees.is_split & (trees.feature == feature)]
        values = drawn[:, feature]
        assert np.isin(values, thresholds).any()
        assert np.isin(np.nextafter(values, np.float32(np.inf)), thresholds).any()


def test_equal_seeds_draw_equal_vectors(booster: xgb.Booster) -> None:
    trees = trees_of(booster)
    one, same, other = (draw_vectors(booster, trees, 4, count=20, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other, equal_nan=True)
    assert one.shape == (20, 4)


@pytest.mark.parametrize("rounds", [1, 2])
def test_vectors_are_drawn_for_a_tree_without_splits(tmp_path: Path, rounds: int) -> None:
    matrix = matrix_of(100, len(NAMES))
    params = {"objective": "binary:logistic", "base_score": 0.5, "max_depth": 1, "gamma": 1e9}
    booster = xgb.train(params, xgb.DMatrix(matrix, labels_of(matrix)), rounds)
    features = feature_set(*NAMES).features
    folder = write_bundle(tmp_path / "b", booster, name="x", version="1", features=features)
    assert len(load_bundle(folder).golden.vectors) == DEFAULT_GOLDEN


def test_vectors_that_are_given_are_kept(tmp_path: Path, booster: xgb.Booster) -> None:
    given = np.asfortranarray(matrix_of(7, len(NAMES)))
    folder = write_bundle(
        tmp_path / "b",
        booster,
        name="x",
        version="1",
        features=feature_set(*NAMES).features,
        golden=given,
    )
    golden = load_bundle(folder).golden
    np.testing.assert_array_equal(golden.vectors, given)
    assert golden.margins.shape == (7,)


@pytest.mark.parametrize(
    ("golden", "said"),
    [
        (np.zeros((3, 3), np.float32), r"float32 of shape \(3, 3\); .* the model's 4 columns"),
        (np.zeros((3, 4)), "is float64"),
        (np.zeros(4, np.float32), r"of shape \(4,\)"),
        (np.zeros((0, 4), np.float32), "holds 0 vectors"),
        (np.zeros((1001, 4), np.float32), "holds 1001 vectors"),
        (np.full((1, 4), np.inf, np.float32), "infinite"),
    ],
)
def test_vectors_that_no_matrix_could_hold_are_not_written(
    tmp_path: Path, booster: xgb.Booster, golden: np.ndarray, said: str
) -> None:
    with pytest.raises(BundleRefusedError, match=said):
        write_bundle(
            tmp_path / "b",
            booster,
            name="x",
            version="1",
            features=feature_set(*NAMES).features,
            golden=golden,
        )
    assert list(tmp_path.iterdir()) == []


def _changed(change: Callable[[np.ndarray], np.ndarray | None]) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        array = np.load(io.BytesIO(content))
        given = change(array)
        return saved(array if given is None else given)

    return changed


def _last_bit(array: np.ndarray) -> None:
    array.view(np.uint32)[5] ^= 1


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (
            MARGINS,
            _changed(_last_bit),
            r"other margins for 1 of 128 .* for vector 5, where the golden",
        ),
        (VECTORS, _changed(lambda v: v[:, ::-1].copy()), r"other margins for \d+ of 128"),
        (VECTORS, _changed(lambda v: v[::-1].copy()), r"other margins for \d+ of 128"),
        (VECTORS, _changed(lambda v: v.astype(np.float64)), "holds float64"),
        (VECTORS, _changed(lambda v: v.astype(">f4")), "holds >f4"),
        (VECTORS, _changed(np.asfortranarray), "the manifest says float32 of shape"),
        (VECTORS, _changed(lambda v: v[:-1]), r"of shape \(127, 4\); .* \(128, 4\)"),
        (VECTORS, _changed(lambda v: v.ravel()), r"of shape \(512,\)"),
        (VECTORS, _changed(lambda v: v.astype(object)), "holds object"),
        (VECTORS, _changed(lambda v: np.where(np.isnan(v), np.inf, v)), "infinite"),
        (MARGINS, _changed(lambda m: np.where(m == m[3], np.nan, m)), "not finite"),
        (MARGINS, _changed(lambda m: m[:, np.newaxis]), r"of shape \(128, 1\)"),
        (MARGINS, lambda content: content + b"\x00", "513 bytes"),
        (MARGINS, lambda content: content[:-4], "508 bytes"),
        (MARGINS, lambda content: content[:20], "not a .npy file"),
        (MARGINS, lambda _: b"", "not a .npy file"),
        (MARGINS, lambda content: content.replace(b"\x01\x00v", b"\x02\x00v"), "not a .npy file"),
        (MARGINS, lambda content: content.replace(b"(128,)", b"(1<<9)"), "not a .npy file"),
        (MARGINS, lambda content: content.replace(b"(128,), ", b"(9**9,),"), "not a .npy file"),
        (VECTORS, lambda content: content.replace(b"(128, 4)", b"(10**9,)"), "not a .npy file"),
    ],
)
def test_other_golden_files_are_refused(
    folder: Path, name: str, change: Callable[[bytes], bytes], said: str
) -> None:
    path = folder / name
    before = path.read_bytes()
    path.write_bytes(change(before))
    assert path.read_bytes() != before
    sum_again(folder)
    with pytest.raises(BundleRefusedError, match=said):
        load_bundle(folder)


def test_a_tolerance_is_absolute_for_small_margins_and_relative_for_large_ones() -> None:
    golden = Golden(np.zeros((2, 1), np.float32), np.array([0.5, 100.0], np.float32))
    check_margins(np.array([0.500009, 100.0009], np.float32), golden, "x", 1e-5)
    for found in ([0.50002, 100.0], [0.5, 100.002], [np.nan, 100.0]):
        with pytest.raises(BundleRefusedError, match="x: gives other margins for 1 of 2"):
            check_margins(np.array(found, np.float32), golden, "x", 1e-5)
    for found in ([0.5], [0.5, 100.0, 1.0]):
        with pytest.raises(BundleRefusedError, match="gives margins of shape"):
            check_margins(np.array(found, np.float32), golden, "x", 1e-5)
