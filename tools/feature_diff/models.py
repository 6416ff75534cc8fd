"""Models of a location that fit a feature set, and those that do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from base.errors import BundleRefusedError
from features.definition import Feature, FeatureSet
from models.bundle import Manifest
from models.location import Location


@dataclass(frozen=True, slots=True)
class ModelFit:
    """A bundle, and what a feature set lacks for it.

    Attributes:
        bundle: Name of the bundle.
        model: Name and version of the model; "" if its manifest cannot be read.
        champion: True for the champion of the location.
        absent: Features that the set does not define.
        changed: Features that the set defines in another way.
        fitted: True if the model fits the old feature set.
        refused: Reason why the manifest cannot be read, else "".
    """

    bundle: str
    model: str
    champion: bool
    absent: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    fitted: bool = True
    refused: str = ""

    @property
    def fits(self) -> bool:
        return not (self.absent or self.changed or self.refused)


def model_fits(location: Location, old: FeatureSet, new: FeatureSet) -> list[ModelFit]:
    """Compare the manifests of all bundles with two feature sets; the champion comes first."""
    champion = location.champions().champion
    names = sorted(location.names(), key=lambda name: name != champion)
    return [_fit(location, name, old, new, champion=name == champion) for name in names]


def _fit(
    location: Location, name: str, old: FeatureSet, new: FeatureSet, *, champion: bool
) -> ModelFit:
    try:
        manifest, _ = location.manifest(name)
    except BundleRefusedError as error:
        return ModelFit(name, "", champion, refused=str(error))
    absent, changed = _missing(manifest, new.features)
    return ModelFit(
        name,
        f"{manifest.name} {manifest.version}",
        champion,
        absent,
        changed,
        fitted=not any(_missing(manifest, old.features)),
    )


def _missing(
    manifest: Manifest, features: Sequence[Feature]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Features of a model that are not defined, and those that are defined in another way."""
    given = {feature.name: feature.fingerprint for feature in features}
    absent = tuple(wanted.name for wanted in manifest.features if wanted.name not in given)
    changed = tuple(
        wanted.name
        for wanted in manifest.features
        if wanted.name in given and given[wanted.name] != wanted.fingerprint
    )
    return absent, changed
