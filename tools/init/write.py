"""Writes a pipeline folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from base.errors import ConfigurationError
from base.yaml_document import YamlDocument
from features.output_file import require_file_or_nothing
from tools.init.features_yaml import features_yaml, starters
from tools.init.guess import guess
from tools.init.leaves import read_record
from tools.init.openings import open_places
from tools.init.policy_yaml import policy_yaml
from tools.init.worker_yaml import worker_yaml
from worker.settings import FILE_NAME

_MOST_CHARACTERS_OF_NAME = 50


@dataclass(frozen=True, slots=True)
class Written:
    """The files of a new pipeline folder, and what is still open in features.yaml, by place."""

    files: tuple[Path, ...]
    still_open: tuple[str, ...]


def write_pipeline(folder: Path, schema: Path, *, force: bool) -> Written:
    """Write worker.yaml, features.yaml and policy.yaml for events of ``schema`` into ``folder``.

    The schema is copied there. Raises ConfigurationError where the schema cannot be used, has the
    name of one of these files, or where a file is there already and may not be overwritten
    (``force``), or is no file; then nothing is written.
    """
    guesses = guess(read_record(schema))
    name = _name(folder)
    content = {
        FILE_NAME: worker_yaml({"kafka.group": f"fraud-{name}"}),
        "features.yaml": features_yaml(name, schema.name, guesses),
        "policy.yaml": policy_yaml(starters(guesses)),
    }
    if schema.name.lower() in content:
        raise ConfigurationError(
            f"--schema: {schema} has the name of a file that init writes beside its copy; call it "
            "event.avsc, say"
        )
    content[schema.name] = schema.read_text(encoding="utf-8")
    files = {folder / name: text for name, text in content.items()}
    for path in files:
        require_file_or_nothing(path, "DIR", "name another folder")
    if not force:
        _refuse_to_overwrite(files)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename}: cannot be written ({error.strerror}); name another folder"
        ) from error
    features = YamlDocument(folder / "features.yaml", content["features.yaml"])
    return Written(tuple(files), tuple(open_places(features.values)))


def _refuse_to_overwrite(files: dict[Path, str]) -> None:
    """Files that hold what would be written are no obstacle: the schema may stand there already."""
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
    """A name for the feature set: what of the folder's name such a name may hold."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.absolute().name).strip("-.")
    return name[:_MOST_CHARACTERS_OF_NAME] or "pipeline"
