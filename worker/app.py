"""Composition of a worker process: its clients, delivery, histories and loop."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import structlog
from confluent_kafka import Consumer, KafkaError, Producer

from base.errors import DependencyUnavailableError
from features.store.protocol import OnlineStore
from schemas.avro.decoder import Decoder
from worker.consume.micro_batch import BatchBound
from worker.consume.poll import Poller
from worker.consume.start_offsets import StartOffsets
from worker.consume.topics import INPUT, Topics, describe_input, ids_from
from worker.delivery.at_least_once import AtLeastOnce
from worker.delivery.checkpoint import Checkpoint, Destination
from worker.delivery.delivery import Delivery
from worker.delivery.exactly_once import ExactlyOnce
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
from worker.pipeline import Pipeline, make_stages, open_store
from worker.process.garbage import frozen_start
from worker.process.health import Health, HealthServer
from worker.process.outage import Outage
from worker.process.replica import claim_replica, transactional_id
from worker.process.tracing import open_tracing
from worker.process.watchdog import Watchdog
from worker.reload import Reloader
from worker.schema_sources import score_prefix
from worker.settings import WorkerSettings
from worker.stages.dead_letter_limit import DeadLetterLimit
from worker.warm_up import warm_up

log = structlog.get_logger(__name__)


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
    settings, delivery = pipeline.settings, pipeline.settings.delivery
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
    labels = _make_labels(pipeline, store, health, stack, on_failure)
    histories = _make_histories(pipeline, decoder, store, watchdog, poller, labels)
    stages = make_stages(pipeline, decoder, store, prefix, limits, histories=histories)
    reloader = Reloader(
        settings, pipeline.source, pipeline.feature_set, stages, pipeline.fingerprints
    )
    checkpoint = _make_checkpoint(settings, replica, consumer, limits, watchdog)
    tracing = open_tracing(settings.kafka.group)
    if tracing is not None:
        stack.callback(tracing.close)
    executor = ThreadPoolExecutor(1, thread_name_prefix="commit")
    loop = Loop(
        poller,
        DeadLetterLimit(reloader, settings.dead_letters),
        Delivery(histories, checkpoint, topics, executor),
        BatchBound(delivery.max_batch_events, delivery.latency_budget_s),
        health,
        Waits(delivery.broker_timeout_s, delivery.refused_s, settings.windows.align_wait_s),
        tracing=tracing,
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


def _make_labels(
    pipeline: Pipeline,
    store: OnlineStore,
    health: Health,
    stack: ExitStack,
    on_failure: Callable[[Exception], None],
) -> LabelFeed | None:
    settings, feature_set = pipeline.settings, pipeline.feature_set
    if settings.kafka.labels_topic is None or not feature_set.labelled_entities:
        return None
    admin = stack.enter_context(make_admin(settings.kafka))
    return make_label_feed(settings, feature_set, store, admin, health, on_failure)


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
