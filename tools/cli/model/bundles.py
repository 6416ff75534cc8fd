"""Choice of the bundles that a command works on, and the requirements on them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Annotated, Self

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.bundle import Limits, Verified
    from models.bundle.manifest import NamedFeature
    from models.location import Location

PlaceArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[BUNDLE]",
        help="Folder of a bundle, or location of bundles; default: the one that the pipeline names.",
        show_default=False,
    ),
]
LocationArgument = Annotated[
    str,
    typer.Argument(
        metavar="LOCATION",
        help="Location of bundles: a folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, "
        "az://CONTAINER/PREFIX or mlflow:NAME.",
    ),
]
FitOption = Annotated[
    Path | None,
    typer.Option(
        "--pipeline",
        "-p",
        envvar="FRAUD_WORKER_PIPELINE",
        metavar="DIR",
        help="Pipeline folder. Checks that the bundle fits its features; uses its limits and "
        "device.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class Requirements:
    """Requirements that a bundle has to meet.

    Attributes:
        features: Features of the pipeline; None without a pipeline.
        device: Device on which the bundle is verified.
        limits: Limits of time and size for its verification.
    """

    features: Sequence[NamedFeature] | None
    device: str
    limits: Limits

    def verify(self, bundle: Path, where: str) -> Verified:
        """Verify the bundle in a folder, known to the user as ``where``.

        Raises BundleRefusedError with the reason.
        """
        from base.errors import BundleRefusedError
        from models.bundle import verify

        try:
            return verify(bundle, expected=self.features, device=self.device, limits=self.limits)
        except BundleRefusedError as error:
            raise BundleRefusedError(str(error).replace(str(bundle), where)) from error


def requirements(pipeline: Path | None) -> Requirements:
    """Requirements of the pipeline folder on its model; without a folder, the defaults."""
    from models.bundle import Limits

    if pipeline is None:
        return Requirements(None, "cpu", Limits())
    from features.definition import load_feature_set
    from worker.settings import load_settings

    settings = load_settings(pipeline)
    model = settings.model
    limits = Limits(model.verify_timeout_s, model.verify_max_bytes)
    return Requirements(load_feature_set(settings.features).features, model.device, limits)


def location_at(text: str) -> Location:
    """Open the location that a user named. Raises ConfigurationError for an invalid URL."""
    from models.location import is_remote, open_location

    return open_location(text if is_remote(text) else Path(text))


def bundle_or_location(given: str | None, pipeline: Path | None) -> Path | Location:
    """Choose a bundle's folder or a location: the given one, else the one that the pipeline names.

    Raises:
        ConfigurationError: The path is neither a bundle nor a location; or the URL is no location,
            such as that of one bundle.
    """
    from base.errors import ConfigurationError
    from models.bundle.sums import SUMS_FILE
    from models.location import CHAMPION_FILE, FolderLocation, is_remote, open_location
    from worker.settings import load_settings

    if given is None:
        model = load_settings(pipeline or Path()).model
        if model.location is not None:
            return open_location(
                model.location, cache=model.cache, timeout_s=model.location_timeout_s
            )
        given = str(model.bundle or Path())
    if is_remote(given):
        remote = location_at(given)
        if not remote.names() and remote.champions().champion is None:
            raise ConfigurationError(
                f"{given}: has no bundles and no {CHAMPION_FILE}; name the URL of a location, not "
                "that of a bundle in it"
            )
        return remote
    path = Path(given)
    if (path / SUMS_FILE).exists():
        return path
    location = FolderLocation(path)
    if path.is_dir() and (location.names() or (path / CHAMPION_FILE).exists()):
        return location
    found = "is not there" if not path.exists() else f"has no {SUMS_FILE} and no {CHAMPION_FILE}"
    raise ConfigurationError(
        f"{path}: {found}; name the folder of a bundle, or a location of bundles"
    )


class BundleTarget:
    """Place of a new bundle: a local folder, or a name in a remote location.

    A remote bundle is written to a temporary folder first, and uploaded by `finish`. As a context
    manager it removes that folder on exit.

    Attributes:
        folder: Local folder to write the bundle to.
        where: Path or URL of the bundle, as the user knows it.
    """

    def __init__(self, out: str) -> None:
        """Raise ConfigurationError for a place that is not free, before any work is done.

        Args:
            out: Folder, URL of a bundle, or mlflow:NAME.
        """
        from base.errors import ConfigurationError
        from models.location import MLFLOW, is_remote
        from models.location.champions import require_name

        self._location: Location | None = None
        self._temporary: Path | None = None
        self.where, self.folder = out, Path(out)
        if not is_remote(out):
            return
        place, _, name = out.rstrip("/").rpartition("/")
        if out.startswith(MLFLOW):
            place, name = out, out.removeprefix(MLFLOW)
        elif not is_remote(place):
            raise ConfigurationError(f"--out: {out} is a whole bucket; name a bundle in it")
        self._location = location_at(place)
        if not out.startswith(MLFLOW) and require_name(name, "--out") in self._location.names():
            raise ConfigurationError(f"--out: {out} exists already; write to another place")
        self._temporary = Path(mkdtemp(prefix="fraud-worker-bundle-"))
        self.folder = self._temporary / name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._temporary is not None:
            shutil.rmtree(self._temporary)

    def finish(self, *beside: Path) -> None:
        """Upload the bundle if it is remote, and the files ``beside`` it under their own names.

        What cannot be uploaded stays in its temporary folder: it may be the work of hours.
        """
        from base.errors import ConfigurationError, DependencyUnavailableError
        from base.file_path import ObjectPath

        if self._location is None:
            return
        try:
            for path in beside:
                ObjectPath(f"{self._location}/{path.name}").write(path)
            self.where = self._location.where(self._location.add(self.folder, self.folder.name))
        except (ConfigurationError, DependencyUnavailableError) as error:
            self._temporary = None
            raise type(error)(
                f"{error}; the bundle is kept in {self.folder}: upload its files, SHA256SUMS last"
            ) from error
