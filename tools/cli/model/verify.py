"""``fraud-worker model verify``."""

from __future__ import annotations

import time
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from tools.cli.check import report
from tools.cli.model.bundles import (
    FitOption,
    PlaceArgument,
    Requirements,
    bundle_or_location,
    bundles_of,
    requirements,
)
from tools.cli.options import JsonOption

if TYPE_CHECKING:
    from tools.checks.finding import Finding


def verify(
    where: PlaceArgument = None, pipeline: FitOption = None, as_json: JsonOption = False
) -> None:
    """Verify a bundle, or each bundle of a location, in a separate process.

    Checks the checksums, the manifest, the trees of the model and the margins of
    the golden vectors; with --pipeline, also that the features fit.

    Exit code 0: all bundles are valid; 2: one is not.
    """
    target = bundle_or_location(where, pipeline)
    required = requirements(pipeline)
    if isinstance(target, Path):
        report([_verified(target, required)], as_json=as_json)
        return
    champion = _champion(target.folder)
    findings = [_verified(target.folder / name, required) for name in bundles_of(target)]
    report([*champion, *findings], as_json=as_json)


def _champion(folder: Path) -> list[Finding]:
    from base.errors import BundleRefusedError
    from models.bundle import Location
    from tools.checks.finding import ok, refused, warning

    try:
        if Location(folder).champion_name() is None:
            promote = f"fraud-worker model promote {quote(str(folder))} NAME"
            remedy = f"`{promote}`, and workers can serve from it"
            return [warning("CHAMPION", "there is none yet", remedy)]
        return [ok("CHAMPION", Location(folder).champion().name)]
    except BundleRefusedError as error:
        return refused("CHAMPION", error)


def _verified(bundle: Path, required: Requirements) -> Finding:
    from base.errors import BundleRefusedError
    from tools.checks.finding import ok, pluralize, refused

    started = time.perf_counter()
    try:
        verified = required.verify(bundle)
    except BundleRefusedError as error:
        return refused(bundle.name, error)[0]
    fits = "" if required.features is None else " of the pipeline"
    return ok(
        bundle.name,
        f"{verified.name} {verified.version}: {pluralize(len(verified.features), 'feature')}{fits}, "
        f"golden margins on {verified.device}, {time.perf_counter() - started:.1f} s",
    )
