"""A bundle loads as it was written, and any other byte, file or model is refused by name."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost as xgb

from base.errors import BundleRefusedError, ConfigurationError
from models.bundle import Bundle, FeatureRef, load, load_bundle, sums, write_bundle
from models.bundle.xgboost_model import XgboostModel
from tests.support.bundles import booster_in, edit_model, sum_again
from tests.support.small_model import (
    NAMES,
    FakeFeatureSet,
    feature_set,
    matrix_of,
    reference,
)

DIGEST = "0" * 64


def test_a_bundle_loads_as_it_was_written(bundle: Bundle, booster: xgb.Booster) -> None:
    assert (bundle.name, bundle.version) == ("demo", "1")
    assert [feature.name for feature in bundle.features] == list(NAMES)
    assert bundle.objective == "binary:logistic"
    assert bundle.trees == 20
    matrix = matrix_of(50, len(NAMES), seed=1)
    np.testing.assert_array_equal(
        booster_in(bundle).inplace_predict(matrix), booster.inplace_predict(matrix)
    )


def test_sha256sum_checks_the_sums_of_a_bundle(folder: Path) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("there is no sha256sum here")
    subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=folder, check=True)


def test_a_model_in_json_loads_too(folder: Path, booster: xgb.Booster) -> None:
    named = xgb.Booster(model_file=folder / "model.ubj")
    (folder / "model.ubj").unlink()
    named.save_model(folder / "model.json")
    sum_again(folder)
    matrix = matrix_of(50, len(NAMES), seed=1)
    np.testing.assert_array_equal(
        booster_in(load_bundle(folder)).inplace_predict(matrix), booster.inplace_predict(matrix)
    )


def test_a_longer_shorter_or_empty_file_is_refused(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        for other in (content[:-1], content + b"\n", b""):
            path.write_bytes(other)
            with pytest.raises(BundleRefusedError):
                load_bundle(folder)
        path.write_bytes(content)
    load_bundle(folder)


@pytest.mark.parametrize(
    "name",
    ["model.ubj", "manifest.json", "golden_vectors.npy", "golden_margins.npy", "SHA256SUMS"],
)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleRefusedError, match=name):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("manifest.json", "has no manifest.json"),
        ("model.ubj", "found none"),
        ("golden_vectors.npy", "has no golden_vectors.npy"),
        ("golden_margins.npy", "has no golden_margins.npy"),
    ],
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


def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(folder: Path) -> None:
    (folder / "model.ubj").unlink()
    os.mkfifo(folder / "model.ubj")
    with pytest.raises(BundleRefusedError, match=r"model\.ubj: is a link, a folder or a special"):
        load_bundle(folder)
    with pytest.raises(BundleRefusedError, match="not a plain file"):
        sums.read_plain(folder / "model.ubj", 100)


def test_a_folder_within_is_refused(folder: Path) -> None:
    (folder / "more").mkdir()
    with pytest.raises(BundleRefusedError, match="more: is a link, a folder"):
        load_bundle(folder)


def test_an_absent_bundle_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleRefusedError, match="nowhere: cannot be read"):
        load_bundle(tmp_path / "nowhere")


def test_two_models_are_refused(folder: Path, booster: xgb.Booster) -> None:
    booster.save_model(folder / "model.json")
    sum_again(folder)
    with pytest.raises(BundleRefusedError, match=r"found model\.ubj and model\.json"):
        load_bundle(folder)


def test_files_over_the_bound_together_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = sum(path.stat().st_size for path in folder.iterdir())
    monkeypatch.setattr(sums, "MAX_BUNDLE_BYTES", total)
    load_bundle(folder)
    monkeypatch.setattr(sums, "MAX_BUNDLE_BYTES", total - 1)
    with pytest.raises(BundleRefusedError, match=r"bytes together, model\.ubj .*: write a smaller"):
        load_bundle(folder)


def test_a_bundle_that_none_would_read_is_not_written(
    tmp_path: Path, booster: xgb.Booster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sums, "MAX_BUNDLE_BYTES", 10_000)
    features = [reference(name) for name in NAMES]
    with pytest.raises(BundleRefusedError, match=r"bytes together, .* may have 10,000: write a sm"):
        write_bundle(tmp_path / "b", booster, name="x", version="1", features=features)
    assert list(tmp_path.iterdir()) == []


READ = """\
import resource, sys
from pathlib import Path
from models.bundle import BundleRefusedError, load_bundle, read_manifest

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

