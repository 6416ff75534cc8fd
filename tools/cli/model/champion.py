"""``fraud-worker model promote`` and ``rollback``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from tools.cli.model.bundles import FitOption, LocationArgument, location_at, requirements
from tools.cli.options import JsonOption

if TYPE_CHECKING:
    from models.location import Location


def promote(
    location: LocationArgument,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the bundle's folder in the location.")
    ],
    pipeline: FitOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a bundle, then make it the champion of its location.

    Running workers that serve from the location reload it (model.reload_s).
    """
    place = location_at(location)
    requirements(pipeline).verify(place.bundle(name), place.where(name))
    _require_own_version(place, name)
    _say(name, place.promote(name), as_json=as_json)


def rollback(
    location: LocationArgument, pipeline: FitOption = None, as_json: JsonOption = False
) -> None:
    """Verify the previous champion, then make it the champion again."""
    from models.location import former_champion

    place = location_at(location)
    before = former_champion(place)
    requirements(pipeline).verify(place.bundle(before), place.where(before))
    name, replaced = place.rollback(before)
    _say(name, replaced, as_json=as_json)


def _require_own_version(place: Location, name: str) -> None:
    """Raise BundleRefusedError if another model of the location has the same name and version.

    Scores name a model and its version, so workers that served the other bundle would refuse it.
    """
    from base.errors import BundleRefusedError
    from models.bundle import read_manifest
    from models.bundle.sums import MAX_SUMS_BYTES, SUMS_FILE, read_plain

    folder = place.bundle(name)
    own = read_manifest(folder)
    sums = read_plain(folder / SUMS_FILE, MAX_SUMS_BYTES)
    for other in place.names():
        try:
            manifest, others = place.manifest(other)
        except BundleRefusedError:
            continue
        if (manifest.name, manifest.version) != (own.name, own.version):
            continue
        if others != sums:
            raise BundleRefusedError(
                f"{place.where(name)}: has the name and version of {other} ({own.name} "
                f"{own.version}), but is another model; write it with a version of its own (train "
                "--version, model pack --version)"
            )


def _say(name: str, before: str | None, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"champion": name, "before": before}))
    elif before == name:
        print(f"{name} is already the champion")
    else:
        print(f"champion: {name} (before: {before or 'none'})")
