"""A model file is believed only where it agrees with itself; XGBoost reads it after that."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost as xgb

from base.errors import BundleRefusedError
from models.bundle import load_bundle
from models.bundle.model_file import ModelDocument
from models.bundle.trees import check_trees
from models.bundle.ubj import parse_ubj
from tests.support.bundles import edit_model, sum_again, trees_in
from tests.support.small_model import NAMES, labels_of, matrix_of

Model = dict[str, Any]


def model_in(model: Model) -> Model:
    found: Model = model["learner"]["gradient_booster"]["model"]
    return found


def shape_in(model: Model) -> Model:
    found: Model = model["learner"]["learner_model_param"]
    return found


def test_ubj_and_json_say_the_same(booster: xgb.Booster) -> None:
    ubj, plain = (ModelDocument(bytes(booster.save_raw(kind)), kind) for kind in ("ubj", "json"))
    assert ubj.facts == plain.facts
    assert ubj.facts.trees == 20
    for name in ("roots", "left", "right", "parent", "feature", "value", "cover"):
        one, other = (getattr(document.trees(), name) for document in (ubj, plain))
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "params",
    [
        {"tree_method": "exact", "gamma": 3},
        {"tree_method": "approx"},
        {"num_parallel_tree": 3, "subsample": 0.5},
        {"grow_policy": "lossguide", "max_leaves": 9},
        {"max_depth": 1, "gamma": 1e9},
    ],
)
def test_models_that_xgboost_trains_pass_validation(params: dict[str, Any]) -> None:
    matrix = matrix_of(800, len(NAMES))
    given = {"objective": "binary:logistic", "base_score": 0.5, "nthread": 1, **params}
    model = xgb.train(given, xgb.DMatrix(matrix, labels_of(matrix)), 8)
    for version in (model, model[2:5]):
        document = ModelDocument(bytes(version.save_raw("ubj")), "model")
        check_trees(document.trees(), len(NAMES), "model")


DISAGREE: dict[str, tuple[Callable[[Model], object], str]] = {
    "another output": (
        lambda m: model_in(m)["tree_info"].__setitem__(3, 1),
        "tree_info names an output beyond the 1",
    ),
    "fewer in tree_info": (lambda m: model_in(m)["tree_info"].pop(), "20 trees and 19 in"),
    "a tree less": (lambda m: trees_in(m).pop(), "num_trees is 20, with 19 trees"),
    "rounds beyond": (
        lambda m: model_in(m)["iteration_indptr"].__setitem__(-1, 21),
        "iteration_indptr does not lead",
    ),
    "rounds go back": (
        lambda m: model_in(m)["iteration_indptr"].__setitem__(3, 9),
        "iteration_indptr does not lead",
    ),
    "no rounds": (lambda m: model_in(m).update(iteration_indptr=[0]), "iteration_indptr does not"),
    "no parallel tree": (
        lambda m: model_in(m)["gbtree_model_param"].update(num_parallel_tree="0"),
        "num_parallel_tree is 0",
    ),
    "categories": (lambda m: model_in(m)["cats"].update(enc=[1]), "cats holds categories"),
    "odd categories": (lambda m: model_in(m)["cats"].update(enc=1), "cats holds categories"),
    "a node more": (
        lambda m: trees_in(m)[1]["tree_param"].update(num_nodes="99"),
        r"tree 1: default_left has \d+ numbers for 99 nodes",
    ),
    "a short array": (
        lambda m: trees_in(m)[1]["sum_hessian"].pop(),
        r"tree 1: sum_hessian has \d+ numbers for",
    ),
    "no nodes": (
        lambda m: trees_in(m)[1]["tree_param"].update(num_nodes="0"),
        "tree 1: num_deleted is 0, num_nodes 0",
    ),
    "all deleted": (
        lambda m: trees_in(m)[1]["tree_param"].update(num_deleted="999"),
        "tree 1: num_deleted is 999",
    ),
    "vectors": (
        lambda m: trees_in(m)[1]["tree_param"].update(size_leaf_vector="2"),
        "tree 1: its leaves have more than one value",
    ),
    "other place": (
        lambda m: trees_in(m)[1].update(id=0),
        "tree 1: its id is 0, but it is at position 1",
    ),
    "other width": (
        lambda m: trees_in(m)[1]["tree_param"].update(num_feature="5"),
        "tree 1: num_feature is not that of the model, 4",
    ),
    "tree categories": (
        lambda m: trees_in(m)[1].update(categories=[1]),
        "tree 1: 1 categories are not those of categories_sizes",
    ),
    "fractions": (
        lambda m: trees_in(m)[1]["left_children"].__setitem__(0, 1.5),
        "left_children is not an array of 32-bit whole numbers",
    ),
    "beyond 32 bits": (
        lambda m: trees_in(m)[1]["left_children"].__setitem__(0, 2**31),
        "left_children is not an array of 32-bit whole numbers",
    ),
    "beyond 64 bits": (
        lambda m: trees_in(m)[1]["left_children"].__setitem__(0, 2**80),
        "left_children",
    ),
    "text in an array": (
        lambda m: trees_in(m)[1]["parents"].__setitem__(0, "1"),
        "parents is not an array of numbers",
    ),
    "no array": (lambda m: trees_in(m)[1].pop("parents"), "parents is not an array of numbers"),
    "no tree": (lambda m: trees_in(m)[1].clear(), "tree 1: tree_param is not an object"),
    "no learner": (lambda m: m.pop("learner"), "learner is not an object"),
    "no objective": (lambda m: m["learner"]["objective"].pop("name"), "name is not a string"),
    "no target": (
        lambda m: shape_in(m).update(num_target="0"),
        "it has 4 columns and 0 targets",
    ),
    "odd direction": (
        lambda m: trees_in(m)[1]["default_left"].__setitem__(0, 2),
        "tree 1: default_left holds other numbers than 0 and 1",
    ),
    "odd number": (lambda m: shape_in(m).update(num_class="-1"), "num_class is '-1', not a number"),
    "names": (
        lambda m: m["learner"]["feature_names"].pop(),
        "feature_names is not an array of 4 strings",
    ),
    "types": (
        lambda m: m["learner"].update(feature_types=["float"]),
        "feature_types is not an array of 4 strings",
    ),
    "weights": (
        lambda m: model_in(m).update(weight_drop=[1.0] * 20),
        "its booster is dart, with weights of trees; write the bundle again",
    ),
}


@pytest.mark.parametrize(("change", "said"), DISAGREE.values(), ids=DISAGREE)
def test_a_model_that_contradicts_itself_is_refused_before_xgboost_reads_it(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Model], object],
    said: str,
) -> None:
    named = json.loads(bytes(xgb.Booster(model_file=folder / "model.ubj").save_raw("json")))
    change(named)
    (folder / "model.ubj").unlink()
    (folder / "model.json").write_text(json.dumps(named))
    sum_again(folder)
    monkeypatch.setattr("models.bundle.xgboost_model.open_model", None)
    with pytest.raises(BundleRefusedError, match=said):
        load_bundle(folder)


def test_a_key_twice_is_refused(folder: Path) -> None:
    edit_model(folder, lambda _: None)
    text = (folder / "model.json").read_text()
    (folder / "model.json").write_text(
        text.replace('"version":', '"version": [3, 2, 0], "version":')
    )
    sum_again(folder)
    with pytest.raises(BundleRefusedError, match="an object has a key twice"):
        load_bundle(folder)


def text_of(value: str) -> bytes:
    return count_of(len(value.encode())) + value.encode()


def count_of(count: int) -> bytes:
    return b"L" + struct.pack(">q", count)


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"{}", {}),
        (b"{" + text_of("a") + b"i\xff}", {"a": -1}),
        (b"{" + text_of("a") + b"S" + text_of("\u00e9") + b"}", {"a": "\u00e9"}),
        (b"[#" + count_of(3) + b"TFZ", [True, False, None]),
        (b"[#" + count_of(2) + b"U\xffI\xff\xfe", [255, -2]),
        (b"l\x00\x00\x01\x00", 256),
        (b"L" + bytes(7) + b"\x09", 9),
        (b"d\x3f\x80\x00\x00", 1.0),
        (b"D\x3f\xf0" + bytes(6), 1.0),
    ],
)
def test_ubj_is_read_as_it_is_written(content: bytes, value: Any) -> None:
    assert parse_ubj(content) == value


def test_typed_arrays_of_ubj_are_arrays() -> None:
    array = parse_ubj(b"[$d#" + count_of(2) + b"\x3f\x80\x00\x00\xbf\x80\x00\x00")
    assert array.dtype == np.dtype(">f4")
    assert array.tolist() == [1.0, -1.0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cut off, near byte 0"),
        (b"{", "cut off"),
        (b"{}x", "goes on after its end, at byte 2"),
        (b"X", "cannot begin with b'X'"),
        (b"l\x00", "cut off"),
        (b"[i\x01]", "an array has no count"),
        (b"[#i\x01i\x01", "a count does not have 64 bits"),
        (b"[$l]", "an array has no count"),
        (b"[$X#" + count_of(1), "a type that is not known"),
        (b"[$d#" + count_of(2**62) + bytes(8), "goes beyond the end"),
        (b"[$d#" + count_of(3) + bytes(8), "cut off"),
        (b"[#" + count_of(-1), "goes beyond the end"),
        (b"S" + count_of(2**63 - 1) + b"a", "goes beyond the end"),
        (b"S" + count_of(1) + b"\xff", "decode"),
        (b"{" + (text_of("a") + b"Z") * 2 + b"}", "the key 'a' twice"),
        ((b"[#" + count_of(1)) * 1_000, "nested too deeply"),
    ],
)
def test_other_ubj_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_ubj(content)


def test_every_cut_of_a_model_is_refused(booster: xgb.Booster) -> None:
    content = bytes(booster[:1].save_raw("ubj"))
    ModelDocument(content, "model").trees()
    for end in range(len(content)):
        with pytest.raises(BundleRefusedError):
            ModelDocument(content[:end], "model")
