"""JSON Schemas of worker.yaml, features.yaml and policy.yaml against their readers and all files."""

from __future__ import annotations

import copy
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from base.errors import ConfigurationError
from base.yaml_document import YamlDocument
from features.definition import load_feature_set
from models.policy import load_policy
from tools.cli.commands import app
from tools.init.json_schemas import schema_files
from tools.init.pipeline_folder import write_pipeline
from worker.settings import load_settings

ROOT = Path(__file__).parents[3]
SPARKOV = ROOT / "examples" / "sparkov"
TRANSACTION = ROOT / "schemas" / "transaction.avsc"
NAMES = ("worker.yaml", "features.yaml", "policy.yaml")
SCHEMAS = dict(zip(NAMES, map(json.loads, schema_files().values()), strict=True))
FILES = [
    path
    for folder in ("benchmarks", "examples", "k8s", "tests")
    for path in sorted((ROOT / folder).rglob("*.yaml"))
    if path.name in NAMES
]


def errors(name: str, values: Any, schema: dict[str, Any] | None = None) -> list[str]:
    schema = SCHEMAS[name] if schema is None else {**schema, "$defs": SCHEMAS[name]["$defs"]}
    found = Draft202012Validator(schema).iter_errors(values)
    return [f"{error.json_path}: {error.message}" for error in found]


def read(path: Path) -> dict[str, Any]:
    return YamlDocument.read(path).values


