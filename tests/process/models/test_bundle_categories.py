"""Categories of a model, of its manifest and of the feature set are the same, or refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost as xgb

from base.errors import BundleRefusedError
from models.backend import open_backend
from models.bundle import Bundle, Categories, FeatureRef, Limits, load_bundle, read_manifest, verify
from models.bundle.categories import describe_unconfirmed, references
from models.bundle.category_sets import in_set, members
from models.bundle.model_checks import check_accepted
from models.bundle.model_file import ModelDocument
from models.bundle.pack import pack_model, read_model
from models.bundle.packed import Names
from models.bundle.simplify import simplify
from models.bundle.ubj import format_ubj, parse_ubj
from models.bundle.wrapper_facts import choose_class
from tests.support.bundles import edit_manifest, edit_model, trees_in
from tests.support.model_kinds import (
    CHANNELS,
    COLUMNS,
    COUNTRIES,
    KINDS,
    features_of,
    kind_bundle,
    rows_of,
    train_kind,
)
from tests.support.small_model import FakeFeatureSet, labels_of, matrix_of

KIND = KINDS["partition"]
BOOSTER = train_kind(KIND)
FEATURES = features_of(KIND)
Tree = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return kind_bundle(tmp_path / "bundle", KIND, BOOSTER)


def first_by_category(tree: Tree) -> int:
    return int(tree["categories_nodes"][0])


def put(key: str, at: int, value: object) -> Callable[[Tree], None]:
    def change(tree: Tree) -> None:
        tree[key][at] = value

    return change


def unmark(tree: Tree) -> None:
    tree["split_type"][first_by_category(tree)] = 0


def double(tree: Tree) -> None:
    tree["categories_nodes"][1] = tree["categories_nodes"][0]


def overlap(tree: Tree) -> None:
    tree["categories_segments"][1] = tree["categories_segments"][1] - 1


def beyond(tree: Tree) -> None:
    tree["categories_sizes"][-1] += 1


def huge(tree: Tree) -> None:
    tree["categories_sizes"][0] = 2**31 - 1


def negative(tree: Tree) -> None:
    tree["categories_sizes"][0] = -1


def empty(tree: Tree) -> None:
    tree["categories_sizes"][0] = 0


def twice(tree: Tree) -> None:
    place = int(np.argmax(tree["categories_sizes"]))
    begin = tree["categories_segments"][place]
    tree["categories"][begin + 1] = tree["categories"][begin]


def fewer(tree: Tree) -> None:
    tree["categories_segments"].pop()


def wrong_column(tree: Tree) -> None:
    tree["split_indices"][first_by_category(tree)] = 0


DAMAGED: dict[str, tuple[Callable[[Tree], None], str]] = {
    "not marked": (unmark, "categories_nodes are not the nodes that split_type marks"),
    "one node twice": (double, "categories_nodes are not the nodes that split_type marks"),
    "another type": (put("split_type", 0, 2), "split_type holds other numbers than 0 and 1"),
    "overlap": (overlap, "categories_segments do not follow each other"),
    "no segment": (fewer, r"\d+ categories_nodes, \d+ categories_segments and"),
    "beyond the end": (beyond, "categories are not those of categories_sizes"),
    "a huge size": (huge, "categories_segments do not follow each other"),
    "a negative size": (negative, "categories_segments do not follow each other"),
    "an empty set": (empty, "categories_segments do not follow each other"),
    "twice": (twice, "categories of a node do not rise"),
    "negative": (put("categories", 0, -1), "categories holds other numbers than 0 to 16,777,215"),
    "too large": (put("categories", 0, 2**24), "categories holds other numbers than 0 to"),
    "fractions": (put("categories", 0, 0.5), "categories is not an array of 32-bit whole numbers"),
    "text": (put("categories_sizes", 0, "1"), "categories_sizes is not an array of numbers"),
    "both": (wrong_column, "a threshold for a feature that other nodes split by categories"),
}


@pytest.mark.parametrize(("change", "said"), DAMAGED.values(), ids=DAMAGED)
def test_sets_that_do_not_hold_are_refused_before_xgboost_reads_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Tree], None], said: str
) -> None:
    edit_model(folder, lambda model: change(trees_in(model)[1]))
    monkeypatch.setattr("models.bundle.xgboost_model.open_model", None)
    with pytest.raises(BundleRefusedError, match=said):
        load_bundle(folder)


def test_a_category_that_takes_much_memory_ends_the_childs_alone(folder: Path) -> None:
    def change(model: dict[str, Any]) -> None:
        for tree in trees_in(model):
            ends = np.cumsum(tree["categories_sizes"]) - 1
            for end in ends:
                tree["categories"][end] = 2**24 - 1

    edit_model(folder, change)
    with pytest.raises(BundleRefusedError, match=r"country has 40 categories|bytes of memory"):
        verify(folder, limits=Limits(bytes=64 * 1024 * 1024))


def test_a_category_beyond_those_of_the_manifest_is_refused(folder: Path) -> None:
    edit_manifest(folder, lambda m: m["features"][1]["categories"].update(other=False))
    with pytest.raises(BundleRefusedError, match="channel has 5 categories, and the model splits"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m["features"][1].pop("categories"), "splits channel by categories, and the"),
        (
            lambda m: m["features"][0].update(categories={"values": ["a"], "other": False}),
            "amount has 1 categories, and the model splits by thresholds",
        ),
        (lambda m: m["features"][1]["categories"].update(values=[]), "categories.values"),
        (lambda m: m["features"][1]["categories"].update(values=[True]), "categories.values"),
        (lambda m: m["features"][1]["categories"].pop("other"), "categories.other: Field required"),
        (lambda m: m.update(fraud_class=1), "fraud class 1 of a model with one output"),
        (lambda m: m.update(fraud_class=-1), "fraud_class: Input should be greater than"),
    ],
)
def test_a_manifest_with_other_categories_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    edit_manifest(folder, change)
    with pytest.raises(BundleRefusedError, match=said):
        load_bundle(folder)


def test_the_manifest_keeps_the_categories_that_the_model_splits_by(folder: Path) -> None:
    kept = {feature.name: feature.categories for feature in read_manifest(folder).features}
    assert kept == {"amount": None, "channel": CHANNELS, "hour": None, "country": COUNTRIES}
    features = json.loads((folder / "manifest.json").read_text())["features"]
    assert ["categories" in feature for feature in features] == [False, True, False, True]


def feature_set(*channels: str, other: bool = True) -> FakeFeatureSet:
    given = Categories(values=channels, other=other)
    changed = {"categories": given, "fingerprint": "ab" * 8}
    own = CHANNELS.values == channels and other
    return FakeFeatureSet(
        [
            each if own or each.name != "channel" else each.model_copy(update=changed)
            for each in FEATURES
        ]
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            feature_set("pos", "ecom", "atm", "moto"),
            "categories of channel in the model demo 1 differ .*: the model has 'p2p', which feat",
        ),
        (
            feature_set("pos", "ecom", "atm", "moto", "p2p", "qr"),
            "features.yaml lists 'qr', which the model does not have",
        ),
        (
            feature_set("pos", "atm", "ecom", "moto", "p2p"),
            "code 1 is 'ecom' in the model and 'atm' in features.yaml",
        ),
        (
            feature_set("pos", "ecom", "atm", "moto", "p2p", other=False),
            "other is True in the model and False in features.yaml",
        ),
    ],
)
def test_a_feature_set_with_other_categories_is_refused_with_what_differs(
    folder: Path, given: FakeFeatureSet, said: str
) -> None:
    bundle = load_bundle(folder)
    assert bundle.columns_for(feature_set(*map(str, CHANNELS.values))) is None
    with pytest.raises(BundleRefusedError, match=said):
        bundle.columns_for(given)


def test_a_feature_without_categories_is_refused(folder: Path) -> None:
    plain = FakeFeatureSet([each.model_copy(update={"categories": None}) for each in FEATURES])
    with pytest.raises(BundleRefusedError, match=r"features\.yaml defines no category"):
        load_bundle(folder).columns_for(plain)


def test_a_set_is_read_as_it_is_written() -> None:
    (sets,) = [
        ModelDocument(bytes(BOOSTER.save_raw("ubj")), "model").trees(),
    ]
    raw = json.loads(bytes(BOOSTER.save_raw("json")))
    expected, first = [], 0
    for tree in trees_in(raw):
        for node, begin, size in zip(
            tree["categories_nodes"],
            tree["categories_segments"],
            tree["categories_sizes"],
            strict=True,
        ):
            expected.append((first + node, tree["categories"][begin : begin + size]))
        first += len(tree["left_children"])
    found = [
        (int(node), members(sets.words[sets.set_begin[node] : sets.set_end[node]]).tolist())
        for node in np.flatnonzero(sets.set_end > sets.set_begin)
    ]
    assert found == expected
    assert sets.by_category.any()


def test_membership_is_that_of_the_set() -> None:
    random = np.random.default_rng(1)
    chosen = np.unique(random.integers(0, 200, 40))
    words = np.zeros(7, np.uint32)
    np.bitwise_or.at(words, chosen // 32, np.uint32(1) << (chosen % 32).astype(np.uint32))
    values = np.concatenate([np.arange(300), [-1, np.nan, 2**24, 1e30]]).astype(np.float32)
    found = in_set(words, np.array(0), np.array(7), values)
    np.testing.assert_array_equal(np.flatnonzero(found), chosen)


def test_names_that_are_not_ascii_are_compared_as_xgboost_writes_them() -> None:
    """XGBoost 3.1 to 3.3 cut the bytes of all names by their numbers of characters."""
    given = with_categories("z\u00e9", "\u00e4", "b")
    whole, cut = ("z\u00e9", "\u00e4", "b"), ("z\\xc3", "\\xa9", "\\xc3")
    for named in (whole, cut):
        assert references(given, {1: named}, "model") == given
    for other in (("z\u00e9", "\u00e4"), ("z\u00e8", "\u00e4", "b"), ("z\\xc3", "\\xa9", "b")):
        with pytest.raises(BundleRefusedError, match="the categories of channel differ: "):
            references(given, {1: other}, "model")


def test_names_of_a_data_frame_that_are_not_ascii_are_accepted() -> None:
    pandas = pytest.importorskip("pandas")
    names = ("\u00e4", "b", "z\u00e9")
    codes = np.arange(90) % 3
    data = pandas.DataFrame({"channel": pandas.Categorical.from_codes(codes, categories=names)})
    booster = xgb.train(
        {"objective": "binary:logistic", "max_cat_to_onehot": 1, "nthread": 1},
        xgb.DMatrix(data, codes == 1, enable_categorical=True, nthread=1),
        1,
    )
    simple = simplify(bytes(booster.save_raw("ubj")), "model")
    given = [with_categories(*names)[1]]
    assert references(given, simple.categories, "model") == given


def test_names_that_are_cut_to_the_same_bytes_are_accepted_and_not_kept() -> None:
    """XGBoost writes the names \u00e4, \u00e9 and \u00f6 as the bytes C3, A4 and C3."""
    cut = ["\u00e4", "\u00e9", "\u00f6"]
    text = np.frombuffer("".join(cut).encode(), np.int8)[:3].tolist()
    document = json.loads(bytes(BOOSTER.save_raw("json")))
    model = document["learner"]["gradient_booster"]["model"]
    encoded = {"offsets": [0, 1, 2, 3], "values": text}
    model["cats"] = {
        "enc": [{"offsets": [], "values": []}, encoded],
        "feature_segments": [],
        "sorted_idx": [],
    }
    named = simplify(json.dumps(document).encode(), "model").categories
    assert named == {1: ("\\xc3", "\\xa4", "\\xc3")}
    given = with_categories(*cut)
    assert references(given, named, "model") == given
    undefined = [FeatureRef(name=name, fingerprint="") for name in COLUMNS]
    assert references(undefined, named, "model") == undefined


# Models trained elsewhere.


@pytest.fixture
def pandas_model(tmp_path: Path) -> tuple[Path, xgb.Booster, np.ndarray]:
    pandas = pytest.importorskip("pandas")
    matrix = rows_of(900)
    texts = np.array(["atm", "ecom", "pos", "qr"])
    codes = np.nan_to_num(matrix[:, 1], nan=0).astype(int) % 4
    frame = pandas.DataFrame(
        {
            "amount": matrix[:, 0],
            "channel": pandas.Categorical(texts[codes], categories=sorted(texts)),
            "hour": matrix[:, 2],
            "country": pandas.Categorical(100 + np.nan_to_num(matrix[:, 3]).astype(int)),
        }
    )
    labels = labels_of(matrix) | (codes == 2)
    booster = xgb.train(
        {"objective": "binary:logistic", "max_depth": 4, "max_cat_to_onehot": 1, "nthread": 1},
        xgb.DMatrix(frame, labels, enable_categorical=True, nthread=1),
        6,
    )
    booster.save_model(tmp_path / "model.json")
    coded = np.stack([frame[name].cat.codes for name in ("channel", "country")])
    matrix[:, [1, 3]] = coded.T
    return tmp_path / "model.json", booster, matrix


def with_categories(*channels: str, other: bool = False) -> list[FeatureRef]:
    update = {"categories": Categories(values=channels, other=other)}
    return [each.model_copy(update=update) if each.name == "channel" else each for each in FEATURES]


def pack(model: Path, definitions: Any = None, **options: Any) -> Bundle:
    out = model.parent / "packed"
    pack_model(model, out, name="p", version="1", names=Names(), definitions=definitions, **options)
    return load_bundle(out)


@pytest.mark.usefixtures("verified_here")
def test_categories_of_a_data_frame_are_read_and_compared(
    pandas_model: tuple[Path, xgb.Booster, np.ndarray],
) -> None:
    model, booster, matrix = pandas_model
    own = ("atm", "ecom", "pos", "qr")
    bundle = pack(model, with_categories(*own))
    assert bundle.features[1].categories == Categories(values=own, other=False)
    expected = booster.predict(xgb.DMatrix(matrix), output_margin=True, validate_features=False)
    margins = open_backend(bundle, "cpu", threads=1).margins(matrix)
    np.testing.assert_array_equal(margins.view(np.uint32), expected.view(np.uint32))


@pytest.mark.usefixtures("verified_here")
@pytest.mark.parametrize(
    ("channels", "other", "said"),
    [
        (("ecom", "atm", "pos", "qr"), False, "code 0 is 'atm' in the model and 'ecom'"),
        (
            ("atm", "ecom", "pos"),
            False,
            "the model has 'qr', which features.yaml does not",
        ),
        (("atm", "ecom", "pos", "qr"), True, "other is False in the model and True"),
        (("atm", "pos"), True, "the model has 'ecom', 'qr', which features.yaml does not"),
    ],
)
def test_other_categories_than_those_of_a_data_frame_are_refused(
    pandas_model: tuple[Path, xgb.Booster, np.ndarray],
    channels: tuple[str, ...],
    other: bool,
    said: str,
) -> None:
    model, _, _ = pandas_model
    with pytest.raises(BundleRefusedError, match=said):
        pack(model, with_categories(*channels, other=other))
    assert not (model.parent / "packed").exists()


@pytest.mark.usefixtures("verified_here")
def test_the_last_category_of_a_data_frame_may_be_all_others(
    pandas_model: tuple[Path, xgb.Booster, np.ndarray],
) -> None:
    bundle = pack(pandas_model[0], with_categories("atm", "ecom", "pos", other=True))
    assert bundle.features[1].categories == Categories(values=("atm", "ecom", "pos"), other=True)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({3: COUNTRIES.values}, "the model does not name the categories of channel: .*'pos', 'ec"),
        ({1: ("pos", "ecom", "atm", "moto", "p2p", "qr")}, "'qr', the last category of channel, "),
        (
            {1: ("pos", "ecom", "atm", "moto", "\\xc3", "qr")},
            "categories of channel are compared in",
        ),
    ],
)
def test_categories_that_a_file_does_not_confirm_are_noted(
    named: dict[int, tuple[str | int, ...]], expected: str
) -> None:
    trees = ModelDocument(bytes(BOOSTER.save_raw("ubj")), "model").trees()
    (note,) = describe_unconfirmed(FEATURES, {3: COUNTRIES.values, **named}, trees)
    assert re.search(expected, note)
    undefined = [each.model_copy(update={"fingerprint": ""}) for each in FEATURES]
    assert describe_unconfirmed(undefined, named, trees) == []


@pytest.mark.usefixtures("verified_here")
def test_pack_prints_the_codes_that_it_takes_for_granted(tmp_path: Path) -> None:
    booster = BOOSTER.copy()
    booster.feature_names = list(COLUMNS)
    booster.save_model(tmp_path / "model.ubj")
    packed = pack_model(
        tmp_path / "model.ubj",
        tmp_path / "packed",
        name="p",
        version="1",
        names=Names(),
        definitions=FEATURES,
    )
    assert [note.partition(":")[0] for note in packed.notes] == [
        "the model does not name the categories of channel",
        "the model does not name the categories of country",
    ]


@pytest.mark.usefixtures("verified_here")
def test_without_definitions_the_manifest_has_the_categories_of_the_file(
    pandas_model: tuple[Path, xgb.Booster, np.ndarray],
) -> None:
    kept = pack(pandas_model[0]).features
    assert kept[1].categories == Categories(values=("atm", "ecom", "pos", "qr"), other=False)
    assert kept[3].categories is not None
    assert kept[3].categories.values[:2] == (100, 101)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda enc: enc[1].update(offsets=[0, 3, 99, 10, 17]), "offsets do not lead"),
        (lambda enc: enc[1].update(offsets=[0, 3, 7, 10, 2**30]), "offsets do not lead"),
        (lambda enc: enc[1]["values"].__setitem__(3, 999), "column 1"),
        (lambda enc: enc[1].update(values="atm"), "values is not an array of whole numbers"),
        (lambda enc: enc[3]["values"].__setitem__(0, 0.5), "values is not an array of whole"),
        (lambda enc: enc[3]["values"].__setitem__(0, 101), "it names a category twice"),
        (lambda enc: enc.__setitem__(1, 7), "cats of column 1"),
    ],
)
def test_damaged_categories_of_a_file_are_refused(
    pandas_model: tuple[Path, xgb.Booster, np.ndarray],
    change: Callable[[list[Any]], object],
    said: str,
) -> None:
    model, _, _ = pandas_model
    document = json.loads(model.read_bytes())
    change(document["learner"]["gradient_booster"]["model"]["cats"]["enc"])
    with pytest.raises(BundleRefusedError, match=said):
        simplify(json.dumps(document).encode(), "model")


# Weights of trees.


def as_newer(booster: xgb.Booster) -> dict[str, Any]:
    """A DART model as XGBoost 3.4 writes it."""
    document: dict[str, Any] = json.loads(bytes(booster.save_raw("json")))
    dart = document["learner"]["gradient_booster"]
    if dart["name"] == "dart":
        model = {**dart["gbtree"]["model"], "weight_drop": dart["weight_drop"]}
        document["learner"]["gradient_booster"] = {"name": "gbtree", "model": model}
    return document


@pytest.mark.usefixtures("verified_here")
@pytest.mark.parametrize("newer", [False, True])
@pytest.mark.parametrize("file", ["model.json", "model.ubj"])
def test_a_dart_model_of_any_version_has_the_margins_of_predict(
    tmp_path: Path, file: str, newer: bool
) -> None:
    booster = train_kind(KINDS["dart"])
    content = bytes(booster.save_raw(file.rpartition(".")[2]))
    if newer:
        document = as_newer(booster)
        content = json.dumps(document).encode() if file == "model.json" else format_ubj(document)
    (tmp_path / file).write_bytes(content)
    out = tmp_path / "packed"
    packed = pack_model(tmp_path / file, out, name="p", version="1", names=Names(generate=True))
    assert packed.notes[0].startswith("it is a DART model")
    bundle, matrix = load_bundle(out), rows_of(300, seed=2)
    expected = booster.predict(xgb.DMatrix(matrix), output_margin=True)
    margins = open_backend(bundle, "cpu", threads=1).margins(matrix)
    np.testing.assert_array_equal(margins.view(np.uint32), expected.view(np.uint32))
    assert b"weight_drop" not in (out / "model.ubj").read_bytes()


def test_a_dart_model_keeps_names_that_are_not_ascii(tmp_path: Path) -> None:
    """XGBoost reads an escape as it stands: another name."""
    booster = train_kind(KINDS["dart"], rounds=1)
    names = ["montant_\u00e9", 'a "b"', "\u91d1\u989d", "d"]
    booster.feature_names = names
    for file in ("model.json", "model.ubj"):
        booster.save_model(tmp_path / file)
        assert read_model(tmp_path / file).booster.feature_names == names


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([float("nan")] * 6, "weights that are negative, or not finite numbers"),
        ([1.0, 1.0, 1.0, 1.0, 1.0, float("inf")], "weights that are negative, or not finite"),
        ([1.0, 1.0, 1.0, 1.0, 1.0, 1e39], "weights that are negative, or not finite"),
        ([1.0, 1.0, 1.0, 1.0, 1.0, -0.1], "weights that are negative, or not finite"),
        ([1.0] * 5, "weight_drop has 5 weights for 6 trees"),
        ([], "weight_drop has 0 weights for 6 trees"),
        (0.5, "weight_drop is not an array of numbers"),
        (["1"] * 6, "weight_drop is not an array of numbers"),
    ],
)
@pytest.mark.parametrize("newer", [False, True])
def test_weights_that_are_none_are_refused(weights: Any, said: str, newer: bool) -> None:
    booster = train_kind(KINDS["dart"])
    document = as_newer(booster) if newer else json.loads(bytes(booster.save_raw("json")))
    place = document["learner"]["gradient_booster"]
    (place["model"] if newer else place)["weight_drop"] = weights
    for content in (json.dumps(document).encode(), format_ubj(document)):
        with pytest.raises(BundleRefusedError, match=said):
            simplify(content, "model")


def test_a_document_is_written_as_it_was_read() -> None:
    content = bytes(BOOSTER.save_raw("ubj"))
    document = parse_ubj(content)
    again = parse_ubj(format_ubj(document))
    booster = xgb.Booster(model_file=bytearray(format_ubj(document)))
    assert bytes(booster.save_raw("ubj")) == content
    assert json.dumps(again, default=np.ndarray.tolist) == json.dumps(
        document, default=np.ndarray.tolist
    )
    assert parse_ubj(format_ubj({"a": [True, False, None, 1, -0.5, "\u00e9"]})) == {
        "a": [True, False, None, 1, -0.5, "\u00e9"]
    }


# Classes.


@pytest.mark.usefixtures("verified_here")
@pytest.mark.parametrize(
    ("names", "given", "chosen"),
    [
        (None, "2", 2),
        (["legit", "friendly", "fraud", "abuse"], "fraud", 2),
        ([10, 20, 30, 40], "20", 1),
    ],
)
def test_the_class_that_is_fraud_is_a_name_of_the_file_or_a_number(
    tmp_path: Path, names: list[Any] | None, given: str, chosen: int
) -> None:
    booster = train_kind(KINDS["classes"], rounds=2)
    if names:
        booster.set_attr(scikit_learn=json.dumps({"classes_": names}))
    booster.feature_names = list(COLUMNS)
    booster.save_model(tmp_path / "model.ubj")
    bundle = pack(tmp_path / "model.ubj", FEATURES, fraud_class=given)
    assert bundle.fraud_class == chosen == read_manifest(bundle.path).fraud_class


@pytest.mark.usefixtures("verified_here")
@pytest.mark.parametrize(
    ("kind", "names", "given", "said"),
    [
        ("classes", None, None, "the model has 4 classes, 0 to 3, and none is given .* --fraud-cl"),
        ("classes", None, "4", "the model has 4 classes, 0 to 3, and 4 is given"),
        ("classes", None, "fraud", "'fraud' is not a class: .* does not name its classes; give a"),
        ("classes", None, "-1", "'-1' is not a class"),
        ("classes", ["a", "b", "c", "d"], "e", "'e' is not a class: .* names a, b, c, d"),
        ("classes", ["a", "b", "c", "d"], "1", "'1' is not a class: .* names a, b, c, d"),
        ("forest", None, "1", "fraud class 1 of a model with one output, binary:logistic; omit"),
    ],
)
def test_a_class_that_is_none_is_refused(
    tmp_path: Path, kind: str, names: list[str] | None, given: str | None, said: str
) -> None:
    booster = train_kind(KINDS[kind], rounds=2)
    if names:
        booster.set_attr(scikit_learn=json.dumps({"classes_": names}))
    booster.feature_names = list(COLUMNS)
    booster.save_model(tmp_path / "model.ubj")
    with pytest.raises(BundleRefusedError, match=said):
        pack(tmp_path / "model.ubj", FEATURES, fraud_class=given)
    assert not (tmp_path / "packed").exists()


@pytest.mark.parametrize("attribute", ['{"classes_": 5}', '{"classes_": "abcd"}', "[" * 100_000])
def test_damaged_attributes_of_the_scikit_learn_api_name_no_classes(attribute: str) -> None:
    booster = train_kind(KINDS["classes"], rounds=1)
    booster.set_attr(scikit_learn=attribute)
    assert choose_class(booster, "2", "model") == 2
    with pytest.raises(BundleRefusedError, match="does not name its classes"):
        choose_class(booster, "a", "model")


def test_a_model_of_a_single_class_is_refused() -> None:
    """It has one margin, which is the log-odds of nothing."""
    params = {"objective": "multi:softprob", "num_class": 1, "nthread": 1}
    booster = xgb.train(params, xgb.DMatrix(rows_of(50), np.zeros(50)), 1)
    facts = ModelDocument(bytes(booster.save_raw("ubj")), "model").facts
    with pytest.raises(BundleRefusedError, match=r"it has 1 class\(es\); accepted are 2 to 100"):
        check_accepted(facts, "model")


def test_a_forest_of_the_scikit_learn_api_scores_as_predict_proba(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    matrix = matrix_of(800, len(COLUMNS))
    forest = xgb.XGBRFClassifier(n_estimators=30, max_depth=5, n_jobs=1)
    forest.fit(matrix, labels_of(matrix))
    folder = kind_bundle(tmp_path / "bundle", KINDS["forest"], forest.get_booster())
    backend = open_backend(load_bundle(folder), "cpu", threads=1)
    expected = forest.predict(matrix, output_margin=True)
    np.testing.assert_array_equal(backend.margins(matrix), expected)
