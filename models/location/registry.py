"""Location in MLflow's model registry: the versions of a registered model are the bundles.

The artifact of a version is the folder of a bundle. The alias `champion` names the version that
serves; a tag of the registered model has the former ones. MLflow has no conditional write: of two
people who promote at the same moment the later one wins, and the other is not told.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from base.address import mask_addresses
from base.errors import (
    BundleRefusedError,
    ConfigurationError,
    DependencyUnavailableError,
    StoreRefusedError,
)
from base.object_store import require_encrypted
from models.bundle.load import MAX_MANIFEST_BYTES
from models.bundle.manifest import MANIFEST_FILE, Manifest
from models.bundle.sums import MAX_FILES, MAX_SUMS_BYTES, SUMS_FILE, check_size, read_plain
from models.location.bucket import checked_manifest
from models.location.cache import BundleCache
from models.location.champions import Champions

if TYPE_CHECKING:
    from mlflow import MlflowClient

MLFLOW: Final = "mlflow:"
ALIAS: Final = "champion"
FORMER_TAG: Final = "fraud_worker.former_champions"
URI_VARIABLE: Final = "MLFLOW_TRACKING_URI"
ARTIFACT: Final = "bundle"
"""Folder of the bundle among the artifacts of a run."""

_REFUSED: Final = ("PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED")
_REFUSED_STATUS: Final = ("error code 401", "error code 403")
_ABSENT: Final = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")
_SHOWN: Final = 300


class RegistryLocation:
    """The versions of a registered model; see `models.location.Location`.

    Args:
        name: Name of the registered model.
        cache: Copies of the bundles.
        timeout_s: Longest wait for an answer, in seconds.

    Raises:
        ConfigurationError: The extra `mlflow` or the address of the server is missing.
    """

    def __init__(self, name: str, cache: BundleCache, timeout_s: float) -> None:
        self._name = name
        self._cache = cache
        self._client = open_client(timeout_s)

    def __str__(self) -> str:
        return f"mlflow:{self._name}"

    def stamp(self) -> Hashable:
        return self.champions().champion

    def champions(self) -> Champions:
        with asking(str(self)):
            model = self._client.get_registered_model(self._name)
        champion = model.aliases.get(ALIAS)
        former = str(model.tags.get(FORMER_TAG, "")).split(",")
        return Champions(None if champion is None else str(champion), tuple(filter(None, former)))

    def names(self) -> list[str]:
        with asking(str(self)):
            versions = list(self._client.search_model_versions(f"name='{self._name}'"))
        return [str(number) for number in sorted(int(one.version) for one in versions)]

    def where(self, name: str) -> str:
        return f"{self}/{name}"

    def bundle(self, name: str) -> Path:
        artifacts = self._artifacts(name)
        sums = self._small(artifacts, name, SUMS_FILE, MAX_SUMS_BYTES)
        if sums is None:
            raise BundleRefusedError(
                f"{self.where(name)}: has no {SUMS_FILE}; it is not a model bundle: register the "
                "folder of a bundle"
            )
        return self._cache.keep(sums, self.where(name), partial(self._fill, artifacts, name))

    def manifest(self, name: str) -> tuple[Manifest, bytes]:
        artifacts = self._artifacts(name)
        sums = self._small(artifacts, name, SUMS_FILE, MAX_SUMS_BYTES)
        if sums is None:
            raise BundleRefusedError(f"{self.where(name)}: has no {SUMS_FILE}")
        text = self._small(artifacts, name, MANIFEST_FILE, MAX_MANIFEST_BYTES)
        return checked_manifest(sums, text, self.where(name)), sums

    def add(self, bundle: Path, name: str) -> str:
        with asking(str(self)):
            run = self.start_run(name)
            self._client.log_artifacts(run, str(bundle), ARTIFACT)
            self._client.set_terminated(run)
            return self.register(run)

    def start_run(self, name: str) -> str:
        """Start a run of the experiment with the model's name; return its id."""
        with asking(str(self)):
            found = self._client.get_experiment_by_name(self._name)
            experiment = found.experiment_id if found else None
            experiment = experiment or self._client.create_experiment(self._name)
            return str(self._client.create_run(experiment, run_name=name).info.run_id)

    def register(self, run_id: str) -> str:
        """Register the bundle among a run's artifacts as the next version."""
        with asking(str(self)):
            if not self._client.search_registered_models(f"name='{self._name}'"):
                self._client.create_registered_model(self._name)
            source = f"{self._client.get_run(run_id).info.artifact_uri}/{ARTIFACT}"
            made = self._client.create_model_version(
                self._name, source, run_id, await_creation_for=0
            )
            return str(made.version)

    def promote(self, name: str) -> str | None:
        self._require_version(name)
        now = self.champions()
        then = now.promoted(name)
        if then is not now:
            # As in a folder, a crash between the two writes leaves the champion named twice.
            self._note(then)
            self._name_champion(then)
        return now.champion

    def rollback(self, to: str | None = None) -> tuple[str, str]:
        now = self.champions()
        then = now.rolled_back(str(self), to)
        self._name_champion(then)
        self._note(then)
        return str(then.champion), str(now.champion)

    def _require_version(self, name: str) -> None:
        names = self.names()
        if name not in names:
            raise BundleRefusedError(
                f"{self}: there is no version {name}; there are: {', '.join(names) or 'none'}"
            )

    def _note(self, champions: Champions) -> None:
        with asking(str(self)):
            self._client.set_registered_model_tag(
                self._name, FORMER_TAG, ",".join(champions.former)
            )

    def _name_champion(self, champions: Champions) -> None:
        with asking(str(self)):
            self._client.set_registered_model_alias(self._name, ALIAS, str(champions.champion))

    def _artifacts(self, name: str) -> Any:
        """Repository of the artifacts of a version."""
        from mlflow.store.artifact.artifact_repository_registry import (  # noqa: PLC0415  an extra
            get_artifact_repository,
        )

        self._require_version(name)
        with asking(self.where(name)):
            uri = self._client.get_model_version_download_uri(self._name, name)
            require_encrypted(uri, "the artifacts' address")
            return get_artifact_repository(uri)

    def _small(self, artifacts: Any, name: str, file: str, bound: int) -> bytes | None:
        """Content of a small file of a bundle; None if there is none."""
        sizes = self._sizes(artifacts, name)
        if file not in sizes:
            return None
        with tempfile.TemporaryDirectory() as folder, asking(self.where(name)):
            return read_plain(Path(artifacts.download_artifacts(file, folder)), bound)

    def _sizes(self, artifacts: Any, name: str) -> dict[str, int]:
        with asking(self.where(name)):
            listed = list(artifacts.list_artifacts())
        if len(listed) > MAX_FILES or any(one.is_dir for one in listed):
            raise BundleRefusedError(
                f"{self.where(name)}: holds folders, or more than {MAX_FILES} files; it is not a "
                "model bundle: register the folder of a bundle"
            )
        sizes = {str(one.path): int(one.file_size or 0) for one in listed}
        check_size(sizes, Path(self.where(name)))
        return sizes

    def _fill(self, artifacts: Any, name: str, folder: Path) -> None:
        """Copy the files of a version into a folder."""
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".copy-") as temporary:
            for file in self._sizes(artifacts, name):
                with asking(self.where(name)):
                    copied = artifacts.download_artifacts(file, temporary)
                shutil.move(copied, folder / Path(file).name)


