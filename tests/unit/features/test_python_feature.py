"""``python:`` in features.yaml: where it is refused, what is in its fingerprint, what it gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from base.errors import ConfigurationError
from features.compute.enrich import enrich
from features.definition import FeatureSet, load_feature_set
from features.store.memory import MemoryStore
from tests.support.making import (
    EVENTS,
    doubles,
    events,
    feature_set,
    matrix,
    strings,
    write_pipeline,
)

CODE = """\
import numpy as np


def ratio(a, b):
    return a / b


def picky(a):
    if (a == 1234.5).any():
        raise ValueError("1234.5")
    return a + 1.0


def mean(a):
    return np.full(len(a), np.mean(a))


def number(a):
    return 1.0
"""
TEXT = f"""{EVENTS}  amount: {{field: amount, scale: 2}}
entities: {{card: card}}
features:
  - {{name: A, expr: x + 1}}
  - {{name: B, python: './own.py:ratio', args: [A, 2 * amount]}}
"""


def write(folder: Path, text: str = TEXT, code: str = CODE) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "own.py").write_text(code, encoding="utf-8")
    return write_pipeline(folder, text)


def made(folder: Path, features: str, code: str = CODE) -> FeatureSet:
    path = write(folder, f"{EVENTS}entities: {{card: card}}\nfeatures:\n{features}", code)
    return load_feature_set(path)


def test_a_python_feature_takes_fields_earlier_features_and_expressions(tmp_path: Path) -> None:
    loaded = load_feature_set(write(tmp_path))
    assert {"x", "amount"} <= loaded.paths
    given = {"x": doubles([3.0, None, 4.0]), "amount": doubles([1.0, 2.0, 0.125])}
    np.testing.assert_array_equal(
        matrix(loaded, 3, **given)[:, 1], np.array([2.0, np.nan, 5 / 0.24], np.float32)
    )


def test_constants_are_columns_too(tmp_path: Path) -> None:
    loaded = made(tmp_path, "  - {name: B, python: './own.py:ratio', args: [1, 0.5]}\n")
    np.testing.assert_array_equal(matrix(loaded, 3)[:, 0], [2, 2, 2])
    assert matrix(loaded, 0).shape == (0, 1)


def test_a_later_feature_may_use_it(tmp_path: Path) -> None:
    loaded = made(
        tmp_path,
        "  - {name: B, python: './own.py:ratio', args: [x, 2]}\n  - {name: C, expr: B * 10}\n",
    )
    assert matrix(loaded, 1, x=doubles([3.0]))[0].tolist() == [1.5, 15.0]


def test_windows_take_one_made_of_the_event_alone(tmp_path: Path) -> None:
    loaded = made(
        tmp_path,
        "  - {name: B, python: './own.py:ratio', args: [x, 2]}\n"
        "  - {name: S, window: sum, of: B, scale: 1, by: card, over: 1d}\n"
        "  - {name: N, window: count, where: B > 1, by: card, over: 1d}\n",
    )
    given = {"x": doubles([1.0, 3.0, None]), "card": strings(["c"] * 3)}
    np.testing.assert_array_equal(matrix(loaded, 3, **given)[:, 1:], [[0.5, 0], [2, 1], [2, 1]])


def test_a_python_feature_of_a_window_sees_its_value(tmp_path: Path) -> None:
    loaded = made(
        tmp_path,
        "  - {name: N, window: count, by: card, over: 1d}\n"
        "  - {name: B, python: './own.py:ratio', args: [N, 2]}\n",
    )
    assert matrix(loaded, 3, card=strings(["c"] * 3))[:, 1].tolist() == [0.5, 1.0, 1.5]


def test_a_row_that_it_refuses_is_missing_and_flagged_and_no_other(tmp_path: Path) -> None:
    loaded = made(
        tmp_path,
        "  - {name: N, window: count, by: card, over: 1d}\n"
        "  - {name: B, python: './own.py:ratio', args: [x, 2]}\n"
        "  - {name: P, python: './own.py:picky', args: [x]}\n",
    )
    assert loaded.flags.names[-2:] == ("python_failed:B", "python_failed:P")
    values = [1.0, 1234.5, None, 4.0, 1234.5]
    enriched = enrich(loaded, events(loaded, 5, x=doubles(values)), MemoryStore())
    np.testing.assert_array_equal(enriched.matrix[:, 2], [2, np.nan, np.nan, 5, np.nan])
    failed = loaded.flags.carries("python_failed:P", enriched.flags)
    assert failed.tolist() == [False, True, False, False, True]
    assert not loaded.flags.carries("python_failed:B", enriched.flags).any()


REFUSED = {
    "no args": (", args: [A, 2 * amount]", "", "10:5", "a python feature needs args: list the"),
    "empty args": ("[A, 2 * amount]", "[]", "10:47", "at least 1 item"),
    "a mapping": ("[A, 2 * amount]", "[{a: 1}]", "10:48", ""),
    "args elsewhere": ("expr: x + 1", "expr: x + 1, args: [x]", "9:5", "args belongs to a python"),
    "args alone": ("expr: x + 1", "args: [x]", "9:5", "has no kind: add field"),
    "two kinds": ("python:", "field: x, python:", "10:5", "field and python exclude each other"),
    "an unknown name": ("[A, ", "[AA, ", "10:48", "unknown name 'AA'"),
    "within an argument": ("2 * amount", "2 * amuont", "10:55", "did you mean 'amount'?"),
    "text": ("[A, ", "[channel, ", "10:48", "gives text"),
    "a time": ("[A, ", "[at, ", "10:48", "gives a time"),
    "a later feature": ("[A, ", "[C, ", "10:48", "unknown name 'C'"),
    "no function": (":ratio", "", "10:23", "names no function"),
    "a misspelt function": (":ratio", ":raito", "10:23", "did you mean 'ratio'?"),
    "an absent file": ("own.py", "geo.py", "10:23", "geo.py cannot be read: No such file"),
    "too few": ("[A, 2 * amount]", "[A]", "10:47", "ratio(a, b) does not take 1 argument:"),
    "too many": ("[A, ", "[A, A, ", "10:47", "ratio(a, b) does not take 3 arguments:"),
    "impure": (":ratio', args: [A, 2 * amount]", ":mean', args: [A]", "10:23", "for a row alone"),
    "a number": (":ratio', args: [A, 2 * amount]", ":number', args: [A]", "10:23", "returns float"),
}


@pytest.mark.parametrize(("found", "instead", "place", "message"), REFUSED.values(), ids=REFUSED)
def test_an_invalid_python_feature_is_refused_at_its_place(
    found: str, instead: str, place: str, message: str, tmp_path: Path
) -> None:
    assert TEXT.count(found) == 1
    path = write(tmp_path, TEXT.replace(found, instead))
    with pytest.raises(ConfigurationError) as refusal:
        load_feature_set(path)
    first = str(refusal.value).splitlines()[0]
    assert message in first
    assert first.startswith(f"{path}:{place}: "), first


def test_the_place_within_the_file_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, code=CODE + "\n\ndef g(:\n")
    with pytest.raises(ConfigurationError, match=r"features.yaml:10:23: own.py:22:7: this is not"):
        load_feature_set(path)


def test_there_are_flags_for_so_many_only(tmp_path: Path) -> None:
    features = "".join(
        f"  - {{name: B{i}, python: './own.py:ratio', args: [x, {i}]}}\n" for i in range(65)
    )
    with pytest.raises(ConfigurationError, match=r":8:3: .* have 65 flags, 64 at most"):
        made(tmp_path, features)


def fingerprint(
    folder: Path, args: str = "[x, y]", code: str = CODE, function: str = "ratio"
) -> str:
    features = f"  - {{name: B, python: './own.py:{function}', args: {args}}}\n"
    return made(folder, features, code).features[0].fingerprint


def test_a_fingerprint_knows_source_function_and_arguments(tmp_path: Path) -> None:
    two = CODE + "\n\ndef other(a, b):\n    return a / b\n"
    seen = [
        fingerprint(tmp_path),
        fingerprint(tmp_path, "[y, x]"),
        fingerprint(tmp_path, "[x, y + 1]"),
        fingerprint(tmp_path, code=CODE + "\n"),
        fingerprint(tmp_path, code=CODE.replace("a / b", "b / a")),
        fingerprint(tmp_path, code=two),
        fingerprint(tmp_path, code=two, function="other"),
    ]
    assert len(set(seen)) == len(seen)


def test_a_fingerprint_does_not_know_formatting_or_where_the_file_is(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    assert fingerprint(here, "[x, y*2]") == fingerprint(there, "[x, (y * 2.0)]")


def test_a_python_feature_of_a_lookup_feeds_no_window(tmp_path: Path) -> None:
    text = f"""{EVENTS}entities: {{card: card}}
