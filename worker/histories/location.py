"""Location of a worker's histories: their namespace in the online store, and their TTL."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import structlog

from base.errors import ConfigurationError
from features.definition import FeatureSet
from features.history.namespace import Namespace
from features.store.protocol import OnlineStore
from features.windows.window import Across
from worker.consume.topics import InputTopic
from worker.histories.record import HistoryStart, StateRecord, read_record
from worker.histories.state import StateRequest, claim, source_of
from worker.settings import WorkerSettings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StateLocation:
    """Key namespace and TTL of the histories.

    Attributes:
        namespace: Namespace of their keys in the online store.
        expire_ms: TTL of a history, in milliseconds after its last write; None: it never expires.
    """

    namespace: Namespace
    expire_ms: int | None


def claim_location(
    settings: WorkerSettings,
    feature_set: FeatureSet,
    store: OnlineStore,
    topic: InputTopic,
) -> StateLocation:
    """Claim the state in the store for the input topic.

    Args:
        settings: Settings of the worker.
        feature_set: Feature set whose windows read the histories.
        store: Online store that holds the state.
        topic: Input topic.

    Raises:
        DependencyUnavailableError: The store does not answer.
        ConfigurationError: Topic and state do not fit, or the store may evict keys.
    """
    store.require_no_eviction()
    wanted = state_request(settings, feature_set, topic)
    namespace = claim(store, feature_set.name, settings.state_name, wanted)
    expire_ms = expiry_ms(feature_set, topic.retention_ms, settings.max_lag_s)
    log.info(
        "histories", state=namespace.state, topic_id=namespace.topic_id, kept_ms=expire_ms or "ever"
    )
    return StateLocation(namespace, expire_ms)


def state_request(
    settings: WorkerSettings, feature_set: FeatureSet, topic: InputTopic
) -> StateRequest:
    """Make the request of a worker with these settings.

    Arguments are those of `claim_location`.

    Raises:
        ConfigurationError: A window cannot be computed over several partitions.
    """
    _require_delays(feature_set, topic)
    return StateRequest(
        source_of(topic, settings.kafka.group),
        feature_set.histories.layouts,
        settings.kafka.accept_topic == topic.topic_id,
        settings.store.accept_group if settings.store else None,
        feature_set.histories.backs,
        feature_set.histories.rules.cap,
        expiry_ms(feature_set, topic.retention_ms, settings.max_lag_s),
        # With a labels topic, the worker applies labels by itself.
        frozenset(() if settings.kafka.labels_topic else feature_set.label_sets.values()),
        int(time.time()),
    )


def histories_in_use(
    settings: WorkerSettings, feature_set: FeatureSet, record: StateRecord
) -> dict[str, HistoryStart]:
    """The histories in a record of a state that workers with these settings use, by entity."""
    source = record.source
    if source is None:
        return {}
    topic = InputTopic(source.topic, source.topic_id, source.partitions, None)
    request = state_request(settings, feature_set, topic)
    used = {entity: request.of(record, entity) for entity in request.layouts}
    return {entity: begun for entity, begun in used.items() if begun is not None}


def find_namespace(
    settings: WorkerSettings, feature_set: FeatureSet, store: OnlineStore
) -> Namespace | None:
    """Namespace of the histories that workers with these settings use; None if there are none.

    Raises:
        DependencyUnavailableError: The store does not answer.
        ConfigurationError: The record of the state is damaged.
    """
    names = feature_set.name, settings.state_name
    record = read_record(store, *names)
    used = {} if record is None else histories_in_use(settings, feature_set, record)
    if record is None or not used:
        return None
    return replace(record, histories=used).namespace(*names)


def _require_delays(feature_set: FeatureSet, topic: InputTopic) -> None:
    """Refuse aligned windows that end at their event: others would have to be read up to it."""
    without = [
        window.name
        for window in feature_set.histories.windows
        if window.across is Across.ALIGNED and not window.delay
    ]
    if topic.partitions > 1 and without:
        raise ConfigurationError(
            f"features.yaml: {', '.join(without)}: {topic.name} has {topic.partitions} partitions, "
            "and the events of this entity are in all of them; add a delay, or across: "
            "best_effort, or name the field that keys the records as events.partition_key"
        )


def expiry_ms(
    feature_set: FeatureSet, retention_ms: int | None, max_lag_s: float | None
) -> int | None:
    """TTL of a history after its last write, in milliseconds.

    For that time, an event that needs the history may still come. The horizon of the windows is in
    event time: a worker that lags, or reads the topic again from its first record, needs a history
    for longer by its lag.

    Args:
        feature_set: Feature set whose windows read the histories.
        retention_ms: Retention of the input topic, in milliseconds; None: unlimited.
        max_lag_s: Longest delay behind real time of events that are read, in seconds; None: the
            retention of the topic.

    Returns:
        The TTL; None if nothing bounds the lag.
    """
    lag_ms = retention_ms if max_lag_s is None else int(1000 * max_lag_s)
    if lag_ms is None:
        return None
    return feature_set.histories.back // 1000 + lag_ms
