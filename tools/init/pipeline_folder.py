"""Writer of a new pipeline folder."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from base.errors import ConfigurationError
from base.file_path import FilePath
from base.output_file import require_file_or_nothing
from base.yaml_document import YamlDocument
from tools.init.drafts import policy_yaml, worker_yaml
from tools.init.features_yaml import features_yaml, starters
from tools.init.guess import Guesses, guess
from tools.init.guess_file import SampleGuesses, guess_file
from tools.init.json_schemas import modelines, schema_files
from tools.init.leaves import read_record
from tools.init.yaml_text import open_places
from worker.settings import FILE_NAME, require_folder

SCHEMA_NAME = "transaction.avsc"
_MOST_CHARACTERS_OF_NAME = 50
_STORE = "redis://localhost:6379"


@dataclass(frozen=True, slots=True)
class Written:
    """Result of writing a pipeline folder.

    Attributes:
        files: Files of the folder.
        still_open: Places in features.yaml that a person has to fill in.
    """

    files: tuple[Path, ...]
    still_open: tuple[str, ...]


def write_pipeline(folder: Path, schema: Path, *, force: bool) -> Written:
    """Write worker.yaml, features.yaml and policy.yaml for events of ``schema`` into ``folder``.

    The schema is copied there, and the JSON Schemas of the three files written beside them. Where
    the schema or a file is refused, nothing is written.

    Raises:
        ConfigurationError: The schema cannot be used or has the name of one of these files; or a
            file exists and may not be overwritten (``force``), or is not a regular file.
    """
    guesses = guess(read_record(schema), schema.name)
    if schema.name.lower() in (FILE_NAME, "features.yaml", "policy.yaml"):
        raise ConfigurationError(
            f"--schema: {schema} has the name of a file that init writes beside its copy; call it "
            "event.avsc, say"
        )
    text = schema.read_text(encoding="utf-8")
    return _write_folder(folder, guesses, schema.name, text, force=force)


def write_sampled_pipeline(
    folder: Path, path: FilePath, *, force: bool
) -> tuple[Written, SampleGuesses]:
    """Write a pipeline folder for events like those of a file, with a schema that is derived.

    Returns:
        The files, and the guesses.

    Raises:
        ConfigurationError: The file cannot be read or has no rows, or as of `write_pipeline`.
    """
    found = guess_file(path)
    text = json.dumps(found.schema, indent=2, ensure_ascii=False) + "\n"
    return _write_folder(folder, found.guesses, SCHEMA_NAME, text, force=force), found


def _write_folder(
    folder: Path, guesses: Guesses, schema: str, schema_text: str, *, force: bool
) -> Written:
    name = _name(folder)
    settings = {"kafka.group": f"fraud-{name}"}
    if guesses.with_windows and guesses.entities:
        settings["store.url"] = _STORE
    content = {
        FILE_NAME: worker_yaml(settings),
        "features.yaml": features_yaml(name, schema, guesses),
        "policy.yaml": policy_yaml(starters(guesses)),
    }
    files = {folder / name: modelines(name) + text for name, text in content.items()}
    files[folder / schema] = schema_text
    files |= _schemas(folder)
    for path in files:
        require_file_or_nothing(path, "DIR", "name another folder")
    if not force:
        _refuse_to_overwrite(files)
    _write(files)
    features = YamlDocument(folder / "features.yaml", content["features.yaml"])
    return Written(tuple(files), tuple(open_places(features.values)))


def write_schemas(folder: Path) -> tuple[Path, ...]:
    """Write the JSON Schemas of this version for the pipeline in ``folder``; return their paths.

    Raises:
        ConfigurationError: There is no such folder, or it cannot be written to.
    """
    require_folder(folder)
    files = _schemas(folder)
    _write(files)
    return tuple(files)


def _schemas(folder: Path) -> dict[Path, str]:
    return {folder / path: text for path, text in schema_files().items()}


def _write(files: dict[Path, str]) -> None:
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename}: cannot be written ({error.strerror}); name another folder"
        ) from error


def _refuse_to_overwrite(files: dict[Path, str]) -> None:
    """Raise ConfigurationError for existing files, unless their content is what would be written.

    The schema may already be in the folder, for example.
    """
    there = [
        path.name
        for path, text in files.items()
        if path.exists() and not (path.is_file() and path.read_bytes() == text.encode())
    ]
    if there:
        folder = next(iter(files)).parent
        raise ConfigurationError(
            f"{folder}: {', '.join(there)} is there already; name another folder, or overwrite "
            "with --force"
        )


def _name(folder: Path) -> str:
    """Name for the feature set: the characters of the folder's name that such a name may have."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.absolute().name).strip("-.")
    return name[:_MOST_CHARACTERS_OF_NAME] or "pipeline"
