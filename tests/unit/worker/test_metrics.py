"""Each metric: declared once, in base units, with its meaning, and without entities."""

from __future__ import annotations

import re

import pytest
from prometheus_client import Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase

from worker.process import metrics

DECLARED = {
    name: value for name, value in vars(metrics).items() if isinstance(value, MetricWrapperBase)
}
# Labels with a bounded number of values: none of them names an entity's key or an event.
LABELS = {
    "setting",
    "entity",
    "model",
    "code",
    "segment",
    "decision",
    "flag",
    "generation",
    "outcome",
    "stage",
    "state",
    "partition",
    "dependency",
    "model_version",
    "policy_version",
    "feature_set",
    "device",
    "what",
}
# Multiples and fractions of a base unit, and words that say nothing of a unit.
NO_BASE_UNIT = r"_(ms|us|millis\w*|micros\w*|nanos\w*|minutes|hours|days|kb|mb|kbytes|percent)$"


def test_registered_metrics_are_those_declared() -> None:
    assert {family.name for family in metrics.REGISTRY.collect()} == {
        family.name for metric in DECLARED.values() for family in metric.describe()
    }
    assert len(DECLARED) >= 10


@pytest.mark.parametrize("name", DECLARED)
def test_has_a_sentence_a_prefix_and_a_base_unit(name: str) -> None:
    metric = DECLARED[name]
    (family,) = metric.describe()
    assert re.fullmatch(r"fraud_worker_[a-z_]+", family.name)
    assert re.fullmatch(r"[A-Z0-9].{15,}\.", family.documentation)
    assert not re.search(NO_BASE_UNIT, family.name)
    assert set(metric._labelnames) <= LABELS


@pytest.mark.parametrize("name", DECLARED)
def test_the_suffix_says_the_unit_where_there_is_one(name: str) -> None:
    metric = DECLARED[name]
    (family,) = metric.describe()
    if isinstance(metric, Counter):
        # The client adds it when it is scraped.
        assert not family.name.endswith("_total")
    if isinstance(metric, Histogram):
        assert family.name.endswith(("_seconds", "_events"))
    if isinstance(metric, Gauge):
        assert not family.name.endswith(("_count", "_sum", "_total"))


def test_metrics_have_no_created_series() -> None:
    metrics.events.labels("m", "1").inc(0)
    assert "fraud_worker_events_total" in generate_latest(metrics.REGISTRY).decode()
    assert "_created" not in generate_latest(metrics.REGISTRY).decode()
