"""A Feast repository: its feature_store.yaml, and the registry file that this names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from base.errors import ConfigurationError, MalformedError
from base.yaml_document import Location, YamlDocument
from tools.feast_repo.registry import FeastRegistry, parse_registry

FILE_NAME = "feature_store.yaml"
_KEY_VERSION = 3
_WRITE_REGISTRY = (
    "write it to a file with Feast, in the repository: python -c 'from feast import FeatureStore; "
    'open("registry.db", "wb").write(FeatureStore(".").registry.proto().SerializeToString())\'; '
    "and name it: --registry registry.db"
)


@dataclass(frozen=True, slots=True)
class Repository:
    """A Feast repository whose online store is Redis.

    Attributes:
        project: Name of the project.
        registry: The project's part of the registry.
        connection: Connection string of the online store.
        redis_type: `redis` or `redis_sentinel`.
        versioned: True if the store's names of views have their versions.
    """

    project: str
    registry: FeastRegistry
    connection: str
    redis_type: str
    versioned: bool


def read_repository(folder: Path, registry: Path | None = None) -> Repository:
    """Read a repository; none of its code is run.

    Args:
        folder: Folder with feature_store.yaml.
        registry: FeastRegistry file; default: the one that feature_store.yaml names.

    Raises:
        ConfigurationError: A file is missing or invalid, or the worker cannot read what the
            repository writes.
    """
    document = _read_document(folder / FILE_NAME)
    project = document.values.get("project")
    if not isinstance(project, str):
        raise document.refuse_key((), "project is missing: name the project of the views")
    connection, redis_type = _online_store(document)
    _check_key_version(document)
    given = document.values.get("registry")
    path = registry or _registry_path(document, given, folder)
    try:
        parsed = parse_registry(path.read_bytes(), project)
    except OSError as error:
        raise ConfigurationError(
            f"registry {path} cannot be read: {error.strerror}; run `feast apply`, or "
            f"{_WRITE_REGISTRY}"
        ) from error
    except MalformedError as error:
        raise ConfigurationError(
            f"registry {path} is no registry file that this version knows: {error}; "
            f"{_WRITE_REGISTRY}"
        ) from error
    versioned = isinstance(given, dict) and given.get("enable_online_feature_view_versioning")
    return Repository(project, parsed, connection, redis_type, bool(versioned))


def _read_document(path: Path) -> YamlDocument:
    if not path.exists():
        raise ConfigurationError(
            f"REPO: there is no {path}; name the folder of a Feast repository, which has a "
            f"{FILE_NAME}"
        )
    YamlDocument.read(path)  # refuses what is no YAML file of a usual size
    # As Feast does it: values may be ${NAME} of the environment.
    return YamlDocument(path, os.path.expandvars(path.read_text(encoding="utf-8-sig")))


def _online_store(document: YamlDocument) -> tuple[str, str]:
    """Connection string and type of the Redis. Raises ConfigurationError for another store."""
    store = document.values.get("online_store")
    settings: dict[str, Any] = store if isinstance(store, dict) else {"type": store}
    where: Location = ("online_store",)
    if settings.get("type") != "redis":
        raise document.refuse(
            where,
            f"the online store is {settings.get('type') or 'none'}, and the worker reads those of "
            "type redis only: let Feast materialize the views to Redis, or load their values with "
            "`fraud-worker features load`",
        )
    kind = str(settings.get("redis_type", "redis"))
    if kind == "redis_cluster":
        raise document.refuse(
            where,
            "the online store is a Redis cluster, and the worker reads one server: use redis_type: "
            "redis, or load the values with `fraud-worker features load`",
        )
    return str(settings.get("connection_string", "localhost:6379")), kind


def _check_key_version(document: YamlDocument) -> None:
    version = document.values.get("entity_key_serialization_version", _KEY_VERSION)
    if version != _KEY_VERSION:
        raise document.refuse(
            ("entity_key_serialization_version",),
            f"keys are serialised in version {version}, and the worker reads version "
            f"{_KEY_VERSION}: set it to {_KEY_VERSION}, and materialize the views again",
        )


def _registry_path(document: YamlDocument, given: Any, folder: Path) -> Path:
    settings: dict[str, Any] = given if isinstance(given, dict) else {"path": given}
    kind, path = settings.get("registry_type", "file"), settings.get("path")
    if kind != "file" or (isinstance(path, str) and "://" in path):
        found = path if kind == "file" else f"of type {kind}"
        raise document.refuse(
            ("registry",), f"the registry is {found}, not a local file: {_WRITE_REGISTRY}"
        )
    if not isinstance(path, str) or not path:
        raise document.refuse(("registry",), f"the registry has no path: {_WRITE_REGISTRY}")
    return folder / path
