"""Where a worker's histories are, and how long they stay."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import structlog

from base.errors import ConfigurationError
from features.definition import FeatureSet
from features.history.namespace import Namespace
from features.loading.whole_labels import labelled_entities
from features.store.protocol import OnlineStore
from features.windows.window import Across, Window
from worker.consume.topics import InputTopic
from worker.histories.state import Claim, claim, source_of
from worker.settings import WorkerSettings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """namespace: of the keys. expire_ms: from its last write to the end of a history; None: never."""

    namespace: Namespace
    expire_ms: int | None


def find_place(
    settings: WorkerSettings,
    feature_set: FeatureSet,
    features: Collection[str],
    store: OnlineStore,
    topic: InputTopic,
) -> Place:
    """Claim the state in the store for the input topic.

    features: those that the model and the policy use. Raises DependencyUnavailableError while the
    store does not answer, and ConfigurationError where windows, topic and state do not fit.
    """
    refuse_split(feature_set.windows, topic)
    wanted = claim_of(settings, feature_set, features, topic)
    namespace = claim(store, feature_set.name, settings.state_name, wanted)
    expire_ms = expiry_ms(feature_set, topic.retention_ms, settings.max_lag_s)
    log.info(
        "histories", state=namespace.state, topic_id=namespace.topic_id, kept_ms=expire_ms or "ever"
    )
    return Place(namespace, expire_ms)


def claim_of(
    settings: WorkerSettings, feature_set: FeatureSet, features: Iterable[str], topic: InputTopic
) -> Claim:
    """The claim of a worker with these settings; features: as `find_place`."""
    return Claim(
        source_of(topic, settings.kafka.group),
        feature_set.histories.layouts,
        feature_set.entities_of(features),
        settings.kafka.accept_topic == topic.topic_id,
        feature_set.accept_empty,
        settings.store.accept_group if settings.store else None,
        feature_set.histories.backs,
        feature_set.histories.rules.cap,
        expiry_ms(feature_set, topic.retention_ms, settings.max_lag_s),
        frozenset(labelled_entities(feature_set)),
    )


def refuse_split(windows: Sequence[Window], topic: InputTopic) -> None:
    """Raises ConfigurationError for aligned windows over several partitions."""
    names = [window.name for window in windows if window.across is Across.ALIGNED]
    if names and topic.partitions > 1:
        raise ConfigurationError(
            f"kafka.input_topic: {topic.name} has {topic.partitions} partitions, and "
            f"{', '.join(names)} {'sees' if len(names) == 1 else 'see'} events of all of them in "
            "order of time (across: aligned), which this version does for one partition only; give "
            "the topic one partition, or say across: best_effort"
        )


def expiry_ms(
    feature_set: FeatureSet, retention_ms: int | None, max_lag_s: float | None
) -> int | None:
    """How long after its last write an event may still come that sees a history.

    The horizon is in event time: a worker that lags, or reads the topic again from its first
    record, may need a history for that much longer. None where nothing bounds the lag.
    """
    lag_ms = retention_ms if max_lag_s is None else int(1000 * max_lag_s)
    if lag_ms is None:
        return None
    return feature_set.histories.back // 1000 + lag_ms
