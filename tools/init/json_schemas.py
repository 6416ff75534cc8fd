"""JSON Schemas of the files of a pipeline, and the lines by which editors find them."""

from __future__ import annotations

import json

from pydantic import BaseModel

from base.json_schema import json_schema
from features.definition.spec import FeaturesFile
from models.policy.policy_file import PolicySpec
from worker.settings import FILE_NAME, WorkerSettings

_MODELS: dict[str, type[BaseModel]] = {
    FILE_NAME: WorkerSettings,
    "features.yaml": FeaturesFile,
    "policy.yaml": PolicySpec,
}


def schema_files() -> dict[str, str]:
    """Return the JSON Schemas of all files, by their paths in the pipeline folder."""
    schemas = {name: json_schema(model, name) for name, model in _MODELS.items()}
    # The environment may give any setting in place of the file.
    worker = schemas[FILE_NAME]
    for part in (worker, *worker["$defs"].values()):
        part.pop("required", None)
    return {
        _path(name): json.dumps(schema, indent=2, allow_nan=False) + "\n"
        for name, schema in schemas.items()
    }


def modelines(name: str) -> str:
    """Comments at the top of the file ``name`` that name its schema, relative to the file."""
    # The first is for yaml-language-server (VS Code, Neovim, …), the second for JetBrains' editors.
    return f"# yaml-language-server: $schema={_path(name)}\n# $schema: {_path(name)}\n\n"


def _path(name: str) -> str:
    return f".schemas/{name.removesuffix('.yaml')}.schema.json"
