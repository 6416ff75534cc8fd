"""A model trained elsewhere is packed as its owner would predict with it, or refused with the remedy."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost as xgb

from base.errors import BundleRefusedError
from models.backend import open_backend
from models.bundle import FeatureRef, load_bundle, read_manifest
from models.bundle.golden import score
from models.bundle.pack import checked_model, pack_model
from models.bundle.packed import Names, Packed
from models.calibration import logistic
from tests.support.bundles import booster_in, edit_manifest
from tests.support.small_model import NAMES, feature_set, labels_of, matrix_of

pytestmark = pytest.mark.usefixtures("verified_here")

TRAINING = matrix_of(1_500, len(NAMES))
SET = feature_set("more", *reversed(NAMES)).features
GENERATE = Names(generate=True)


def pack(model: Path, names: Names, definitions: Any = None, **options: Any) -> Packed:
    return pack_model(
        model,
        model.parent / "bundle",
        name="packed",
        version="7",
        names=names,
        definitions=definitions,
        **options,
    )


def trained(path: Path, names: Sequence[str] | None = None, **params: Any) -> xgb.Booster:
    data = xgb.DMatrix(
        TRAINING, labels_of(TRAINING), feature_names=None if names is None else list(names)
    )
    defaults = {"objective": "binary:logistic", "base_score": 0.5, "nthread": 1, "max_depth": 3}
    booster = xgb.train({**defaults, **params}, data, 4)
    booster.save_model(path)
    return booster


@pytest.mark.parametrize("file", ["model.json", "model.ubj", "model.bin.ubj"])
def test_a_model_file_becomes_a_bundle_that_scores_alike(tmp_path: Path, file: str) -> None:
    booster = trained(tmp_path / file)
    packed = pack(tmp_path / file, GENERATE, golden=50, seed=3)
    bundle = load_bundle(tmp_path / "bundle", proven=packed.verified.sums)
    assert (bundle.name, bundle.version, bundle.objective) == ("packed", "7", "binary:logistic")
    assert [feature.name for feature in bundle.features] == ["f0", "f1", "f2", "f3"]
    assert bundle.golden.vectors.shape == (50, 4)
    assert bundle.trained is None
    assert packed.notes == ()
    matrix = matrix_of(100, len(NAMES), seed=8)
    expected = booster.predict(xgb.DMatrix(matrix), output_margin=True)
    np.testing.assert_array_equal(score(booster_in(bundle), matrix, bundle.missing), expected)


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("file", ["model.json", "model.ubj"])
def test_a_model_of_the_scikit_learn_api_scores_as_predict_proba(
    tmp_path: Path, file: str, early: bool
) -> None:
    pytest.importorskip("sklearn")
    labels = labels_of(TRAINING)
    classifier = xgb.XGBClassifier(
        n_estimators=60,
        max_depth=3,
        n_jobs=1,
        base_score=0.3,
        early_stopping_rounds=4 if early else None,
        eval_metric="logloss",
    )
    held_back = [(TRAINING[1_000:], labels[1_000:])] if early else None
    classifier.fit(TRAINING[:1_000], labels[:1_000], eval_set=held_back, verbose=False)
    classifier.save_model(tmp_path / file)
    packed = pack(tmp_path / file, GENERATE)
    rounds = classifier.best_iteration + 1 if early else 60
    assert (
        packed.manifest.trees
        == rounds
        < classifier.get_booster().num_boosted_rounds() + (not early)
    )
    assert any("stopped early" in note for note in packed.notes) is early
    matrix = matrix_of(200, len(NAMES), seed=8)
    bundle = load_bundle(tmp_path / "bundle")
    margins = score(booster_in(bundle), matrix, bundle.missing)
    np.testing.assert_allclose(
        logistic(margins), classifier.predict_proba(matrix)[:, 1], rtol=0, atol=2e-7
    )


def test_all_rounds_of_an_early_stop_are_kept_where_asked(tmp_path: Path) -> None:
    booster = trained(tmp_path / "model.ubj")
    booster.set_attr(best_iteration="1")
    booster.save_model(tmp_path / "model.ubj")
    packed = pack(tmp_path / "model.ubj", GENERATE, all_rounds=True)
    assert packed.manifest.trees == 4
    assert packed.notes == (
        "its training stopped early; all 4 rounds are kept, the first 2 were best",
    )


def test_names_are_the_models_own_or_those_given(tmp_path: Path) -> None:
    model = tmp_path / "model.ubj"
    trained(model, NAMES)
    packed = pack(model, Names(), SET)
    assert packed.verified.features == tuple(feature_set(*NAMES).features)
    assert load_bundle(tmp_path / "bundle").columns_for(feature_set(*NAMES)) is None


def test_given_names_are_those_of_the_columns_in_order(tmp_path: Path) -> None:
    trained(tmp_path / "model.ubj", ["c1", "c2", "c3", "c4"])
    packed = pack(tmp_path / "model.ubj", Names(NAMES), SET)
    assert packed.verified.features == tuple(feature_set(*NAMES).features)


def test_without_definitions_the_bundle_fits_no_set(tmp_path: Path) -> None:
    trained(tmp_path / "model.ubj", NAMES)
    packed = pack(tmp_path / "model.ubj", Names())
    assert packed.verified.features == tuple(FeatureRef(name=n, fingerprint="") for n in NAMES)
    with pytest.raises(BundleRefusedError, match="--features-from"):
        load_bundle(tmp_path / "bundle").columns_for(feature_set(*NAMES))


@pytest.mark.parametrize(
    ("own", "names", "said"),
    [
        (None, Names(), "names none of them; give --feature-names .* or --generate-names"),
        (None, Names(["a", "b"]), "has 4 columns, and 2 feature names were given"),
        (NAMES, Names(tuple(reversed(NAMES))), "the same features in another order"),
        (NAMES, GENERATE, "has feature names .* omit --generate-names"),
        (None, Names(["amount", "hour", "avg_amount", "risky"]), "'risky'; did you mean 'risk'?"),
        (None, GENERATE, "unknown feature 'f0'"),
        (None, Names(["amount", "hour", "hour", "risk"]), "more than once: hour|unique"),
    ],
)
def test_names_that_do_not_fit_are_refused_with_the_option(
    tmp_path: Path, own: Sequence[str] | None, names: Names, said: str
) -> None:
    trained(tmp_path / "model.ubj", own)
    with pytest.raises(BundleRefusedError, match=said):
        pack(tmp_path / "model.ubj", names, SET)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"objective": "rank:pairwise"}, "it orders the rows of a group"),
        ({"objective": "rank:ndcg"}, "it orders the rows of a group"),
        ({"objective": "rank:map"}, "it orders the rows of a group"),
        ({"objective": "count:poisson"}, "it is the logarithm of a count"),
        ({"objective": "survival:cox"}, "it is the logarithm of a hazard"),
        ({"objective": "binary:hinge"}, "side of a hyperplane"),
        ({"objective": "reg:squarederror"}, "the predicted value itself: an estimate of 0 or 1"),
        ({"objective": "reg:squaredlogerror"}, "the predicted value itself, or"),
        ({"objective": "reg:pseudohubererror"}, "the predicted value itself, or"),
        ({"objective": "reg:absoluteerror"}, "the predicted value itself, or"),
        ({"objective": "reg:quantileerror", "quantile_alpha": 0.5}, "the predicted value itself"),
        ({"objective": "reg:tweedie"}, "the predicted value itself, or its logarithm"),
    ],
)
def test_a_model_whose_margin_is_no_log_odds_is_refused(
    tmp_path: Path, params: dict[str, Any], said: str
) -> None:
    booster = trained(tmp_path / "model.ubj", **params)
    with pytest.raises(BundleRefusedError, match=said):
        checked_model(bytes(booster.save_raw("ubj")), "model.ubj")


def test_pack_refuses_what_it_cannot_make_a_bundle_of(tmp_path: Path) -> None:
    trained(tmp_path / "model.ubj", objective="reg:squarederror")
    with pytest.raises(BundleRefusedError, match=r"not log-odds .* Train it with one of these"):
        pack(tmp_path / "model.ubj", GENERATE)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("objective", ["binary:logistic", "binary:logitraw", "reg:logistic"])
def test_the_logistic_of_an_accepted_margin_is_what_xgboost_predicts(
    tmp_path: Path, objective: str
) -> None:
    booster = trained(tmp_path / "model.ubj", objective=objective)
    pack(tmp_path / "model.ubj", GENERATE)
    bundle = load_bundle(tmp_path / "bundle")
    matrix = matrix_of(200, len(NAMES), seed=8)
    scores = logistic(score(booster_in(bundle), matrix, bundle.missing))
    predicted = booster.predict(xgb.DMatrix(matrix))
    if objective == "binary:logitraw":
        predicted = logistic(predicted)
    np.testing.assert_allclose(scores, predicted, rtol=0, atol=2e-7)


def test_an_objective_of_ones_own_is_accepted_where_its_name_says_log_odds(tmp_path: Path) -> None:
    """XGBoost writes the objective that was named, which is a regression where none was."""
    labels = labels_of(TRAINING)
    data = xgb.DMatrix(TRAINING, labels)

    def loss(margins: Any, _: xgb.DMatrix) -> Any:
        found = logistic(margins.astype(np.float32).ravel())
        return (found - labels)[:, None], (found * (1 - found))[:, None]

    for name, refused in ((None, True), ("binary:logistic", False)):
        params = {"nthread": 1, "base_score": 0.5} | ({} if name is None else {"objective": name})
        xgb.train(params, data, 2, obj=loss).save_model(tmp_path / "model.ubj")
        if refused:
            said = "reg:squarederror .* your own objective function .* binary:logistic"
            with pytest.raises(BundleRefusedError, match=said):
                pack(tmp_path / "model.ubj", GENERATE)
        else:
            pack(tmp_path / "model.ubj", GENERATE)


def with_missing(matrix: np.ndarray, value: float) -> np.ndarray:
    """The matrix with a value in place of most missing ones."""
    found = matrix.copy()
    gaps = np.argwhere(np.isnan(found))
    found[tuple(gaps[: len(gaps) * 3 // 4].T)] = value
    return found


@pytest.mark.parametrize("value", [-999.0, 0.0, 0.1])
def test_a_model_with_a_missing_value_of_its_own_scores_as_its_owner_would(
    tmp_path: Path, value: float
) -> None:
    """XGBoost replaces the value when data is read: the booster itself does not know it."""
    training, matrix = with_missing(TRAINING, value), with_missing(matrix_of(300, 4, 8), value)
    data = xgb.DMatrix(training, labels_of(TRAINING), missing=value)
    params = {"objective": "binary:logistic", "base_score": 0.5, "nthread": 1, "max_depth": 4}
    booster = xgb.train(params, data, 8)
    booster.save_model(tmp_path / "model.json")
    expected = booster.predict(xgb.DMatrix(matrix, missing=value), output_margin=True)
    shap = booster.predict(xgb.DMatrix(matrix, missing=value), pred_contribs=True)

    packed = pack(tmp_path / "model.json", GENERATE, missing=value)
    assert packed.manifest.missing_value == value
    path = tmp_path / "bundle"
    bundle = load_bundle(path)
    assert bundle.missing == value
    assert read_manifest(path).missing == value
    # The proof holds the value, so that whoever does not apply it is found out.
    golden = bundle.golden
    assert (golden.vectors == np.float32(value)).any()
    assert np.isnan(golden.vectors).any()
    if value != 0.1:
        unaware = score(booster_in(bundle), golden.vectors, np.nan)
        assert (unaware != golden.margins).any()
        altered = tmp_path / "altered"
        shutil.copytree(path, altered)
        edit_manifest(altered, lambda manifest: manifest.update(missing="NaN"))
        with pytest.raises(BundleRefusedError, match="gives other margins for"):
            load_bundle(altered)

    backend = open_backend(bundle, "cpu", threads=1)
    np.testing.assert_array_equal(backend.margins(matrix), expected)
    for size in (1, 7, 300):
        found = [backend.contributions(matrix[i : i + size]) for i in range(0, 300, size)]
        np.testing.assert_allclose(np.concatenate(found), shap, rtol=1e-4, atol=1e-4)
    assert (matrix == np.float32(value)).any(), "the matrix that was given is as it was"


def test_a_bundle_without_a_missing_value_says_nan(tmp_path: Path) -> None:
    trained(tmp_path / "model.ubj")
    assert np.isnan(pack(tmp_path / "model.ubj", GENERATE).manifest.missing_value)
    assert read_manifest(tmp_path / "bundle").missing == "NaN"
    assert np.isnan(load_bundle(tmp_path / "bundle").missing)


def test_the_missing_value_that_a_wrapper_wrote_is_taken_over(tmp_path: Path) -> None:
    """Up to XGBoost 1.7 its scikit-learn API wrote its parameters beside the booster."""
    booster = trained(tmp_path / "model.json")
    booster.set_attr(scikit_learn=json.dumps({"missing": -1, "_estimator_type": "classifier"}))
    booster.save_model(tmp_path / "model.json")
    with pytest.raises(BundleRefusedError, match=r"treated -1 as missing, and --missing is -999"):
        pack(tmp_path / "model.json", GENERATE, missing=-999.0)
    packed = pack(tmp_path / "model.json", GENERATE)
    assert packed.manifest.missing_value == load_bundle(tmp_path / "bundle").missing == -1.0
    assert packed.notes == (
        "the model's scikit-learn wrapper treated -1 as missing; the bundle does the same",
    )


@pytest.mark.parametrize(
    "told", ['{"missing": NaN}', '{"a": 1}', "[1]", "no JSON", '{"missing": "x"}']
)
def test_a_wrapper_that_says_nothing_of_missing_values_is_passed_over(
    tmp_path: Path, told: str
) -> None:
    booster = trained(tmp_path / "model.json")
    booster.set_attr(scikit_learn=told)
    booster.save_model(tmp_path / "model.json")
    assert np.isnan(pack(tmp_path / "model.json", GENERATE).manifest.missing_value)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "model.ubj"
    with pytest.raises(BundleRefusedError, match=r"cannot be read \(No such file"):
        pack(model, GENERATE)
    model.write_bytes(b"hello")
    with pytest.raises(BundleRefusedError, match=r"it begins with b'hello'; save it with"):
        pack(model, GENERATE)


def test_a_model_that_ends_its_process_ends_the_childs_and_not_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(tmp_path / "model.ubj")
    crash = [sys.executable, "-c", "import os; os.abort()"]
    monkeypatch.setattr("models.sandbox.process.COMMAND", crash)
    monkeypatch.setattr("models.bundle.pack.read_model", None)
    with pytest.raises(BundleRefusedError, match=r"model\.ubj: loading it ended .* with SIGABRT"):
        pack(tmp_path / "model.ubj", GENERATE)


def test_a_bundle_that_does_not_prove_itself_does_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: Any, **__: Any) -> None:
        raise BundleRefusedError("because")

    trained(tmp_path / "model.ubj")
    monkeypatch.setattr("models.bundle.pack.verify", refuses)
    with pytest.raises(BundleRefusedError, match="because"):
        pack(tmp_path / "model.ubj", GENERATE)
    assert not (tmp_path / "bundle").exists()


def test_a_bundle_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    trained(tmp_path / "model.ubj")
    sums = pack(tmp_path / "model.ubj", GENERATE).verified.sums
    with pytest.raises(BundleRefusedError, match="exists already"):
        pack(tmp_path / "model.ubj", GENERATE)
    assert load_bundle(tmp_path / "bundle").sums == sums
