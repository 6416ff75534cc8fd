"""Checks of worker.yaml, features.yaml and policy.yaml, and of their agreement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from base.errors import ConfigurationError
from base.yaml_document import YamlDocument
from features.definition import FeatureSet, load_feature_set
from features.inspect.describe import column_names, describe, duration
from features.windows.window import Across
from models.policy import Policy, Rules, load_policy
from schemas.avro.paths import targets
from schemas.avro.types import parse_record_schema
from tools.checks.finding import Finding, failed, ok, pluralize, refused, skipped
from tools.init.yaml_text import open_places
from worker.settings import FILE_NAME, WorkerSettings, load_settings

PYTHON, WINDOWS, ACROSS, REPRODUCIBLE = "python", "windows", "across partitions", "carried"


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
    feature_set, more = read_features(settings.features if settings else folder / "features.yaml")
    findings += more
    policy = settings.policy if settings else folder / "policy.yaml"
    rules, more = _read_policy(policy, feature_set)
    findings += more
    findings += _against_each_other(settings, feature_set)
    return Files(settings, feature_set, rules, tuple(findings))


def _settings_in_words(settings: WorkerSettings) -> str:
    kafka = settings.kafka
    return (
        f"{kafka.input_topic} to {kafka.output_topic}, group {kafka.group}, "
        f"{settings.delivery.guarantee}"
    )


def read_features(path: Path) -> tuple[FeatureSet | None, list[Finding]]:
    """Read the features.yaml at ``path``; the feature set is None if the file is invalid."""
    name = path.name
    try:
        still_open = [*open_places(YamlDocument.read(path).values)]
        if still_open:
            return None, [
                failed(name, f"{path}: {place} is a placeholder (<open>)", "fill it in")
                for place in still_open
            ]
        feature_set = load_feature_set(path)
    except ConfigurationError as error:
        return None, refused(name, error)
    return feature_set, [
        ok(
            name,
            f"{pluralize(len(feature_set.names), 'feature')}, {pluralize(len(feature_set.lookups), 'lookup')}, "
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
        f"{pluralize(len(policy.segments), 'segment')} ({segments})",
    ]
    if policy.when_degraded is not None:
        words.append(f"{policy.when_degraded} when degraded")
    reasons = policy.catalogue
    words.append("no reasons" if reasons is None else pluralize(len(reasons.codes), "reason code"))
    return "; ".join(words)


def _against_each_other(
    settings: WorkerSettings | None, feature_set: FeatureSet | None
) -> list[Finding]:
    if settings is None or feature_set is None:
        return [skipped("output.carry", "worker.yaml or features.yaml is not valid")]
    findings = []
    stored = [*feature_set.lookups, *(window.name for window in feature_set.histories.windows)]
    if stored and settings.store is None:
        found = f"store is missing, and {', '.join(stored)} need it (lookups, windows)"
        findings.append(failed(FILE_NAME, found, "add store.url"))
    carried = settings.output.carry
    try:
        targets(parse_record_schema(feature_set.reader_schema), carried)
    except ConfigurationError as error:
        remedy = "name fields of the schema in output.carry"
        return [*findings, failed("output.carry", str(error), remedy)]
    return [*findings, ok("output.carry", ", ".join(carried) or "no fields")]


def examine_features(path: Path) -> list[Finding]:
    """Describe the valid features.yaml at ``path``; return all its errors where it is invalid."""
    feature_set, findings = read_features(path)
    if feature_set is None:
        return findings
    kinds = Counter(feature.kind for feature in describe(feature_set))
    return [
        *findings,
        ok("kinds", ", ".join(f"{count} {kind}" for kind, count in kinds.items())),
        *_of_hooks(feature_set),
        *_of_windows(feature_set),
        *_of_carried(feature_set),
    ]


def _of_hooks(feature_set: FeatureSet) -> Iterator[Finding]:
    if feature_set.hooks:
        names = ", ".join(feature_set.hooks)
        same = "identical results for rows one by one, together and in any order"
        yield ok(PYTHON, f"{names}: {same}")


def _of_windows(feature_set: FeatureSet) -> Iterator[Finding]:
    rules = feature_set.histories.rules
    for entity, horizon in feature_set.histories.horizons.items():
        count = sum(window.entity == entity for window in feature_set.histories.windows)
        yield ok(
            WINDOWS,
            f"{pluralize(count, 'window')} by {entity}, over up to {rules.cap:,} events of the last "
            f"{duration(horizon)}",
        )
    across = [window for window in feature_set.histories.windows if window.across is not Across.OWN]
    for kind, meaning in (
        (Across.ALIGNED, "exact; an event waits until all partitions are read that far"),
        (Across.BEST_EFFORT, "include what the store holds of other partitions at that moment"),
    ):
        names = ", ".join(window.name for window in across if window.across is kind)
        if names:
            yield ok(ACROSS, f"{names}: {kind}: {meaning}")


def _of_carried(feature_set: FeatureSet) -> Iterator[Finding]:
    names = ", ".join(column_names(f for f in feature_set.features if f.irreproducible))
    if names:
        yield ok(
            REPRODUCIBLE,
            f"{names}: cannot be recomputed from the topic alone, so scores carry them",
        )
