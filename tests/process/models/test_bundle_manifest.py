"""A manifest is exactly as this version writes it, or refused with the key that is not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost as xgb

from base.errors import BundleRefusedError
from models.bundle import Knots, TrainingRecord, load_bundle, read_manifest, write_bundle
from tests.support.bundles import edit_manifest, sum_again
from tests.support.small_model import NAMES, feature_set

DAY = datetime(2026, 11, 1, tzinfo=UTC)


def trained(**changes: Any) -> dict[str, Any]:
    given = {
        "rows": 10,
        "frauds": 2,
        "from": "2026-11-01T00:00:00Z",
        "until": "2026-11-02T00:00:00Z",
        "data": "",
        "xgboost": "3.2.0",
        "params": {"max_depth": 3, "monotone_constraints": [1, 0], "grow_policy": "depthwise"},
        "seed": 7,
    }
    return {**given, **changes}


def curve(margins: list[Any], scores: list[Any]) -> Callable[[dict[str, Any]], None]:
    return lambda m: m.update(calibration={"margins": margins, "scores": scores})


def test_calibration_and_origin_load_as_they_were_written(
    tmp_path: Path, booster: xgb.Booster
) -> None:
    class Curve:
        margins = np.array([-2.5, 0.1])
        scores = np.array([0.001, 1 - 1e-9])

    origin = TrainingRecord(
        rows=10,
        frauds=2,
        since=DAY,
        until=DAY,
        data="0123456789abcdef",
        xgboost="3.2.0",
        params={"max_depth": 3, "eta": 0.1},
        seed=-7,
    )
    folder = write_bundle(
        tmp_path / "b",
        booster,
        name="demo",
        version="1",
        features=feature_set(*NAMES).features,
        calibration=Curve(),
        trained=origin,
        report="<!doctype html>",
    )
    bundle = load_bundle(folder)
    assert bundle.calibration == Knots(margins=(-2.5, 0.1), scores=(0.001, 1 - 1e-9))
    assert bundle.trained == origin
    assert (folder / "report.html").read_text() == "<!doctype html>"
    manifest = read_manifest(folder)
    assert (manifest.trained, manifest.calibration) == (origin, bundle.calibration)
    assert '"from": "2026-11-01T00:00:00Z"' in (folder / "manifest.json").read_text()


def test_a_manifest_without_calibration_and_origin_has_none(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert bundle.calibration is None
    assert bundle.trained is None


@pytest.mark.parametrize(
    ("margins", "scores", "said"),
    [
        ([0.0, 0.0], [0.1, 0.2], "margins must rise strictly; 0.0 follows 0.0"),
        ([0.0, 1.0], [0.2, 0.1], "scores must rise strictly; 0.1 follows 0.2"),
        ([0.0, 1.0], [0.2, 0.2], "scores must rise strictly"),
        ([0.0, 1.0, 2.0], [0.1, 0.2], "3 margins and 2 scores"),
        ([0.0], [0.5], "at least 2"),
        ([0.0, 1.0], [0.0, 0.5], r"scores\.0: Input should be greater than 0"),
        ([0.0, 1.0], [0.5, 1.0], r"scores\.1: Input should be less than 1"),
        ([0.0, 1e999], [0.1, 0.5], "not JSON"),
        (["0", 1.0], [0.1, 0.5], r"margins\.0"),
        ([False, 1.0], [0.1, 0.5], r"margins\.0"),
    ],
)
def test_a_calibration_that_does_not_rise_within_0_and_1_is_refused(
    folder: Path, margins: list[Any], scores: list[Any], said: str
) -> None:
    edit_manifest(folder, curve(margins, scores))
    with pytest.raises(BundleRefusedError, match=said):
        load_bundle(folder)


def test_a_calibration_of_few_or_many_knots_loads(folder: Path) -> None:
    edit_manifest(folder, curve([-1, 2], [0.25, 0.5]))
    loaded = load_bundle(folder).calibration
    assert loaded is not None
    assert loaded.margins == (-1.0, 2.0)
    knots = np.linspace(0.001, 0.999, 1000).tolist()
    edit_manifest(folder, curve(knots, knots))
    load_bundle(folder)
    edit_manifest(folder, curve([*knots, 1.5], [*knots, 0.9999]))
    with pytest.raises(BundleRefusedError, match="at most 1000"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"frauds": 11}, "11 frauds in 10 rows"),
        ({"until": "2026-10-31T00:00:00Z"}, "before from"),
        ({"until": "2026-11-02T00:00:00"}, r"trained\.until"),
        ({"rows": 0}, r"trained\.rows"),
        ({"data": "xyz"}, r"trained\.data"),
        ({"since": "2026-11-01T00:00:00Z"}, r"trained\.since is not a key"),
        ({"who": "me"}, r"trained\.who is not a key"),
    ],
)
def test_facts_of_training_that_cannot_be_are_refused(
    folder: Path, changes: dict[str, Any], said: str
) -> None:
    edit_manifest(folder, lambda m: m.update(trained=trained()))
    loaded = load_bundle(folder).trained
    assert loaded is not None
    assert loaded.params["monotone_constraints"] == [1, 0]
    edit_manifest(folder, lambda m: m.update(trained=trained(**changes)))
    with pytest.raises(BundleRefusedError, match=said):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update(thresholds=[1]), r"thresholds is not a key .*known: name"),
        (lambda m: m.pop("dtype") and m.update(dtype="float64"), "dtype"),
        (lambda m: m.update(missing="-1"), "missing"),
        (lambda m: m.update(missing=True), "missing"),
        (lambda m: m.update(missing=None), "missing"),
        (lambda m: m.update(missing=1e39), "missing"),
        (lambda m: m.pop("objective"), "objective: Field required"),
        (lambda m: m.update(name="../x"), "name"),
        (lambda m: m.update(trees="20"), "trees"),
        (lambda m: m.update(trees=21), "trees: 21, the model has 20"),
        (lambda m: m.update(objective="binary:logitraw"), "objective: binary:logitraw, the model"),
        (lambda m: m.update(created_at="2026-01-01T00:00:00"), "created_at"),
        (lambda m: m["features"].pop(), "features .*: 3, the model has 4"),
        (lambda m: m["features"].append(m["features"][0]), "more than once: amount"),
        (lambda m: m["features"][1].update(dtype="x"), r"features\.1\.dtype"),
        (lambda m: m["features"].reverse(), "or in another order"),
        (lambda m: m["features"][1].update(name="other"), "other feature names"),
        (lambda m: m.pop("calibration"), "calibration: Field required; an older version"),
        (lambda m: m.pop("trained"), "trained: Field required"),
        (lambda m: m.pop("golden"), "golden: Field required"),
        (lambda m: m.update(golden=127), r"golden_vectors\.npy: holds .*\(128, 4\)"),
        (lambda m: m.update(golden=0), "golden: Input should be greater than 0"),
        (lambda m: m.update(golden=1001), "golden: Input should be less than or equal to 1000"),
    ],
)
def test_an_invalid_manifest_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    edit_manifest(folder, change)
    with pytest.raises(BundleRefusedError, match=said):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"name": "a", "name": "b"}', "more than once: name"),
        ("{", "readable"),
        ('{"seed": NaN}', "NaN is not JSON"),
        ('{"seed": -Infinity}', "-Infinity is not JSON"),
        ("[" * 100_000, "readable"),
    ],
)
def test_a_manifest_that_is_no_honest_json_is_refused(folder: Path, text: str, said: str) -> None:
    (folder / "manifest.json").write_text(text)
    sum_again(folder)
    with pytest.raises(BundleRefusedError, match=said):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "{" + ",".join(f'"{i}": 1, "{i}": 2' for i in range(2_000)) + "}",
            "more than once: 0, 1, 10, ",
        ),
        ("{" + ",".join(f'"{i}": 1' for i in range(2_000)) + "}", "; and 1999 more$"),
        ('{"' + "k" * 100_000 + '": 1}', "kkk"),
    ],
    ids=["keys given twice", "unknown keys", "a long key"],
)
def test_a_refusal_of_a_hostile_manifest_is_short(folder: Path, text: str, said: str) -> None:
    (folder / "manifest.json").write_text(text)
    sum_again(folder)
    with pytest.raises(BundleRefusedError, match=said) as refusal:
        read_manifest(folder)
    assert len(str(refusal.value)) < 5_000
