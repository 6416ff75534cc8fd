"""Composition: the only place that names concrete classes."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog
from confluent_kafka import Consumer, KafkaError

from base.errors import ConfigurationError, DependencyUnavailableError
from features.definition import FeatureSet, load_feature_set
from features.store.memory import MemoryStore
from features.store.protocol import OnlineStore
from features.store.redis import RedisStore
from models.bundle import Bundle
from models.policy import Rules
from schemas.avro.decoder import Decoder
from worker.consume.batch_bound import BatchBound
from worker.consume.poll import Poller
from worker.consume.start_offsets import Committed, StartOffsets
from worker.consume.topics import INPUT, InputTopic, Topics, describe_input, ids_from
from worker.delivery.checkpoint import AtLeastOnce, Checkpoint, ExactlyOnce
from worker.delivery.delivery import Delivery
from worker.delivery.publish import SizeLimits
from worker.histories import Histories, NoHistories, StoredHistories
from worker.histories.place import find_place
from worker.kafka import TopicLimits, make_admin, make_consumer, make_producer
from worker.loop import Loop, Waits
from worker.process.health import Health, HealthServer
from worker.process.outage import Outage
from worker.process.replica import claim_replica, transactional_id
from worker.process.watchdog import Watchdog
from worker.reload import Reloader, ServedFiles, load_model, load_rules, named_in
from worker.schema_sources import event_decoder, score_prefix, score_schema
from worker.settings import WorkerSettings, load_settings
from worker.settings.option_files import require_option_files
from worker.stages.decode import Decode
from worker.stages.encode import Encode, Extras, Provenance
from worker.stages.enrich import Enrich
from worker.stages.serving import Serving
from worker.stages.stages import Stages

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Pipeline:
    """A pipeline folder, loaded and checked for consistency.

    Attributes:
        settings: Settings of ``worker.yaml``.
        feature_set: Feature set of ``features.yaml``.
        serving: Model and policy, ready to serve.
        named: Fingerprints of the model and policy files just before `serving` was loaded.
    """

    settings: WorkerSettings
    feature_set: FeatureSet
    serving: Serving
    named: ServedFiles

    @property
    def bundle(self) -> Bundle:
        return self.serving.score.bundle

    @property
    def rules(self) -> Rules:
        return self.serving.decide.rules

    @property
    def features(self) -> frozenset[str]:
        """The features that the model and the policy use."""
        return self.rules.features.union(feature.name for feature in self.bundle.features)

    def decoder(self) -> Decoder:
        """Make the decoder of the input topic; raises ConfigurationError as `event_decoder`."""
        return event_decoder(self.settings, self.feature_set, self.rules)


def load_pipeline(folder: Path) -> Pipeline:
    """Load a pipeline folder.

    Raises:
        ConfigurationError: Something in the folder is invalid; the message names it.
    """
    settings = load_settings(folder)
    feature_set = load_feature_set(settings.features)
    stored = [*feature_set.lookups, *(window.name for window in feature_set.histories.windows)]
    if stored and settings.store is None:
        raise ConfigurationError(
            f"{folder / 'worker.yaml'}: store is missing and {settings.features} has lookups or "
            f"windows ({', '.join(stored)}); add store.url"
        )
    named = named_in(settings)
    rules = load_rules(settings, feature_set)
    bundle, backend = load_model(settings, feature_set, settings.model.device)
    serving = Serving.of(feature_set, bundle, backend, rules)
    return Pipeline(settings, feature_set, serving, named)


def open_store(settings: WorkerSettings) -> OnlineStore:
    """The online store of the settings; an empty one in memory where none is named."""
    if settings.store is None:
        return MemoryStore()
    require_option_files("store.options", settings.store.options)
    return RedisStore(
        settings.store.url,
        username=settings.store.username,
        password_file=settings.store.password_file,
        timeout_s=settings.store.timeout_s,
        options=settings.store.options,
    )


def make_stages(
    pipeline: Pipeline,
    decoder: Decoder,
    store: OnlineStore,
    prefix: bytes,
    limits: Callable[[], SizeLimits],
    *,
    histories: Histories | None = None,
    now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
) -> Stages:
    """Make the stages of a pipeline, wired to each other.

    Args:
        pipeline: Pipeline whose model and policy serve.
        decoder: Decoder of the input topic.
        store: Online store.
        prefix: Bytes that precede each score.
        limits: Returns the size limits of the output topics.
        histories: Histories of a store that others use as well; None for a store that serves this
            run alone.
        now_us: Returns `scored_at`, in microseconds since 1970-01-01 UTC.
    """
    feature_set = pipeline.feature_set
    return Stages(
        Decode(decoder, feature_set),
        Enrich(feature_set, store, histories or NoHistories()),
        pipeline.serving,
        _make_encode(pipeline, prefix, now_us),
        limits,
    )


def _make_encode(pipeline: Pipeline, prefix: bytes, now_us: Callable[[], int]) -> Encode:
    settings, feature_set = pipeline.settings, pipeline.feature_set
    columns = {
        "off": (),
        "all": range(len(feature_set.names)),
        "irreproducible": feature_set.irreproducible,
    }[settings.output.vector]
    return Encode(
        score_schema(),
        prefix,
        Provenance(feature_set.fingerprint, settings.kafka.input_topic),
        Extras(
            {feature_set.names[i]: i for i in columns},
            settings.output.carry,
            settings.output.headers,
        ),
        feature_set.flag_names,
        now_us,
    )


def run(pipeline: Pipeline) -> None:
    """Work until SIGTERM or SIGINT, then drain.

    Raises DeliveryFatalError when a new process has to take over.
    """
    settings = pipeline.settings
    with ExitStack() as stack:
        replica = settings.replica or stack.enter_context(claim_replica(settings.kafka.group))
        log.info("settings", **{**settings.masked(), "replica": replica})
        watchdog = Watchdog(settings.delivery.watchdog_s)
        watchdog.start()
        health = Health(stale_s=settings.delivery.watchdog_s)
        name = f"{settings.kafka.group} / {settings.replica}"
        server = HealthServer(health, settings.http.host, settings.http.port, name)
        server.start()
        stack.callback(server.stop)
        store = open_store(settings)
        stack.callback(store.close)
        loop, succession = _make_loop(pipeline, replica, store, watchdog, health, stack)

        def drain(*_: object) -> None:
            watchdog.bound("drain", settings.delivery.drain_s)
            loop.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, drain)
        succession.start()
        stack.callback(succession.stop)
        _announce(pipeline, replica, server.port)
        loop.run()
        log.info("drained")


def _make_loop(
    pipeline: Pipeline,
    replica: str,
    store: OnlineStore,
    watchdog: Watchdog,
    health: Health,
    stack: ExitStack,
) -> tuple[Loop, Reloader]:
    settings = pipeline.settings
    delivery = settings.delivery
    prefix = await_score_prefix(settings, health)
    limits = TopicLimits(settings.kafka, delivery.broker_timeout_s)

    # The clients call the loop back, which is made after them.
    def on_error(error: KafkaError) -> None:
        loop.on_client_error(error)

    def before_change() -> None:
        loop.before_change()

    topics = _make_topics(settings, health, stack)
    consumer = make_consumer(settings.kafka, on_error)
    poller = Poller(
        consumer,
        topics,
        partial(_starts, settings, consumer),
        before_change=before_change,
        needs_log_state=bool(pipeline.feature_set.histories.windows),
    )
    histories = _make_histories(pipeline, store, watchdog)
    stages = make_stages(pipeline, pipeline.decoder(), store, prefix, limits, histories=histories)
    succession = Reloader(settings, pipeline.feature_set, stages, pipeline.named)
    loop = Loop(
        poller,
        succession,
        Delivery(
            histories, _make_checkpoint(settings, replica, consumer, limits, watchdog), topics
        ),
        BatchBound(delivery.max_batch_events, delivery.latency_budget_s),
        health,
        Waits(delivery.broker_timeout_s, delivery.refused_s),
    )
    return loop, succession


def await_score_prefix(settings: WorkerSettings, health: Health) -> bytes:
    """Get the bytes that precede each score, however long the registry is away.

    Raises:
        ConfigurationError: The registry does not have score.avsc, or refuses it.
    """
    prefix = b""

    def ask() -> None:
        nonlocal prefix
        prefix = score_prefix(settings)

    remedy = "the start goes on when the registry answers; see registry.url and its password"
    # Nothing is to be drained yet: a signal ends the process.
    Outage("registry", DependencyUnavailableError, remedy, health, lambda: False).outlast(ask)
    return prefix


def _starts(settings: WorkerSettings, consumer: Consumer, topic: InputTopic) -> StartOffsets:
    return StartOffsets(
        consumer,
        topic,
        settings.kafka.start_from,
        settings.kafka.accept_topic,
        settings.delivery.broker_timeout_s,
        _inherited(settings, topic),
    )


def _inherited(settings: WorkerSettings, topic: InputTopic) -> Mapping[int, Committed]:
    """The checkpoints of the group from which histories are taken over; raises KafkaException."""
    group = settings.store.accept_group if settings.store else None
    if group is None:
        return {}
    kafka = settings.kafka.model_copy(update={"group": group})
    timeout_s = settings.delivery.broker_timeout_s
    with closing(make_consumer(kafka, lambda _: None)) as consumer:
        starts = StartOffsets(consumer, topic, kafka.start_from, kafka.accept_topic, timeout_s)
        return starts.committed(range(topic.partitions))


def _make_topics(settings: WorkerSettings, health: Health, stack: ExitStack) -> Topics:
    kafka, timeout_s = settings.kafka, settings.delivery.broker_timeout_s
    admin = stack.enter_context(make_admin(kafka))
    return Topics(
        {
            INPUT: kafka.input_topic,
            "kafka.output_topic": kafka.output_topic,
            "kafka.dead_letter_topic": kafka.dead_letter_topic,
        },
        ids_from(admin, timeout_s),
        partial(describe_input, kafka, timeout_s),
        health,
        brokers=kafka.bootstrap_servers,
    )


def _make_histories(pipeline: Pipeline, store: OnlineStore, watchdog: Watchdog) -> Histories:
    if not pipeline.feature_set.histories.windows:
        return NoHistories()
    find = partial(find_place, pipeline.settings, pipeline.feature_set, pipeline.features, store)
    return StoredHistories(store, find, watchdog)


def _make_checkpoint(
    settings: WorkerSettings,
    replica: str,
    consumer: Consumer,
    limits: TopicLimits,
    watchdog: Watchdog,
) -> Checkpoint:
    kafka, timeout_s = settings.kafka, settings.delivery.broker_timeout_s
    topics = (kafka.input_topic, kafka.output_topic, kafka.dead_letter_topic)
    if settings.delivery.guarantee == "at_least_once":
        return AtLeastOnce(
            make_producer=lambda told: make_producer(kafka, limits.refresh(), on_delivery=told),
            consumer=consumer,
            topics=topics,
            limits=limits,
            timeout_s=timeout_s,
            watchdog=watchdog,
        )
    name = transactional_id(kafka.group, replica, 0)
    return ExactlyOnce(
        make_producer=lambda told: make_producer(
            kafka, limits.refresh(), on_delivery=told, **{"transactional.id": name}
        ),
        replica=replica,
        topics=topics,
        limits=limits,
        timeout_s=timeout_s,
        watchdog=watchdog,
    )


def _announce(pipeline: Pipeline, replica: str, port: int) -> None:
    model = pipeline.serving.score.model
    log.info(
        "started",
        replica=replica,
        http_port=port,
        model=model.name,
        model_version=model.version,
        policy_version=pipeline.rules.policy.version,
        feature_set=pipeline.feature_set.fingerprint,
        device=model.device,
    )