before = peak()
for read in load_bundle, read_manifest:
    try:
        read(Path(sys.argv[1]))
    except BundleRefusedError as error:
        print(error)
print((peak() - before) * (1 if sys.platform == "darwin" else 1024))
"""


def test_files_that_are_large_together_are_refused_before_any_is_read(folder: Path) -> None:
    names = ("golden_vectors.npy", "model.ubj", "report.html")
    with (folder / "SHA256SUMS").open("a") as listed:
        listed.write(f"{DIGEST}  report.html\n")
    for name in names:
        with (folder / name).open("ab") as file:
            file.truncate(400_000_000)
    ended = subprocess.run(
        [sys.executable, "-c", READ, folder], capture_output=True, text=True, check=True
    )
    *refusals, peak = ended.stdout.splitlines()
    assert len(refusals) == 2
    assert all("400,000,000 of them; a bundle may have 536,870,912" in said for said in refusals)
    assert int(peak) < 32 * 2**20


def test_a_file_that_grows_while_it_is_read_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sum of the sizes was looked at already."""
    real, model = sums.check_size, folder / "model.ubj"

    def grow(*arguments: Any) -> None:
        real(*arguments)
        os.truncate(model, 2**30)

    monkeypatch.setattr(sums, "check_size", grow)
    with pytest.raises(BundleRefusedError, match=r"model\.ubj: is larger than .* being written"):
        load_bundle(folder)


def test_more_files_than_a_bundle_has_are_refused_before_they_are_listed(folder: Path) -> None:
    for number in range(sums.MAX_FILES):
        (folder / f"more-{number}").touch()
    sum_again(folder)
    with pytest.raises(BundleRefusedError, match="holds more than 100 files; it is not a model"):
        load_bundle(folder)


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


def test_a_model_that_xgboost_did_not_write_is_refused(folder: Path) -> None:
    (folder / "model.ubj").write_bytes(b"no model")
    sum_again(folder)
    with pytest.raises(BundleRefusedError, match=r"model\.ubj: is not as XGBoost writes it"):
        load_bundle(folder)


def test_a_model_that_xgboost_cannot_read_is_refused(folder: Path) -> None:
    edit_model(folder, lambda model: model["learner"]["objective"].update(reg_loss_param="x"))
    with pytest.raises(BundleRefusedError, match=r"cannot load it \(Invalid cast"):
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


def test_a_model_packed_without_definitions_fits_no_set(
    tmp_path: Path, booster: xgb.Booster
) -> None:
    features = [FeatureRef(name=name, fingerprint="") for name in NAMES]
    folder = write_bundle(tmp_path / "b", booster, name="x", version="1", features=features)
    loaded = load_bundle(folder)
    with pytest.raises(
        BundleRefusedError, match=r"without the definitions of amount.*--features-f"
    ):
        loaded.columns_for(feature_set(*NAMES))
    with pytest.raises(BundleRefusedError, match="without the definitions"):
        loaded.columns_for(FakeFeatureSet(features))


def test_a_bundle_that_is_proven_is_taken_at_its_word_but_no_other_one(
    folder: Path, booster: xgb.Booster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise AssertionError("looked at again")

    proven = load_bundle(folder).sums
    assert proven == hashlib.sha256((folder / "SHA256SUMS").read_bytes()).hexdigest()
    monkeypatch.setattr(XgboostModel, "check", fails)
    monkeypatch.setattr(load, "check_margins", fails)
    assert load_bundle(folder, proven=proven).sums == proven
    with pytest.raises(
        BundleRefusedError, match="was replaced by another bundle after its verification"
    ):
        load_bundle(folder, proven="0" * 64)
    with pytest.raises(AssertionError):
        load_bundle(folder)


def test_a_refusal_is_a_configuration_error() -> None:
    assert issubclass(BundleRefusedError, ConfigurationError)
