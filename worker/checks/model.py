"""The model bundle, for itself, against the feature set, and on its device."""

from __future__ import annotations

from features.definition import FeatureSet
from models.backend.open import open_backend
from models.bundle import load_bundle
from worker.checks.finding import Finding, examined, failed, ok, skipped
from worker.settings import WorkerSettings

BUNDLE, FITS, DEVICE = "model bundle", "model and features", "device"
_TRAIN = (
    'train a model on these features (README, "A model") and put its bundle there, '
    "or name another with model.bundle"
)


def check_model(settings: WorkerSettings, feature_set: FeatureSet | None) -> list[Finding]:
    """Files and sums, features by their fingerprints, a first margin on the device."""
    path = settings.model.bundle
    if not path.is_dir() or not any(path.iterdir()):
        return [
            failed(BUNDLE, f"no bundle at {path}", _TRAIN),
            *(skipped(check, "there is no bundle") for check in (FITS, DEVICE)),
        ]
    return examined(BUNDLE, lambda: _check_bundle(settings, feature_set))


def _check_bundle(settings: WorkerSettings, feature_set: FeatureSet | None) -> list[Finding]:
    bundle = load_bundle(settings.model.bundle)
    sums = f"{bundle.name} {bundle.version}, {bundle.trees} trees; its sums hold"

    def fits() -> list[Finding]:
        if feature_set is None:
            return [skipped(FITS, "features.yaml has to hold first")]
        bundle.columns_for(feature_set)
        return [ok(FITS, f"all {len(bundle.features)} features, as the model was trained on them")]

    def device() -> list[Finding]:
        backend = open_backend(bundle, settings.model.device, settings.model.threads)
        return [ok(DEVICE, f"{backend.device} (model.device: {settings.model.device})")]

    return [ok(BUNDLE, sums), *examined(FITS, fits), *examined(DEVICE, device)]
