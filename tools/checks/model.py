"""Checks of the model bundle: its proof, features and device, and the reason codes for it."""

from __future__ import annotations

from base.errors import BundleRefusedError
from features.definition import FeatureSet
from models.backend import open_backend
from models.bundle import Bundle, read_manifest
from models.policy import Rules
from tools.checks.finding import (
    Finding,
    failed,
    ok,
    pluralize,
    run_check,
    skipped,
    warning,
)
from worker.reload import ModelSource, proven_bundle
from worker.reload.model_source import AWAY
from worker.settings import WorkerSettings

BUNDLE, FITS, DEVICE = "model bundle", "model and features", "device"
REASONS = "reasons"
_TRAIN = (
    "train a model on these features (docs/how-to/train-and-promote.md) and put its bundle there, "
    "or name another one in model.bundle"
)


def check_model(settings: WorkerSettings, feature_set: FeatureSet | None) -> list[Finding]:
    """Check files and sums, golden margins in a child process, features, and the device."""
    path = settings.model.bundle
    if path is not None and (not path.is_dir() or not any(path.iterdir())):
        return [
            failed(BUNDLE, f"no bundle at {path}", _TRAIN),
            *(skipped(check, "there is no bundle") for check in (FITS, DEVICE)),
        ]
    return run_check(BUNDLE, lambda: _check_bundle(settings, feature_set))


def _check_bundle(settings: WorkerSettings, feature_set: FeatureSet | None) -> list[Finding]:
    model = settings.model
    source = ModelSource(model)
    bundle = proven_bundle(settings, source)

    def fits() -> list[Finding]:
        if feature_set is None:
            return [skipped(FITS, "features.yaml is not valid")]
        bundle.columns_for(feature_set)
        return [
            ok(FITS, f"all {len(bundle.features)} features are those that the model was trained on")
        ]

    def device() -> list[Finding]:
        backend = open_backend(bundle, model.device, model.threads)
        return [ok(DEVICE, f"{backend.device} (model.device: {model.device})")]

    return [_found(bundle, source), *run_check(FITS, fits), *run_check(DEVICE, device)]


def _found(bundle: Bundle, source: ModelSource) -> Finding:
    """Describe the bundle; a copy that stands in for a location that is away is a warning."""
    if source.fallback is not None:
        return warning(
            BUNDLE,
            f"{source.location} cannot be read ({source.reason}); the copy of its champion "
            f"{source.fallback.name}, verified at {source.fallback.verified_at}, would serve: "
            f"{_in_words(bundle)}",
            "see that the location can be reached from here, and its credentials",
        )
    words = _in_words(bundle)
    if source.location is not None:
        champion, former = source.location.champions()
        words = f"champion {champion} of {source.location}, {words}, " + (
            f"previous champion {former[-1]}" if former else "no previous champion"
        )
    return ok(BUNDLE, words)


def _in_words(bundle: Bundle) -> str:
    knots = bundle.calibration
    words = [
        f"{bundle.name} {bundle.version}",
        "ONNX" if bundle.trees is None else pluralize(bundle.trees, "tree"),
        "calibrated" if knots else "not calibrated",
        f"reproduces its {pluralize(len(bundle.golden.margins), 'golden margin')}",
    ]
    return ", ".join(words)


def check_reasons(settings: WorkerSettings, rules: Rules | None) -> list[Finding]:
    """Check that the policy's catalogue has a reason code for every feature of the model."""
    if rules is None:
        return [skipped(REASONS, "features.yaml or policy.yaml is not valid")]
    if rules.policy.catalogue is None:
        return [skipped(REASONS, "policy.yaml has no reasons")]
    return run_check(REASONS, lambda: _check_codes(settings, rules))


def _check_codes(settings: WorkerSettings, rules: Rules) -> list[Finding]:
    try:
        manifest = read_manifest(ModelSource(settings.model).fetch().path)
    except (BundleRefusedError, *AWAY):
        return [skipped(REASONS, "there is no valid bundle")]
    names = [feature.name for feature in manifest.features]
    coding = rules.coding(names, f"{manifest.name} {manifest.version}")
    codes = set(coding.code_of.tolist()) if coding else set()
    return [
        ok(REASONS, f"{pluralize(len(codes), 'code')} for all {pluralize(len(names), 'feature')}")
    ]
