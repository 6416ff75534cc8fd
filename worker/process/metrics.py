"""All metrics of the worker, each declared once with a description.

Units are base units, and no label holds the key of an entity.
"""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from worker.process.bulk_histogram import BulkHistogram

REGISTRY = CollectorRegistry()
# Otherwise each series gets a second one for the time of its creation, which nobody reads.
disable_created_metrics()  # type: ignore[no-untyped-call]
# CPU, memory and file descriptors, under Prometheus's own names.
ProcessCollector(registry=REGISTRY)

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_AGES = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    *(30.0, 60.0, 300.0, 600.0, 3600.0, 86400.0),
)
# Most events are near 0, and most thresholds are above one half.
_SCORES = (
    *(0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    *(0.95, 0.99, 1.0),
)

events = Counter(
    "fraud_worker_events",
    "Events scored and committed, by model.",
    ["model", "model_version"],
    registry=REGISTRY,
)
dead_letters = Counter(
    "fraud_worker_dead_letters",
    "Records committed as dead letters, by code.",
    ["code"],
    registry=REGISTRY,
)
dead_letter_holds = Counter(
    "fraud_worker_dead_letter_holds",
    "Times that this replica has held a partition because too many of its last records were dead "
    "letters.",
    registry=REGISTRY,
)
dead_letter_held = Gauge(
    "fraud_worker_dead_letter_held",
    "1 while a partition is held because too many of its last records are dead letters.",
    ["partition"],
    registry=REGISTRY,
)
decisions = Counter(
    "fraud_worker_decisions",
    "Committed decisions, by segment of the policy and by name.",
    ["segment", "decision"],
    registry=REGISTRY,
)
explained = Counter(
    "fraud_worker_explained_events",
    "Events whose decision was given reasons.",
    registry=REGISTRY,
)
not_additive = Counter(
    "fraud_worker_explained_not_additive",
    "Events whose reasons do not add up to the margin: more than rounding is missing.",
    registry=REGISTRY,
)
flags = Counter(
    "fraud_worker_flags", "Flags on scored events, by name.", ["flag"], registry=REGISTRY
)
batches = Counter(
    "fraud_worker_batches",
    "Micro-batches, by outcome: committed, aborted, unknown or dropped.",
    ["outcome"],
    registry=REGISTRY,
)
for _outcome in ("committed", "aborted", "unknown", "dropped"):
    # A worker that has committed nothing yet must not lack the series: an alert compares it.
    batches.labels(_outcome)
batch_events = Histogram(
    "fraud_worker_batch_events",
    "Records in a micro-batch.",
    buckets=(1, 4, 16, 64, 256, 1024, 2048, 4096, 16384, 65536),
    registry=REGISTRY,
)
stage_seconds = Histogram(
    "fraud_worker_stage_seconds",
    "Time one micro-batch spends in a stage.",
    ["stage"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
record_age_seconds = BulkHistogram(
    "fraud_worker_record_age_seconds",
    "Age of each record, by its timestamp, when its score or dead letter is committed.",
    buckets=_AGES,
    registry=REGISTRY,
)
scores = BulkHistogram(
    "fraud_worker_score",
    "Committed scores, by model.",
    buckets=_SCORES,
    labels=["model", "model_version"],
    registry=REGISTRY,
)
gc_pause_seconds = Histogram(
    "fraud_worker_gc_pause_seconds",
    "Pauses of all threads for Python's garbage collection, by generation; 2 searches all objects "
    "made since the start.",
    ["generation"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
lag = Gauge(
    "fraud_worker_lag_records",
    "Records between the read position and the end of a partition.",
    ["partition"],
    registry=REGISTRY,
)
partitions = Gauge(
    "fraud_worker_assigned_partitions", "Partitions assigned to this replica.", registry=REGISTRY
)
rebalances = Counter(
    "fraud_worker_assignment_changes",
    "Changes of the assignment and rewinds to the checkpoint.",
    registry=REGISTRY,
)
topics_recreated = Counter(
    "fraud_worker_topics_recreated",
    "Output and dead-letter topics that were deleted and created again while the worker ran.",
    ["setting"],
    registry=REGISTRY,
)
history_bytes = Counter(
    "fraud_worker_history_bytes",
    "Bytes of members appended to histories in the online store.",
    registry=REGISTRY,
)
compactions = Counter(
    "fraud_worker_history_compactions",
    "Histories from which members were cut that no event can see any more.",
    registry=REGISTRY,
)
histories_lost = Counter(
    "fraud_worker_histories_lost",
    "Losses of histories in the online store that this replica has noticed, by a flush, a failover "
    "or eviction.",
    registry=REGISTRY,
)
history_coverage = Gauge(
    "fraud_worker_history_coverage_ratio",
    "Share of an entity's longest window that its histories reach back: 1 where they are filled.",
    ["entity"],
    registry=REGISTRY,
)
alignment_wait_seconds = Gauge(
    "fraud_worker_alignment_wait_seconds",
    "Longest time for which an event of this replica has waited until other partitions are applied.",
    registry=REGISTRY,
)
labels = Counter(
    "fraud_worker_labels",
    "Labels that this replica has taken from the labels topic and put into the online store.",
    registry=REGISTRY,
)
refused_labels = Counter(
    "fraud_worker_refused_labels",
    "Records of the labels topic that are no complete label, and were skipped, by code.",
    ["code"],
    registry=REGISTRY,
)
late_labels = Counter(
    "fraud_worker_late_labels",
    "Labels that came when events at or after their label time had been scored without them.",
    registry=REGISTRY,
)
filled_events = Counter(
    "fraud_worker_filled_events",
    "Events read again to put them into histories, without scoring them.",
    registry=REGISTRY,
)
fill_remaining = Gauge(
    "fraud_worker_fill_remaining_records",
    "Records of a partition that a fill of histories has still to read; no series without a fill.",
    ["partition"],
    registry=REGISTRY,
)
paused = Gauge(
    "fraud_worker_paused",
    "1 while reading is paused because a dependency is away.",
    ["dependency"],
    registry=REGISTRY,
)
swaps = Counter(
    "fraud_worker_swaps",
    "Changes of the configured model or policy while running, by outcome: taken or refused.",
    ["what", "outcome"],
    registry=REGISTRY,
)
refused = Gauge(
    "fraud_worker_refused",
    "1 while the named model or policy is refused and the previous one stays in use.",
    ["what"],
    registry=REGISTRY,
)
location_failures = Counter(
    "fraud_worker_location_failures",
    "Reads of a remote model.location that failed, by state: away (no answer) or refused (access, "
    "or no such bucket).",
    ["state"],
    registry=REGISTRY,
)
location_age_seconds = Gauge(
    "fraud_worker_location_age_seconds",
    "Time since a remote model.location last answered; promotions of that time are not seen.",
    registry=REGISTRY,
)
model_from_cache = Gauge(
    "fraud_worker_model_from_cache",
    "1 while the champion that was verified last serves from its copy, as model.location could not "
    "be read at the start.",
    registry=REGISTRY,
)
model_written = Gauge(
    "fraud_worker_model_written_timestamp_seconds",
    "Time at which the bundle of the model that serves was written, in Unix seconds.",
    registry=REGISTRY,
)
info = Gauge(
    "fraud_worker_info",
    "Always 1; the labels name what is running.",
    ["model", "model_version", "policy_version", "feature_set", "device"],
    registry=REGISTRY,
)
