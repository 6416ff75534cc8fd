"""A file that is no model is named, with what to do."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import xgboost as xgb

from base.errors import BundleRefusedError
from models.bundle.foreign_formats import is_onnx
from models.bundle.pack import read_model
from tests.support.small_model import NAMES, labels_of, matrix_of


def small() -> xgb.Booster:
    matrix = matrix_of(200, len(NAMES))
    params = {"objective": "binary:logistic", "base_score": 0.5, "nthread": 1, "max_depth": 2}
    return xgb.train(params, xgb.DMatrix(matrix, labels_of(matrix)), 2)


def refusal(folder: Path, content: bytes) -> str:
    path = folder / "given.model"
    path.write_bytes(content)
    with pytest.raises(BundleRefusedError) as refused:
        read_model(path)
    said = str(refused.value)
    assert said.startswith(f"{path}: ")
    assert "older version" not in said
    return said


def old_binary(magic: bytes = b"binf", version: tuple[int, int] = (1, 7)) -> bytes:
    """The beginning of XGBoost's old format: base score, columns, classes, …, names."""
    head = struct.pack("<fIiii", 0.5, 3, 0, 1, 0) + struct.pack("<II", *version)
    names = b"".join(struct.pack("<Q", len(n)) + n for n in (b"binary:logistic", b"gbtree"))
    return magic + head + bytes(136 - len(head)) + names + bytes(200)


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model", "x")
    return file.getvalue()


LIGHTGBM = b"tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\n"
ONNX = "export the model from its library as ONNX, and pack that file"
SAVE = "save_model('model.ubj')"


@pytest.mark.parametrize(
    ("content", "found", "remedy"),
    [
        (b"", "is empty", SAVE),
        (LIGHTGBM, "is a model of LightGBM", ONNX),
        (LIGHTGBM.replace(b"\n", b"\r\n"), "is a model of LightGBM", ONNX),
        (
            json.dumps({"name": "tree", "version": "v4", "tree_info": []}).encode(),
            "is a model of LightGBM",
            ONNX,
        ),
        (b"CBM1\x10\x00\x00\x00abc", "is a model of CatBoost", ONNX),
        (
            json.dumps({"features_info": {}, "model_info": {}, "oblivious_trees": []}).encode(),
            "is a model of CatBoost",
            ONNX,
        ),
        (
            b'<?xml version="1.0"?>\n<PMML version="4.4" xmlns="http://www.dmg.org/PMML-4_4">',
            "is a model in PMML",
            ONNX,
        ),
        (b'\xef\xbb\xbf<PMML version="4.4">', "is a model in PMML", ONNX),
        (b"<!DOCTYPE html><html>Sign in</html>", "is XML or HTML", "copy it again"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid x",
            "pointer of Git LFS",
            "git lfs pull",
        ),
        (old_binary(), "XGBoost's old binary format of version 1.7", "XGBoost 1.6 to 3.0"),
        (old_binary(b""), "XGBoost's old binary format of version 1.7", "XGBoost 1.6 to 3.0"),
        (old_binary(version=(0, 0)), "XGBoost's old binary format, which", "XGBoost 1.6 to 3.0"),
        (b"bs64\tYmluZg==", "XGBoost's old binary format, which", "XGBoost 1.6 to 3.0"),
        (b"binf", "XGBoost's old binary format, which", "XGBoost 1.6 to 3.0"),
        (zipped(), "looks like an archive", SAVE),
        (zlib.compress(b"x" * 100), "looks like an archive", SAVE),
        (b"\x1f\x8b\x08\x00", "looks like an archive", SAVE),
        (b"\x89HDF\r\n", "looks like an archive", SAVE),
        (b"card,amount\n1,2\n", "it begins with b'card,amount\\n1,2\\n'", SAVE),
        (b'{"a": 1}', "is JSON, but not a model of XGBoost: it has 'a'", SAVE),
        (b"{}", "is JSON without a model", SAVE),
        (b"[]", "is JSON without a model", SAVE),
        (b'\n {"a": 1}', "is JSON, but not a model of XGBoost", SAVE),
        (b'["a"]', "is JSON without a model", SAVE),
        ("{}".encode("utf-16"), "is UTF-16 text", SAVE),
        (b"(Version 3)\n", "it begins with b'(Version 3)", SAVE),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, found: str, remedy: str) -> None:
    said = refusal(tmp_path, content)
    assert found in said
    assert remedy in said


@pytest.mark.parametrize(
    "content", [b"\x08\x09\x12\x08skl2onnx\x1a\x061.16.0", b'\x08\x07:\xff\x01\n\x05input"']
)
def test_a_model_in_onnx_is_told_by_its_first_bytes(content: bytes) -> None:
    assert is_onnx(content)


@pytest.mark.parametrize("content", [b"", b"\x08", b"{L", b"CBM1", b"\x80\x04", b"binf"])
def test_other_files_are_no_onnx(content: bytes) -> None:
    assert not is_onnx(content)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_of_any_protocol_is_named(tmp_path: Path, protocol: int) -> None:
    booster = small()
    tuples = (booster, 1), ("model", booster), (1, booster)
    for value in (booster, {"model": booster}, [booster], *tuples, np.ones(3)):
        said = refusal(tmp_path, pickle.dumps(value, protocol))
        assert "looks like a pickle, which is never loaded" in said
        assert SAVE in said


@pytest.mark.parametrize("kind", ["text", "json", "dot"])
def test_a_dump_is_named(tmp_path: Path, kind: str) -> None:
    booster = small()
    trees = booster.get_dump(dump_format=kind)
    contents = [trees[0], "\n".join(trees), json.dumps(trees)]
    if kind != "dot":
        booster.dump_model(tmp_path / "dump", dump_format=kind)
        contents.append((tmp_path / "dump").read_text())
    for content in contents:
        said = refusal(tmp_path, content.encode())
        assert "is a dump of trees (dump_model, get_dump)" in said
        assert SAVE in said


def test_a_model_behind_a_byte_order_mark_is_not_said_to_begin_with_blanks(tmp_path: Path) -> None:
    model = bytes(small().save_raw("json"))
    assert "begins with a byte order mark;" in refusal(tmp_path, b"\xef\xbb\xbf" + model)
    assert "begins with blanks;" in refusal(tmp_path, b"\n" + model)


def test_parts_of_a_booster_are_named(tmp_path: Path) -> None:
    booster = small()
    said = refusal(tmp_path, booster.save_config().encode())
    assert "is the configuration of a booster (save_config), without trees" in said
    said = refusal(tmp_path, bytes(booster.__getstate__()["handle"]))
    assert "is a snapshot of a booster" in said


@pytest.mark.parametrize("kind", ["json", "ubj"])
def test_a_model_that_is_cut_off_is_named(tmp_path: Path, kind: str) -> None:
    content = bytes(small().save_raw(kind))
    said = refusal(tmp_path, content[: len(content) // 2])
    assert "is cut off or damaged" in said
    assert "copy it again" in said


@pytest.mark.parametrize("kind", ["json", "ubj"])
def test_a_model_is_no_other_file(tmp_path: Path, kind: str) -> None:
    (tmp_path / "model").write_bytes(bytes(small().save_raw(kind)))
    assert read_model(tmp_path / "model").booster.num_boosted_rounds() == 2
