"""Composition of a worker: only this module creates concrete classes."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog
from confluent_kafka import Consumer, KafkaError, Producer

from base.errors import ConfigurationError, DependencyUnavailableError
from features.definition import FeatureSet, load_feature_set
from features.store.memory import MemoryStore
from features.store.protocol import OnlineStore
from features.store.redis import RedisStore
from models.bundle import Bundle
from models.policy import Rules
from schemas.avro.decoder import Decoder
from worker.consume.micro_batch import BatchBound
from worker.consume.poll import Poller
from worker.consume.start_offsets import StartOffsets
from worker.consume.topics import INPUT, Topics, describe_input, ids_from
from worker.delivery.at_least_once import AtLeastOnce
from worker.delivery.checkpoint import Checkpoint, Destination
from worker.delivery.delivery import Delivery
from worker.delivery.exactly_once import ExactlyOnce
from worker.delivery.publish import SizeLimits
from worker.delivery.reports import Reports
from worker.fill.source import LogSource
from worker.histories import Histories, NoHistories, StoredHistories
from worker.histories.location import claim_location
from worker.kafka import (
    TopicLimits,
    make_admin,
    make_consumer,
    make_fill_consumer,
    make_producer,
    make_transactional_producer,
)
from worker.labels import LabelFeed, make_label_feed
from worker.loop import Loop, Waits
from worker.process.garbage import frozen_start
from worker.process.health import Health, HealthServer
from worker.process.outage import Outage
from worker.process.replica import claim_replica, transactional_id
from worker.process.watchdog import Watchdog
from worker.reload import FileFingerprints, Reloader, load_model, load_rules
from worker.schema_sources import event_decoder, score_prefix, score_schema
from worker.settings import WorkerSettings, load_settings
from worker.settings.options import require_option_files
from worker.stages.encode import Encode, Extras, Provenance
from worker.stages.serving import Serving
from worker.stages.stages import Decode, Enrich, Stages
from worker.warm_up import warm_up

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Pipeline:
    """A pipeline folder, loaded and checked for consistency.

    Attributes:
        settings: Settings of ``worker.yaml``.
        feature_set: Feature set of ``features.yaml``.
        serving: Model and policy, ready to serve.
        fingerprints: Fingerprints of model and policy, taken just before they were loaded.
    """

    settings: WorkerSettings
    feature_set: FeatureSet
    serving: Serving
    fingerprints: FileFingerprints

    @property
    def bundle(self) -> Bundle:
        return self.serving.model.bundle

    @property
    def rules(self) -> Rules:
        return self.serving.rules

    def decoder(self) -> Decoder:
        """Make the decoder of the input topic; errors are those of `event_decoder`."""
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
    fingerprints = FileFingerprints.of(settings)
    rules = load_rules(settings, feature_set)
    model = load_model(settings, feature_set, settings.model.device)
    return Pipeline(settings, feature_set, Serving(feature_set, model, rules), fingerprints)


def open_store(settings: WorkerSettings) -> OnlineStore:
    """Open the configured online store; without one, an empty store in memory."""
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
    """Make the stages of a pipeline.

    Args:
        pipeline: Pipeline whose model and policy serve.
        decoder: Decoder of the input topic.
        store: Online store.
        prefix: Bytes that precede each score.
        limits: Returns the size limits of the output topics.
        histories: Histories of a store that other processes share; None for a store that serves
            this run alone.
        now_us: Returns `scored_at`, in microseconds since 1970-01-01 UTC.
    """
    settings, feature_set = pipeline.settings, pipeline.feature_set
    encode = Encode(
        score_schema(),
        prefix,
        Provenance(feature_set.fingerprint, settings.kafka.input_topic),
        Extras.of(settings.output, feature_set),
        feature_set.flags,
        now_us,
    )
    return Stages(
        Decode(decoder, feature_set),
        Enrich(feature_set, store, histories or NoHistories()),
        pipeline.serving,
        encode,
        limits,
    )


def run(pipeline: Pipeline) -> None:
    """Work until SIGTERM or SIGINT, then drain.

    Raises:
        DeliveryFatalError: A new process has to take over.
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
        warm_up()
        store = open_store(settings)
        stack.callback(store.close)
        loop, reloader = _make_loop(pipeline, replica, store, watchdog, health, stack)

        def drain(*_: object) -> None:
            watchdog.bound("drain", settings.delivery.drain_s)
            loop.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, drain)
        reloader.start()
        stack.callback(reloader.stop)
        _announce(pipeline, replica, server.port)
        stack.enter_context(frozen_start())
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

    # The clients call back the loop, which is made after them.
    def on_error(error: KafkaError) -> None:
        loop.on_client_error(error)

    def before_change() -> None:
        loop.before_change()

    def on_failure(error: Exception) -> None:
        loop.fail(error)

    topics = _make_topics(settings, health, stack)
    consumer = make_consumer(settings.kafka, on_error)
    poller = Poller(
        consumer,
        topics,
        partial(StartOffsets.of, settings, consumer),
        before_change=before_change,
        needs_log_state=bool(pipeline.feature_set.histories.windows),
    )
    decoder = pipeline.decoder()
    labels = None
    if settings.kafka.labels_topic is not None and pipeline.feature_set.labelled_entities:
        admin = stack.enter_context(make_admin(settings.kafka))
        labels = make_label_feed(settings, pipeline.feature_set, store, admin, health, on_failure)
    histories = _make_histories(pipeline, decoder, store, watchdog, poller, labels)
    stages = make_stages(pipeline, decoder, store, prefix, limits, histories=histories)
    reloader = Reloader(settings, pipeline.feature_set, stages, pipeline.fingerprints)
    loop = Loop(
        poller,
        reloader,
        Delivery(
            histories,
            _make_checkpoint(settings, replica, consumer, limits, watchdog),
            topics,
            ThreadPoolExecutor(1, thread_name_prefix="commit"),
        ),
        BatchBound(delivery.max_batch_events, delivery.latency_budget_s),
        health,
        Waits(
            delivery.broker_timeout_s,
            delivery.refused_s,
            settings.windows.align_wait_s,
        ),
    )
    return loop, reloader