def open_client(timeout_s: float) -> MlflowClient:
    """Make a client of the tracking server that the environment names; nothing is sent.

    Raises:
        ConfigurationError: The extra `mlflow` or the address of the server is missing.
    """
    uri = os.environ.get(URI_VARIABLE, "")
    if not uri:
        raise ConfigurationError(
            f"{URI_VARIABLE} is not set in the environment; set it to the address of the MLflow "
            "server"
        )
    require_encrypted(uri, URI_VARIABLE)
    # MLflow reads its bounds from the environment; its own are 120 s and seven attempts.
    for name, value in {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(max(1, round(timeout_s))),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Of runs; standard output is for what a command prints.
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient  # noqa: PLC0415  an extra
    except ImportError as error:
        raise ConfigurationError(
            f"mlflow: needs MLflow, which cannot be imported ({error}); install the extra `mlflow`"
        ) from error
    # Its news of each version are for notebooks.
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    return MlflowClient(uri, uri)


@contextmanager
def asking(where: str) -> Iterator[None]:
    """Raise MLflow's errors as those of this project."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415  an extra

    try:
        yield
    except (MlflowException, OSError) as error:
        code = str(getattr(error, "error_code", ""))
        reason = mask_addresses(" ".join(str(error).split()))[:_SHOWN]
        if code in _ABSENT:
            raise StoreRefusedError(
                f"{where}: {reason}; correct its name, or register it"
            ) from error
        if code in _REFUSED or any(words in str(error) for words in _REFUSED_STATUS):
            raise StoreRefusedError(
                f"{where}: access is refused ({reason}); see MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
            ) from error
        raise DependencyUnavailableError(
            f"{where}: no usable answer ({reason}); see {URI_VARIABLE} and that the server is up"
        ) from error
