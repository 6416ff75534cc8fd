"""Feed of labels: a thread that applies the labels topic, and the waits of events for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from base.arrays import Longs
from base.errors import DependencyUnavailableError
from features.definition import FeatureSet
from features.history.namespace import Namespace
from features.store.protocol import OnlineStore
from worker.kafka import make_consumer
from worker.labels.label_applier import LabelApplier, LabelTarget
from worker.labels.label_consumer import LabelConsumer
from worker.labels.label_decoder import LabelDecoder
from worker.labels.label_topic import SETTING, LabelEnds, LabelTopic
from worker.process.health import Health
from worker.process.outage import Outage, backoff_s
from worker.settings import WorkerSettings

log = structlog.get_logger(__name__)

_JOIN_S = 5.0
_REMEDY = "labels are applied again when it answers; events that count labels wait"


class LabelFeed:
    """Labels of the labels topic, applied to the store beside the loop.

    An event that counts labels waits until all labels are applied that were in the topic a second
    before it was read: so its windows depend on the topic and not on the thread.

    Args:
        topic: The labels topic.
        label_sets: Name of the labels of each entity whose windows count frauds.
        make_applier: Makes the applier; called in the thread.
        health: State of the worker that the probes read.
        on_failure: Takes an error that ends the worker; called in the thread.
        clock: Returns monotonic seconds.

    Attributes:
        entities: These entities.
    """

    def __init__(
        self,
        topic: LabelTopic,
        label_sets: Mapping[str, str],
        make_applier: Callable[[], LabelApplier],
        health: Health,
        on_failure: Callable[[Exception], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = topic
        self.entities = tuple(label_sets)
        self._label_sets = label_sets
        self._make_applier = make_applier
        self._on_failure = on_failure
        self._ends = LabelEnds(topic.ends, clock)
        self._stop = threading.Event()
        self._outage = Outage(
            "labels", DependencyUnavailableError, _REMEDY, health, self._stop.is_set
        )
        self._thread = threading.Thread(target=self._run, name="labels", daemon=True)
        self._target: LabelTarget

    def open(
        self, namespace: Namespace, history_marks: list[bytes], expire_ms: int | None
    ) -> bytes:
        """Apply labels from now on to these labels in the store.

        Args:
            namespace: Namespace of the labels.
            history_marks: Keys of the marks of the histories.
            expire_ms: TTL of labels after their last write, in milliseconds; None: never.

        Returns:
            Key of the marks of the labels topic.

        Raises:
            ConfigurationError: The brokers have no such topic.
            DependencyUnavailableError: The brokers do not answer.
        """
        self._topic.open()
        key = namespace.label_marks_key(self._topic.topic_id, self._label_sets.values())
        self._target = LabelTarget(namespace, key, history_marks, expire_ms)
        if not self._thread.ident:
            self._thread.start()
        return key

    def are_applied(self, reached: Longs) -> bool:
        """True if labels are applied to the end of their topic; as of `LabelEnds.are_reached`."""
        return self._ends.are_reached(reached)

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def _run(self) -> None:
        try:
            applier = self._make_applier()
            try:
                self._follow(applier)
            finally:
                with suppress(KafkaException, RuntimeError):
                    applier.close()
        except Exception as error:  # noqa: BLE001 - it ends the worker, whatever it is
            self._on_failure(error)

    def _follow(self, applier: LabelApplier) -> None:
        attempt = 0
        while not self._stop.is_set():
            try:
                applier.step(self._target)
                self._ends.refresh()
            except DependencyUnavailableError as error:
                self._outage.mark_down(str(error))
                self._stop.wait(backoff_s(attempt))
                attempt += 1
            else:
                self._outage.mark_up()
                attempt = 0


def make_label_feed(
    settings: WorkerSettings,
    feature_set: FeatureSet,
    store: OnlineStore,
    admin: AdminClient,
    health: Health,
    on_failure: Callable[[Exception], None],
) -> LabelFeed:
    """Make the feed of the topic ``kafka.labels_topic``, which is set.

    Arguments are those of `LabelFeed`, and the clients that it uses.
    """
    kafka = settings.kafka
    topic = LabelTopic(admin, kafka.labels_topic or SETTING, settings.delivery.broker_timeout_s)

    def make_applier() -> LabelApplier:
        own = kafka.model_copy(update={"group": label_group(kafka.group)})
        consumer = LabelConsumer(make_consumer(own, lambda _: None), topic.name)
        consumer.subscribe()
        decoder = LabelDecoder(feature_set, settings)
        return LabelApplier(consumer, topic, decoder, feature_set, store)

    return LabelFeed(topic, feature_set.label_sets, make_applier, health, on_failure)


def label_group(group: str) -> str:
    """Consumer group of the labels topic for a worker's group."""
    return f"{group}.labels"
