"""Each metric: declared once, in base units, with its meaning, and without entities."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase

from worker.process import metrics
from worker.process.bulk_histogram import BulkHistogram

DECLARED = {
    name: value
    for name, value in vars(metrics).items()
    if isinstance(value, MetricWrapperBase | BulkHistogram)
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
    registered = {family.name for family in metrics.REGISTRY.collect()}
    assert {name for name in registered if not name.startswith("process_")} == {
        family.name for metric in DECLARED.values() for family in metric.collect()
    }
    assert {
        "process_cpu_seconds",
        "process_resident_memory_bytes",
        "process_open_fds",
    } <= registered
    assert len(DECLARED) >= 10


@pytest.mark.parametrize("name", DECLARED)
def test_has_a_sentence_a_prefix_and_a_base_unit(name: str) -> None:
    metric = DECLARED[name]
    (family,) = metric.collect()
    assert re.fullmatch(r"fraud_worker_[a-z_]+", family.name)
    assert re.fullmatch(r"[A-Z0-9].{15,}\.", family.documentation)
    assert not re.search(NO_BASE_UNIT, family.name)
    labels = metric.labels if isinstance(metric, BulkHistogram) else metric._labelnames
    assert set(labels) <= LABELS


@pytest.mark.parametrize("name", DECLARED)
def test_the_suffix_says_the_unit_where_there_is_one(name: str) -> None:
    metric = DECLARED[name]
    (family,) = metric.collect()
    if isinstance(metric, Counter):
        # The client adds it when it is scraped.
        assert not family.name.endswith("_total")
    if isinstance(metric, Histogram | BulkHistogram):
        assert family.name.endswith(("_seconds", "_events", "_score"))
    if isinstance(metric, Gauge):
        assert not family.name.endswith(("_count", "_sum", "_total"))


def test_metrics_have_no_created_series() -> None:
    metrics.events.labels("m", "1").inc(0)
    assert "fraud_worker_events_total" in generate_latest(metrics.REGISTRY).decode()
    assert "_created" not in generate_latest(metrics.REGISTRY).decode()


@given(st.lists(st.lists(st.sampled_from([-1.0, 0.0, 0.25, 0.5, 0.75, 1.0, 2.0]), max_size=6)))
def test_a_histogram_of_columns_is_that_of_their_values(columns: list[list[float]]) -> None:
    bounds, own, theirs = (0.0, 0.5, 1.0), CollectorRegistry(), CollectorRegistry()
    bulk = BulkHistogram("score", "Scores.", bounds, ["model"], registry=own)
    single = Histogram("score", "Scores.", ["model"], buckets=bounds, registry=theirs)
    for number, column in enumerate(columns):
        model = f"m{number % 2}"
        bulk.observe(np.array(column), model)
        child = single.labels(model)
        for value in column:
            child.observe(value)
    assert generate_latest(own) == generate_latest(theirs)
