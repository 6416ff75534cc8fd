"""Checks of the model bundle: its proof in a child process, its features, and its device."""

from __future__ import annotations

from pathlib import Path

from base.errors import BundleRefusedError
from features.definition import FeatureSet
from models.backend import open_backend
from models.bundle import Bundle, Location, read_manifest, resolve
from models.policy import Rules
from tools.checks.finding import Finding, examined, failed, many, ok, skipped
from worker.reload import proven_bundle
from worker.settings import WorkerSettings

BUNDLE, FITS, DEVICE = "model bundle", "model and features", "device"
_TRAIN = (
    "train a model on these features (docs/how-to/train-and-promote.md) and put its bundle there, "
    "or name another with model.bundle"
)


def check_model(settings: WorkerSettings, feature_set: FeatureSet | None) -> list[Finding]:
    """Check files and sums, golden margins in a child process, features, and the device."""
    path = settings.model.bundle
    if path is not None and (not path.is_dir() or not any(path.iterdir())):
        return [
            failed(BUNDLE, f"no bundle at {path}", _TRAIN),
            *(skipped(check, "there is no bundle") for check in (FITS, DEVICE)),
        ]
    return examined(BUNDLE, lambda: _check_bundle(settings, feature_set))


def used_features(settings: WorkerSettings, rules: Rules | None) -> frozenset[str]:
    """Names of the features that the model and the policy use, where these are valid."""
    of_policy = frozenset() if rules is None else rules.features
    try:
        manifest = read_manifest(resolve(settings.model.bundle, settings.model.location))
    except BundleRefusedError:
        return of_policy
    return of_policy.union(feature.name for feature in manifest.features)


def _check_bundle(settings: WorkerSettings, feature_set: FeatureSet | None) -> list[Finding]:
    model = settings.model
    bundle = proven_bundle(settings)

    def fits() -> list[Finding]:
        if feature_set is None:
            return [skipped(FITS, "features.yaml has to hold first")]
        bundle.columns_for(feature_set)
        return [ok(FITS, f"all {len(bundle.features)} features, as the model was trained on them")]

    def device() -> list[Finding]:
        backend = open_backend(bundle, model.device, model.threads)
        return [ok(DEVICE, f"{backend.device} (model.device: {model.device})")]

    found = _in_words(bundle, model.location)
    return [ok(BUNDLE, found), *examined(FITS, fits), *examined(DEVICE, device)]


def _in_words(bundle: Bundle, location: Path | None) -> str:
    knots = bundle.calibration
    words = [
        f"{bundle.name} {bundle.version}",
        many(bundle.trees, "tree"),
        "calibrated" if knots else "not calibrated",
        f"gives its {many(len(bundle.golden.margins), 'golden margin')}",
    ]
    if location is not None:
        before = Location(location).previous()
        words.insert(0, f"champion {bundle.path.name} of {location}")
        words.append(f"before it {before[-1]}" if before else "none before it")
    return ", ".join(words)