def await_score_prefix(settings: WorkerSettings, health: Health) -> bytes:
    """Get the bytes that precede each score; retry for as long as the registry is away.

    Raises:
        ConfigurationError: The registry does not have score.avsc, or refuses it.
    """
    prefix = b""

    def ask() -> None:
        nonlocal prefix
        prefix = score_prefix(settings)

    remedy = "the start continues when the registry answers; see registry.url and its password"
    # There is nothing to drain yet: a signal ends the process.
    Outage("registry", DependencyUnavailableError, remedy, health, lambda: False).retry_until_up(
        ask, time.sleep
    )
    return prefix


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


def _make_histories(
    pipeline: Pipeline,
    decoder: Decoder,
    store: OnlineStore,
    watchdog: Watchdog,
    poller: Poller,
    labels: LabelFeed | None,
) -> Histories:
    if not pipeline.feature_set.histories.windows:
        return NoHistories()
    find = partial(claim_location, pipeline.settings, pipeline.feature_set, store)
    source = LogSource(
        poller,
        pipeline.feature_set,
        decoder,
        partial(make_fill_consumer, pipeline.settings.kafka, lambda _: None),
        pipeline.settings.delivery.broker_timeout_s,
    )
    return StoredHistories(
        store,
        pipeline.feature_set.histories,
        find,
        watchdog,
        source,
        fills=pipeline.settings.fill.wait,
        labels=labels,
    )


def _make_checkpoint(
    settings: WorkerSettings,
    replica: str,
    consumer: Consumer,
    limits: TopicLimits,
    watchdog: Watchdog,
) -> Checkpoint:
    kafka, timeout_s = settings.kafka, settings.delivery.broker_timeout_s
    destination = Destination(
        topics=(kafka.input_topic, kafka.output_topic, kafka.dead_letter_topic),
        limits=limits,
        refresh_limits=limits.refresh,
        timeout_s=timeout_s,
        watchdog=watchdog,
    )
    if settings.delivery.guarantee == "at_least_once":
        return AtLeastOnce(
            destination=destination,
            make_producer=lambda reports: make_producer(
                kafka, limits(), on_delivery=reports.on_score
            ),
            consumer=consumer,
        )

    def make(number: int, reports: Reports) -> Producer:
        name = transactional_id(kafka.group, replica, number)
        return make_transactional_producer(kafka, limits(), reports, **{"transactional.id": name})

    return ExactlyOnce(destination=destination, make_producer=make, replica=replica)


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