def resolved(schema: Any, root: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = dict(schema)
    while "$ref" in found:
        definition = root["$defs"][found.pop("$ref").rpartition("/")[2]]
        found = {**definition, **found}
    return found


def properties(root: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for where, schema in [("", root), *root["$defs"].items()]:
        for key, own in schema["properties"].items():
            yield f"{where}.{key}", resolved(own, root)


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_one_and_closed(name: str) -> None:
    schema = SCHEMAS[name]
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for part in (schema, *schema["$defs"].values()):
        assert part["additionalProperties"] is False


@pytest.mark.parametrize("name", NAMES)
def test_every_key_is_described_and_its_default_and_examples_hold(name: str) -> None:
    for key, own in properties(SCHEMAS[name]):
        assert own["description"].endswith("."), key
        given = [*own.get("examples", ()), *([own["default"]] if "default" in own else ())]
        for value in given:
            assert errors(name, value, own) == [], key


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_of_the_repository_holds(path: Path) -> None:
    assert errors(path.name, read(path)) == []


def examples() -> Iterator[str]:
    """Yield the blocks of code in the documentation."""
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        yield from re.findall(r"(?s)```yaml\n(.*?)```", text)
        for block in re.findall(r"(?:\n    .*|\n(?=\n    ))+", text):
            yield re.sub(r"(?m)^    ", "", block)


def test_the_examples_in_the_documentation_hold() -> None:
    """Most are parts of a file, which hold as far as they go."""
    checked = 0
    for text in examples():
        listed = "features:\n" * text.lstrip().startswith("- ") + text
        try:
            values = YamlDocument(Path("example"), listed).values
        except ConfigurationError:
            continue
        parts = [
            (name, {**schema, "required": [], "oneOf": [{}]})
            for name, schema in SCHEMAS.items()
            if values.keys() <= schema["properties"].keys()
        ]
        found = [errors(name, values, part) for name, part in parts]
        assert not found or [] in found, (text, found)
        checked += bool(found)
    assert checked >= 10


def uncommented(text: str) -> str:
    return re.sub(r"(?m)^( *)#(?=- |[a-z_]+: *[^#\n]|[a-z_]+:$)", r"\1", text)


@pytest.mark.parametrize("comments", [True, False])
def test_a_new_pipeline_holds(comments: bool, tmp_path: Path) -> None:
    write_pipeline(tmp_path, TRANSACTION, force=False)
    for name in NAMES:
        text = (tmp_path / name).read_text()
        if not comments:
            before = text
            text = uncommented(text)
            text = re.sub(r"(?m)^( *)# (?=when_degraded|- name|  where|  bands)", r"\1", text)
            assert text != before
            assert not re.search(r"(?m)^ *#[a-z-]", text)
        assert errors(name, YamlDocument(Path(name), text).values) == []


def test_the_files_of_a_new_pipeline_name_their_schemas(tmp_path: Path) -> None:
    write_pipeline(tmp_path, TRANSACTION, force=False)
    for name in NAMES:
        lines = (tmp_path / name).read_text().splitlines()
        for line, editor in zip(
            lines, ("yaml-language-server: $schema=", "$schema: "), strict=False
        ):
            path = line.removeprefix(f"# {editor}")
            assert json.loads((tmp_path / path).read_text()) == SCHEMAS[name]


def test_the_command_renews_the_schemas(tmp_path: Path) -> None:
    path = tmp_path / ".schemas" / "policy.schema.json"
    path.parent.mkdir()
    path.write_text("of an older version")
    result = CliRunner().invoke(app, ["schema", "--pipeline", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert json.loads(path.read_text()) == SCHEMAS["policy.yaml"]
    assert result.output.count("wrote ") == 3
    absent = CliRunner().invoke(app, ["schema", "--pipeline", str(tmp_path / "absent")])
    assert isinstance(absent.exception, ConfigurationError)


def whole_documents() -> dict[str, Any]:
    """Documents that use every key that others do not exclude."""
    with tempfile.TemporaryDirectory() as folder:
        write_pipeline(Path(folder), TRANSACTION, force=False)
        text = (Path(folder) / "worker.yaml").read_text()
    worker = YamlDocument(Path("worker.yaml"), uncommented(text)).values
    del worker["model"]["location"], worker["registry"]
    features, policy = (read(SPARKOV / name) for name in ("features-wide.yaml", "policy.yaml"))
    return {"worker.yaml": worker, "features.yaml": features, "policy.yaml": policy}


WHOLE = whole_documents()
TEXTS = ["text", "", "7d", "0s", "é b"]
VALUES: list[Any] = [*TEXTS, -1, 3, 1.5, [], {}, ["text"], {"text": 3}]
# What stands in for a value of another kind. worker.yaml is read as the environment is, where all
# is text: there pydantic also takes true for 1, and 1 for true.
REPLACEMENTS = {name: VALUES if name == "worker.yaml" else [*VALUES, 0, True] for name in NAMES}


def accepts(name: str, values: Any) -> bool:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        path = folder / name
        path.write_text(json.dumps(values), encoding="utf-8")
        for beside in ("transaction.avsc", "geo.py"):
            shutil.copy(SPARKOV / beside, folder)
        try:
            if name == "worker.yaml":
                load_settings(folder)
            elif name == "policy.yaml":
                load_policy(path)
            else:
                load_feature_set(path)
        except ConfigurationError:
            return False
        return True


def places(values: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each value's mapping or list and its key or index there."""
    for key in values if isinstance(values, dict) else range(len(values)):
        yield values, key
        if isinstance(values[key], dict | list):
            yield from places(values[key])


def test_the_whole_documents_are_read() -> None:
    for name, values in WHOLE.items():
        assert accepts(name, values), name
        assert errors(name, values) == []


FEATURE = {"name": "F", "field": "amount"}
COUNT = {"name": "F", "window": "count", "by": "card", "over": "7d"}


@pytest.mark.parametrize(
    "change",
    [
        {"worker.yaml": {"kafka": {"group_id": "fraud"}}},
        {"worker.yaml": {"logs": {"level": "verbose"}}},
        {"worker.yaml": {"http": {"port": 65536}}},
        {"worker.yaml": {"store": None}},
        {"policy.yaml": {"version": 7}},
        {"policy.yaml": {"bands": {"decline": 0.9}}},
        {"policy.yaml": {"segments": [{"name": "s", "bands": {"decline": 97}}]}},
        {"features.yaml": {"entities": {"no name": "card"}}},
        {"features.yaml": {"entities": {"one": ["card"]}}},
        {"features.yaml": {"entities": {"nested": ["card", ["merchant"]]}}},
        {"features.yaml": {"entities": {"pair": ["card", {"field": "merchant", "null": True}]}}},
        {"features.yaml": {"history": {"duplicates": "1 week"}}},
        {"features.yaml": {"features": []}},
        *(
            {"features.yaml": {"features": [feature]}}
            for feature in (
                {"name": "F"},
                {**FEATURE, "expr": "amount"},
                {**FEATURE, "over": "7d"},
                {**FEATURE, "args": ["amount"]},
                {"name": "F", "python": "./geo.py:distance_km"},
                {**COUNT, "field": "amount"},
                {**COUNT, "window": "counts"},
                {**COUNT, "over": "0d"},
                {key: value for key, value in COUNT.items() if key != "by"},
            )
        ),
    ],
    ids=str,
)
def test_a_mistake_is_refused(change: dict[str, dict[str, Any]]) -> None:
    [(name, keys)] = change.items()
    assert errors(name, {**WHOLE[name], **keys}) != []


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_what_the_reader_takes_the_schema_takes(name: str, data: st.DataObject) -> None:
    values = copy.deepcopy(WHOLE[name])
    for _ in range(data.draw(st.integers(1, 2))):
        around, key = data.draw(st.sampled_from([*places(values)]))
        change = data.draw(st.sampled_from(["remove", "rename", "replace"]))
        if change == "replace":
            around[key] = data.draw(st.sampled_from(REPLACEMENTS[name]))
        else:
            value = around.pop(key)
            if change == "rename" and isinstance(around, dict):
                around[data.draw(st.sampled_from(["other", "no name"]))] = value
    found = errors(name, values)
    assert not found or not accepts(name, values), found
