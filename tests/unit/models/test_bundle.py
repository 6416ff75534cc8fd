"""A bundle loads as it was written, and any other byte, file or model is refused by name."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost as xgb

from models.bundle import Bundle, BundleRefusedError, load_bundle, sums, write_bundle
from models.training import fit
from schemas.errors import ConfigurationError
from tests.unit.models.small_model import (
    NAMES,
    FakeFeatureSet,
    feature_set,
    labels_of,
    matrix_of,
    reference,
)


def sum_again(folder: Path) -> None:
    """As an attacker or a helpful colleague would: make the sums agree with the files."""
    files = sorted(path for path in folder.iterdir() if path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(lines))


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    sum_again(folder)


def test_a_bundle_loads_as_it_was_written(bundle: Bundle, booster: xgb.Booster) -> None:
    assert (bundle.name, bundle.version) == ("demo", "1")
    assert [feature.name for feature in bundle.features] == list(NAMES)
    assert bundle.objective == "binary:logistic"
    assert bundle.trees == 20
    matrix = matrix_of(50, len(NAMES), seed=1)
    np.testing.assert_array_equal(
        bundle.booster.inplace_predict(matrix), booster.inplace_predict(matrix)
    )


def test_its_sums_are_what_sha256sum_checks(folder: Path) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("there is no sha256sum here")
    subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=folder, check=True)


def test_a_model_in_json_loads_too(folder: Path, booster: xgb.Booster) -> None:
    (folder / "model.ubj").unlink()
    booster.save_model(folder / "model.json")
    sum_again(folder)
    assert load_bundle(folder).trees == 20


def test_every_changed_byte_is_refused(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        for at in rng.integers(0, len(content), 40):
            path.write_bytes(content[:at] + bytes([content[at] ^ 0x01]) + content[at + 1 :])
            with pytest.raises(BundleRefusedError):
                load_bundle(folder)
        for other in (content[:-1], content + b"\n", b""):
            path.write_bytes(other)
            with pytest.raises(BundleRefusedError):
                load_bundle(folder)
        path.write_bytes(content)
    load_bundle(folder)


@pytest.mark.parametrize("name", ["model.ubj", "manifest.json", "SHA256SUMS"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleRefusedError, match=name):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("name", "said"), [("manifest.json", "has no manifest.json"), ("model.ubj", "found none")]
)
def test_a_missing_file_is_named_also_where_the_sums_agree(
    folder: Path, name: str, said: str
) -> None:
    (folder / name).unlink()
    sum_again(folder)
    with pytest.raises(BundleRefusedError, match=said):
        load_bundle(folder)


def test_a_file_that_the_sums_do_not_name_is_refused(folder: Path) -> None:
    (folder / "notes.txt").write_text("x")
    with pytest.raises(BundleRefusedError, match=r"notes\.txt not named"):
        load_bundle(folder)


def test_a_link_in_place_of_a_file_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "model.ubj").rename(tmp_path / "elsewhere")
    (folder / "model.ubj").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleRefusedError, match=r"model\.ubj: is a link"):
        load_bundle(folder)


def test_a_folder_within_is_refused(folder: Path) -> None:
    (folder / "more").mkdir()
    with pytest.raises(BundleRefusedError, match="more: is a link, a folder"):
        load_bundle(folder)


def test_no_folder_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleRefusedError, match="nowhere: cannot be read"):
        load_bundle(tmp_path / "nowhere")


def test_two_models_are_refused(folder: Path, booster: xgb.Booster) -> None:
    booster.save_model(folder / "model.json")
    sum_again(folder)
    with pytest.raises(BundleRefusedError, match=r"found model\.ubj and model\.json"):
        load_bundle(folder)


def test_a_file_over_the_bound_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sums, "MAX_FILE_BYTES", (folder / "model.ubj").stat().st_size - 1)
    with pytest.raises(BundleRefusedError, match=r"model\.ubj: is larger than"):
        load_bundle(folder)


DIGEST = "0" * 64


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"{DIGEST}  model.ubj",
        f"{DIGEST} model.ubj\n",
        f"{DIGEST} *model.ubj\n",
        f"{DIGEST}  ../model.ubj\n",
        f"{DIGEST}  sub/model.ubj\n",
        f"{DIGEST}  .hidden\n",
        f"{DIGEST.replace('0', 'A')}  model.ubj\n",
        f"{DIGEST}  model.ubj\r\n",
        f"{DIGEST}  model.ubj\n\n",
        f"{DIGEST}  model.ubj\n{DIGEST}  model.ubj\n",
        f"{DIGEST}  SHA256SUMS\n",
        f"\\{DIGEST}  model\\n.ubj\n",
        f"{DIGEST}  mödel.ubj\n",
        f"# comment\n{DIGEST}  model.ubj\n",
    ],
)
def test_sums_in_any_other_form_are_refused(text: str) -> None:
    with pytest.raises(BundleRefusedError, match="SHA256SUMS"):
        sums.parse_sums(text.encode(), "SHA256SUMS")


def test_sums_read_back_as_written() -> None:
    files = {"b": b"two", "a.txt": b"one"}
    assert sums.parse_sums(sums.format_sums(files), "x") == {
        name: hashlib.sha256(content).hexdigest() for name, content in files.items()
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update(calibration=[1]), r"calibration is not a key .*known: name"),
        (lambda m: m.pop("dtype") and m.update(dtype="float64"), "dtype"),
        (lambda m: m.update(missing="-1"), "missing"),
        (lambda m: m.pop("objective"), "objective: Field required"),
        (lambda m: m.update(name="../x"), "name"),
        (lambda m: m.update(trees="20"), "trees"),
        (lambda m: m.update(trees=21), "trees: 21, the model has 20"),
        (lambda m: m.update(objective="binary:logitraw"), "objective: binary:logitraw, the model"),
        (lambda m: m.update(created_at="2026-01-01T00:00:00"), "created_at"),
        (lambda m: m["features"].pop(), "features .*: 3, the model has 4"),
        (lambda m: m["features"].append(m["features"][0]), "more than once: amount"),
        (lambda m: m["features"][1].update(dtype="x"), r"features\.1\.dtype"),
    ],
)
def test_another_manifest_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    edit_manifest(folder, change)
    with pytest.raises(BundleRefusedError, match=said):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("text", "said"), [('{"name": "a", "name": "b"}', "more than once: name"), ("{", "readable")]
)
def test_a_manifest_that_is_no_honest_json_is_refused(folder: Path, text: str, said: str) -> None:
    (folder / "manifest.json").write_text(text)
    sum_again(folder)
    with pytest.raises(BundleRefusedError, match=said):
        load_bundle(folder)


def test_a_model_that_xgboost_cannot_read_is_refused(folder: Path) -> None:
    (folder / "model.ubj").write_bytes(b"no model")
    sum_again(folder)
    with pytest.raises(BundleRefusedError, match=r"model\.ubj: XGBoost cannot load it"):
        load_bundle(folder)


def test_columns_are_none_where_the_matrix_is_as_the_model_wants_it(bundle: Bundle) -> None:
    assert bundle.columns_for(feature_set(*NAMES)) is None


def test_columns_follow_the_model_through_a_wider_set(bundle: Bundle) -> None:
    columns = bundle.columns_for(feature_set("risk", "new", "amount", "hour", "avg_amount"))
    assert columns is not None
    assert columns.dtype == np.intp
    assert columns.tolist() == [2, 3, 4, 0]
    wider = bundle.columns_for(feature_set(*NAMES, "new"))
    assert wider is not None
    assert wider.tolist() == [0, 1, 2, 3]


def test_features_that_the_set_lacks_are_named(bundle: Bundle) -> None:
    with pytest.raises(BundleRefusedError, match="does not define hour, risk, which"):
        bundle.columns_for(feature_set("amount", "avg_amount"))


def test_a_feature_defined_otherwise_is_named_with_the_remedy(bundle: Bundle) -> None:
    other = FakeFeatureSet([reference(n, "changed" if n == "hour" else "") for n in NAMES])
    with pytest.raises(BundleRefusedError, match=r"definitions of hour; restore .* or train"):
        bundle.columns_for(other)


def test_a_refusal_is_a_configuration_error() -> None:
    assert issubclass(BundleRefusedError, ConfigurationError)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"objective": "multi:softprob", "num_class": 2}, r"multi:softprob with 2 output\(s\)"),
        ({"objective": "rank:pairwise"}, "rank:pairwise .* accepted: binary:logistic"),
        ({"objective": "count:poisson"}, "count:poisson"),
        ({"booster": "dart"}, "booster is dart, accepted: gbtree"),
        ({"booster": "gblinear", "tree_method": None, "max_depth": None}, "gblinear"),
    ],
)
def test_a_model_without_one_margin_a_row_is_not_written(
    tmp_path: Path, params: dict[str, Any], said: str
) -> None:
    matrix = matrix_of(200, len(NAMES))
    defaults = {"objective": "binary:logistic", "base_score": 0.5}
    chosen = {key: value for key, value in (defaults | params).items() if value is not None}
    model = xgb.train(chosen, xgb.DMatrix(matrix, labels_of(matrix)), 2)
    with pytest.raises(BundleRefusedError, match=said):
        write_bundle(
            tmp_path / "b", model, name="x", version="1", features=feature_set(*NAMES).features
        )
    assert list(tmp_path.iterdir()) == []


def test_a_model_with_two_targets_is_not_written(tmp_path: Path) -> None:
    matrix = matrix_of(200, len(NAMES))
    labels = labels_of(matrix)
    data = xgb.DMatrix(matrix, np.column_stack([labels, 1 - labels]))
    model = xgb.train({"objective": "reg:squarederror", "base_score": 0.5}, data, 2)
    with pytest.raises(BundleRefusedError, match=r"reg:squarederror with 2 output\(s\)"):
        write_bundle(
            tmp_path / "b", model, name="x", version="1", features=feature_set(*NAMES).features
        )


@pytest.mark.parametrize("objective", ["binary:logistic", "binary:logitraw", "reg:squarederror"])
def test_models_with_one_margin_a_row_are_written(tmp_path: Path, objective: str) -> None:
    matrix = matrix_of(500, len(NAMES))
    model = fit(matrix, labels_of(matrix), rounds=3, threads=1, params={"objective": objective})
    folder = write_bundle(
        tmp_path / "b", model, name="x", version="1", features=feature_set(*NAMES).features
    )
    assert load_bundle(folder).objective == objective


def test_a_model_with_its_columns_in_another_order_is_not_written(tmp_path: Path) -> None:
    matrix = matrix_of(200, len(NAMES))
    data = xgb.DMatrix(matrix, labels_of(matrix), feature_names=list(reversed(NAMES)))
    model = xgb.train({"objective": "binary:logistic", "base_score": 0.5}, data, 2)
    with pytest.raises(BundleRefusedError, match="another order"):
        write_bundle(
            tmp_path / "b", model, name="x", version="1", features=feature_set(*NAMES).features
        )


def test_a_bundle_is_never_overwritten(folder: Path, booster: xgb.Booster) -> None:
    with pytest.raises(BundleRefusedError, match="exists already"):
        write_bundle(folder, booster, name="x", version="2", features=feature_set(*NAMES).features)
    assert load_bundle(folder).version == "1"


def test_a_write_that_fails_leaves_nothing(
    tmp_path: Path, booster: xgb.Booster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Path, target: Path) -> Path:
        raise OSError("no room")

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="no room"):
        write_bundle(
            tmp_path / "b", booster, name="x", version="1", features=feature_set(*NAMES).features
        )
    assert list(tmp_path.iterdir()) == []
