"""Locations of bundles: a folder, a prefix of an object store, or a registered model of MLflow."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from shlex import quote
from typing import Protocol

from base.errors import BundleRefusedError
from base.object_store import is_url
from models.bundle.manifest import Manifest
from models.location.bucket import BucketLocation
from models.location.cache import BundleCache
from models.location.champions import CHAMPION_FILE, Champions
from models.location.folder import FolderLocation
from models.location.registry import MLFLOW, RegistryLocation

__all__ = [
    "CHAMPION_FILE",
    "MLFLOW",
    "BundleCache",
    "Champions",
    "FolderLocation",
    "Location",
    "champion",
    "former_champion",
    "is_remote",
    "open_location",
]

TIMEOUT_S = 5.0


class Location(Protocol):
    """Bundles by name, one of which is the champion; ``str`` gives its path or URL.

    All methods raise BundleRefusedError for a location or bundle that is invalid. Where the
    location is remote, they also raise StoreRefusedError if access is refused, and
    DependencyUnavailableError if there is no answer.
    """

    def stamp(self) -> Hashable:
        """Take a value that changes with the champion and its files; None without a champion.

        Nothing large is read.
        """

    def champions(self) -> Champions:
        """Names of the champion and the former ones."""

    def names(self) -> list[str]:
        """Names of the bundles, in order; where the location is remote, of all that may be one."""

    def where(self, name: str) -> str:
        """Path or URL of a bundle, for messages."""

    def bundle(self, name: str) -> Path:
        """Local folder with the bundle `name`; a remote one is copied, and its sums are checked."""

    def manifest(self, name: str) -> tuple[Manifest, bytes]:
        """Manifest of a bundle, and content of its SHA256SUMS; a remote model is not copied."""

    def add(self, bundle: Path, name: str) -> str:
        """Add the bundle in a local folder, and return its name in the location.

        The name is ``name``, except where the location numbers its bundles.
        """

    def promote(self, name: str) -> str | None:
        """Make the bundle `name` the champion; the bundle must exist, but is not verified.

        Returns:
            Name of the former champion; None if there was none.
        """

    def rollback(self, to: str | None = None) -> tuple[str, str]:
        """Make the former champion the champion again.

        Args:
            to: The expected name, as by `former_champion`; None for any.

        Returns:
            Names of the champion, and of the one that it replaces.
        """


def is_remote(text: str) -> bool:
    """Return True for the URL of a location, False for a path."""
    return text.startswith(MLFLOW) or is_url(text)


def open_location(
    where: Path | str, *, cache: Path | None = None, timeout_s: float = TIMEOUT_S
) -> Location:
    """Open a location; nothing is read.

    Args:
        where: Folder; URL with s3://, gs:// or az://; or mlflow:NAME.
        cache: Folder for copies of remote bundles; None for the default.
        timeout_s: Longest wait for an answer, in seconds.

    Raises:
        ConfigurationError: The URL is invalid, an extra is missing, or there is no place for
            copies.
    """
    if isinstance(where, Path):
        return FolderLocation(where)
    copies = BundleCache.open(cache)
    if where.startswith(MLFLOW):
        return RegistryLocation(where.removeprefix(MLFLOW), copies, timeout_s)
    return BucketLocation(where, copies, timeout_s)


def champion(location: Location) -> str:
    """Name of the champion. Raises BundleRefusedError if none is named."""
    name = location.champions().champion
    if name is None:
        raise BundleRefusedError(
            f"{location}: has no champion; name one with "
            f"`fraud-worker model promote {quote(str(location))} NAME`"
        )
    return name


def former_champion(location: Location) -> str:
    """Name of the former champion that a rollback restores.

    Raises:
        BundleRefusedError: if there is none, or its bundle is gone.
    """
    name = str(location.champions().rolled_back(str(location)).champion)
    location.bundle(name)
    return name
