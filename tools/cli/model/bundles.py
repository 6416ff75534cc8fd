"""Choice of the bundles that a command works on, and the requirements on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.bundle import Limits, Location, Verified
    from models.bundle.manifest import NamedFeature

PlaceArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[DIR]",
        help="Bundle, or location of bundles; default: the one that the pipeline names.",
        show_default=False,
    ),
]
LocationArgument = Annotated[
    Path, typer.Argument(metavar="LOCATION", help="Folder of bundles, with the file CHAMPION.")
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

    def verify(self, bundle: Path) -> Verified:
        """Verify the bundle. Raises BundleRefusedError with the reason."""
        from models.bundle import verify

        return verify(bundle, expected=self.features, device=self.device, limits=self.limits)


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


def bundle_or_location(given: Path | None, pipeline: Path | None) -> Path | Location:
    """Choose a bundle's folder or a location: the given one, else the one that the pipeline names.

    Raises:
        ConfigurationError: The path is neither a bundle nor a location.
    """
    from base.errors import ConfigurationError
    from models.bundle import Location
    from models.bundle.location import CHAMPION_FILE
    from models.bundle.sums import SUMS_FILE
    from worker.settings import load_settings

    if given is None:
        model = load_settings(pipeline or Path()).model
        if model.location is not None:
            return Location(model.location)
        given = model.bundle or Path()
    if (given / SUMS_FILE).exists():
        return given
    location = Location(given)
    if given.is_dir() and (bundles_of(location) or (given / CHAMPION_FILE).exists()):
        return location
    found = "is not there" if not given.exists() else f"has no {SUMS_FILE} and no {CHAMPION_FILE}"
    raise ConfigurationError(
        f"{given}: {found}; name the folder of a bundle, or a directory of bundles"
    )


def bundles_of(location: Location) -> list[str]:
    """Names of the folders in a location that have a file of sums, as bundles do."""
    from models.bundle.sums import SUMS_FILE

    return [name for name in location.names() if (location.folder / name / SUMS_FILE).exists()]