lookups: {{profile: {{by: card, values: {{v: }}}}}}
features:
  - {{name: V, lookup: profile.v}}
  - {{name: B, python: './own.py:ratio', args: [V, x]}}
  - {{name: S, window: sum, of: B, scale: 1, by: card, over: 1d}}
"""
    with pytest.raises(ConfigurationError, match=r":11:32: B needs a window or a lookup"):
        load_feature_set(write(tmp_path, text))
    (tmp_path / "features.yaml").unlink()
    loaded = load_feature_set(write(tmp_path, text.rpartition("  -")[0]))
    assert loaded.irreproducible == (0, 1)


def test_a_file_is_looked_for_beside_features_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "own.py").write_text(CODE, encoding="utf-8")
    text = f"{EVENTS}features:\n  - {{name: B, python: code/own.py:ratio, args: [x, 2]}}\n"
    assert matrix(feature_set(tmp_path, text), 1, x=doubles([3.0]))[0, 0] == 1.5


def mount(folder: Path, version: str, features: str, code: str) -> None:
    """Put files into a folder as the kubelet mounts a ConfigMap, in place of those before."""
    data = folder / f"..2026_11_29_{version}"
    data.mkdir(parents=True)
    for name, text in {"features.yaml": features, "own.py": code}.items():
        (data / name).write_text(text, encoding="utf-8")
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    (folder / "..data_tmp").symlink_to(data.name)
    (folder / "..data_tmp").rename(folder / "..data")


def test_a_config_map_is_read_through_its_links_also_after_it_has_changed(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain")
    schema = f"schema: {plain.parent / 'event.avsc'}"
    text = TEXT.replace("schema: event.avsc", schema)
    assert text != TEXT
    mount(tmp_path / "mounted", "01", text, CODE)
    features = tmp_path / "mounted" / "features.yaml"
    first = load_feature_set(features).features[1].fingerprint
    assert first == load_feature_set(plain).features[1].fingerprint
    mount(tmp_path / "mounted", "02", text, CODE.replace("a / b", "b / a"))
    loaded = load_feature_set(features)
    assert loaded.features[1].fingerprint != first
    given = {"x": doubles([3.0]), "amount": doubles([1.0])}
    assert matrix(loaded, 1, **given)[0, 1] == 0.5


def test_a_file_outside_the_folder_of_features_yaml_is_refused_at_its_place(tmp_path: Path) -> None:
    folder = tmp_path / "pipeline"
    folder.mkdir()
    path = write(folder, TEXT.replace("./own.py", "../own.py"))
    (folder / "own.py").rename(tmp_path / "own.py")
    with pytest.raises(
        ConfigurationError, match=r"features.yaml:10:23: .* leads to .*, outside .*/pipeline; put"
    ):
        load_feature_set(path)


def test_a_link_to_features_yaml_does_not_let_in_what_is_beside_the_file_it_leads_to(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "real")
    folder = tmp_path / "pipeline"
    folder.mkdir()
    for name in (path.name, "event.avsc"):
        (folder / name).symlink_to(path.parent / name)
    with pytest.raises(ConfigurationError, match=r"own.py cannot be read: No such file"):
        load_feature_set(folder / path.name)
    (folder / "own.py").symlink_to(path.parent / "own.py")
    with pytest.raises(ConfigurationError, match=r"own.py leads to .*, outside .*/pipeline; put"):
        load_feature_set(folder / path.name)
