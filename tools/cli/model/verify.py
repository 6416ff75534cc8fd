"""``fraud-worker model verify``."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from tools.cli.check import report
from tools.cli.model.bundles import (
    FitOption,
    PlaceArgument,
    Requirements,
    bundle_or_location,
    requirements,
)
from tools.cli.options import JsonOption

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.bundle import Verified
    from models.location import Location
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
        verifying = partial(required.verify, target, str(target))
        report([_verified(target.name, verifying, required)], as_json=as_json)
        return
    findings = _champion(target)
    for name in target.names():
        verifying = partial(_verify_in, target, name, required)
        findings.append(_verified(name, verifying, required))
    report(findings, as_json=as_json)


def _champion(location: Location) -> list[Finding]:
    from base.errors import BundleRefusedError
    from tools.checks.finding import ok, refused, warning

    try:
        name = location.champions().champion
        if name is None:
            promote = f"fraud-worker model promote {quote(str(location))} NAME"
            remedy = f"`{promote}`, and workers can serve from it"
            return [warning("CHAMPION", "there is none yet", remedy)]
        location.bundle(name)
        return [ok("CHAMPION", name)]
    except BundleRefusedError as error:
        return refused("CHAMPION", error)


def _verify_in(location: Location, name: str, required: Requirements) -> Verified:
    return required.verify(location.bundle(name), location.where(name))


def _verified(name: str, verify: Callable[[], Verified], required: Requirements) -> Finding:
    from base.errors import BundleRefusedError
    from tools.checks.finding import ok, pluralize, refused

    started = time.perf_counter()
    try:
        verified = verify()
    except BundleRefusedError as error:
        return refused(name, error)[0]
    fits = "" if required.features is None else " of the pipeline"
    return ok(
        name,
        f"{verified.name} {verified.version}: {pluralize(len(verified.features), 'feature')}{fits}, "
        f"golden margins on {verified.device}, {time.perf_counter() - started:.1f} s",
    )
