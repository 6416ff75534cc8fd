"""Key namespace and TTL of a worker's histories."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import structlog

from base.errors import ConfigurationError
from features.definition import FeatureSet
from features.history.namespace import Namespace
from features.store.protocol import OnlineStore
from features.windows.window import Across, Window
from worker.consume.topics import InputTopic
from worker.histories.state import Claim, claim, source_of
from worker.settings import WorkerSettings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Key namespace and TTL of the histories.

    Attributes:
        namespace: Namespace of their keys in the online store.
        expire_ms: TTL of a history, in milliseconds after its last write; None: it never expires.
    """

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

    Args:
        settings: Settings of the worker.
        feature_set: Feature set whose windows read the histories.
        features: Names of the features that the model and the policy use.
        store: Online store that holds the state.
        topic: Input topic.

    Raises:
        DependencyUnavailableError: The store does not answer.
        ConfigurationError: Windows, topic and state do not fit.
    """
    refuse_split(feature_set.histories.windows, topic)
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
    """The claim of a worker with these settings; ``features`` are those of `find_place`."""
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
        frozenset(feature_set.labelled_entities),
    )


def refuse_split(windows: Sequence[Window], topic: InputTopic) -> None:
    """Raise ConfigurationError for aligned windows over several partitions."""
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
    """TTL of a history after its last write, in milliseconds.

    An event that sees the history may come for that long. The horizon of the windows is in event
    time: a worker that lags, or reads the topic again from its first record, may need a history for
    that much longer.

    Args:
        feature_set: Feature set whose windows read the histories.
        retention_ms: Retention of the input topic, in milliseconds; None: for ever.
        max_lag_s: How far behind real time events may be read, in seconds; None: as long as the
            topic keeps them.

    Returns:
        The TTL; None where nothing bounds the lag.
    """
    lag_ms = retention_ms if max_lag_s is None else int(1000 * max_lag_s)
    if lag_ms is None:
        return None
    return feature_set.histories.back // 1000 + lag_ms
