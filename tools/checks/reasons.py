"""Check of the policy's reasons: every feature of the model has a code."""

from __future__ import annotations

from base.errors import BundleRefusedError
from models.bundle import read_manifest, resolve
from models.policy import Rules
from tools.checks.finding import Finding, examined, many, ok, skipped
from worker.settings import WorkerSettings

REASONS = "reasons"


def check_reasons(settings: WorkerSettings, rules: Rules | None) -> list[Finding]:
    """Check that the policy's catalogue has a reason code for every feature of the model."""
    if rules is None:
        return [skipped(REASONS, "features.yaml and policy.yaml have to hold first")]
    if rules.policy.catalogue is None:
        return [skipped(REASONS, "policy.yaml gives none")]
    return examined(REASONS, lambda: _check(settings, rules))


def _check(settings: WorkerSettings, rules: Rules) -> list[Finding]:
    try:
        path = resolve(settings.model.bundle, settings.model.location)
        manifest = read_manifest(path)
    except BundleRefusedError:
        return [skipped(REASONS, "there is no bundle that holds")]
    names = [feature.name for feature in manifest.features]
    coding = rules.coding(names, f"{manifest.name} {manifest.version}")
    codes = set(coding.code_of.tolist()) if coding else set()
    return [ok(REASONS, f"all {many(len(names), 'feature')} in {many(len(codes), 'code')}")]
