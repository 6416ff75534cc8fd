"""Checks of worker.yaml, features.yaml and policy.yaml, each by itself and against the others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from base.errors import ConfigurationError
from base.yaml_document import YamlDocument
from features.definition import FeatureSet, load_feature_set
from models.policy import Policy, Rules, load_policy
from schemas.avro.paths import targets
from schemas.avro.types import parse_record_schema
from tools.checks.finding import Finding, failed, many, ok, refused, skipped
from tools.init.openings import open_places
from worker.settings import FILE_NAME, WorkerSettings, load_settings


@dataclass(frozen=True, slots=True, eq=False)
class Files:
    """Contents of a pipeline folder; None for each file that is invalid."""

    settings: WorkerSettings | None
    feature_set: FeatureSet | None
    rules: Rules | None
    findings: tuple[Finding, ...]


def read_files(folder: Path) -> Files:
    """Read the three files; one that fails does not keep the others from being read."""
    findings: list[Finding] = []
    settings: WorkerSettings | None = None
    try:
        settings = load_settings(folder)
        findings.append(ok(FILE_NAME, _settings_in_words(settings)))
    except ConfigurationError as error:
        findings += refused(FILE_NAME, error)
    feature_set, found = read_features(settings.features if settings else folder / "features.yaml")
    findings += found
    policy = settings.policy if settings else folder / "policy.yaml"
    rules, found = _read_policy(policy, feature_set)
    findings += found
    findings += _against_each_other(settings, feature_set)
    return Files(settings, feature_set, rules, tuple(findings))


def _settings_in_words(settings: WorkerSettings) -> str:
    kafka = settings.kafka
    return (
        f"{kafka.input_topic} to {kafka.output_topic}, group {kafka.group}, "
        f"{settings.delivery.guarantee}"
    )


def read_features(path: Path) -> tuple[FeatureSet | None, list[Finding]]:
    """Read the features.yaml at ``path``; the feature set is None where the file is invalid."""
    name = path.name
    try:
        still_open = [*open_places(YamlDocument.read(path).values)]
        if still_open:
            return None, [
                failed(name, f"{path}: {place} is still open", "fill in what belongs there")
                for place in still_open
            ]
        feature_set = load_feature_set(path)
    except ConfigurationError as error:
        return None, refused(name, error)
    return feature_set, [
        ok(
            name,
            f"{many(len(feature_set.names), 'feature')}, {many(len(feature_set.lookups), 'lookup')}, "
            f"fingerprint {feature_set.fingerprint[:12]}",
        )
    ]


def _read_policy(path: Path, feature_set: FeatureSet | None) -> tuple[Rules | None, list[Finding]]:
    """Read the policy, and compile it where there is a feature set."""
    try:
        policy = load_policy(path)
        rules = None if feature_set is None else Rules(policy, feature_set)
    except ConfigurationError as error:
        return None, refused(path.name, error)
    return rules, [ok(path.name, _policy_in_words(policy))]


def _policy_in_words(policy: Policy) -> str:
    segments = ", ".join(segment.name for segment in policy.segments)
    words = [
        f"version {policy.version}: {', '.join(policy.decisions)}",
        f"{many(len(policy.segments), 'segment')} ({segments})",
    ]
    if policy.when_degraded is not None:
        words.append(f"{policy.when_degraded} when degraded")
    reasons = policy.catalogue
    words.append("no reasons" if reasons is None else many(len(reasons.codes), "reason code"))
    return "; ".join(words)


def _against_each_other(
    settings: WorkerSettings | None, feature_set: FeatureSet | None
) -> list[Finding]:
    if settings is None or feature_set is None:
        return [skipped("output.carry", "worker.yaml and features.yaml have to hold first")]
    findings = []
    stored = [*feature_set.lookups, *(window.name for window in feature_set.histories.windows)]
    if stored and settings.store is None:
        found = f"store is missing, and {', '.join(stored)} are lookups or windows"
        findings.append(failed(FILE_NAME, found, "add store.url"))
    carried = settings.output.carry
    try:
        targets(parse_record_schema(feature_set.reader_schema), carried)
    except ConfigurationError as error:
        remedy = "name fields of the schema in output.carry"
        return [*findings, failed("output.carry", str(error), remedy)]
    return [*findings, ok("output.carry", ", ".join(carried) or "nothing is carried")]
