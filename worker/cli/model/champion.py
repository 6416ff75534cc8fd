"""``fraud-worker model promote`` and ``rollback``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from worker.cli.model.which import FitOption, JsonOption, LocationArgument, demands


def promote(
    location: LocationArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Folder of a bundle in it.")],
    pipeline: FitOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have a bundle prove itself, then make it the champion.

    Workers that follow the location take it over while they run (reload_s).
    """
    from models.bundle import Location

    place = Location(location)
    demands(pipeline).verify(place.bundle(name))
    _say(name, place.promote(name), as_json=as_json)


def rollback(
    location: LocationArgument, pipeline: FitOption = None, as_json: JsonOption = False
) -> None:
    """Have the champion before prove itself, then make it the champion again."""
    from models.bundle import Location

    place = Location(location)
    before = place.before()
    demands(pipeline).verify(place.bundle(before))
    name, replaced = place.rollback(before)
    _say(name, replaced, as_json=as_json)


def _say(name: str, before: str | None, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"champion": name, "before": before}))
    elif before == name:
        print(f"{name} is the champion already")
    else:
        print(f"champion: {name} (before: {before or 'none'})")
