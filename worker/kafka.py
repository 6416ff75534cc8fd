"""Kafka clients, configured for what the loop relies on, and the log of librdkafka."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from base.errors import ConfigurationError
from worker.delivery.publish import SizeLimits
from worker.delivery.reports import Reports
from worker.settings import KafkaSettings, read_secret
from worker.settings.options import require_option_files

# The broker's own default, where its settings may not be read.
_DEFAULT_MAX_MESSAGE_BYTES = 1_048_588
_BATCH_BYTES = 1_000_000
# librdkafka sends no larger record, whatever a topic takes.
MOST_MESSAGE_BYTES = 1_000_000_000
TRANSACTION_TIMEOUT_MS = 10_000

NOT_A_MEMBER = (
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
)
"""Error codes of a group that has already rebalanced without this member."""

LOGGER = logging.getLogger("librdkafka")
# Where logs are not set up, Python would write each line to stderr.
LOGGER.addHandler(logging.NullHandler())
# Severity, client and thread before a message; after it, the age of the connection.
_LOG_FRAME = re.compile(
    r"^\w+ \[[^]]*\] (?:\[[^]]*\]: )*|(?: \(after .*\))?(?:, \d+ identical.*)?$"
)
_NOT_CONNECTED = re.compile(r" in state (TRY_)?CONNECT\b")
# Syslog's number.
_LOG_INFO = 6

Client = TypeVar("Client", Consumer, Producer, AdminClient)


def client_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Options that every client needs to reach the brokers."""
    options: dict[str, Any] = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "client.id": "fraud-worker",
        **kafka.options,
    }
    for section in ("options", "consumer", "producer"):
        require_option_files(f"kafka.{section}", getattr(kafka, section))
    if kafka.password_file is not None:
        secret = read_secret(kafka.password_file, "kafka.password_file")
        options["sasl.password"] = secret.get_secret_value()
    for name, path in kafka.secret_files.items():
        options[name] = read_secret(path, f"kafka.secret_files: {name}").get_secret_value()
    return options


def make_consumer(
    kafka: KafkaSettings, on_error: Callable[[KafkaError], None], **more: Any
) -> Consumer:
    """Make a consumer that leaves commits and the choice of offsets to the worker.

    Args:
        kafka: Settings of the brokers and the group.
        on_error: Called while polling, with errors of the connections.
        more: Further options, which those of the user replace.
    """
    return _make(
        Consumer,
        "kafka.consumer",
        {
            "queued.max.messages.kbytes": 65536,
            "fetch.wait.max.ms": 100,
            # What is fetched of a partition that is paused is fetched again. By default that is up to
            # 100,000 records, and not before a second has passed (measured).
            "queued.min.messages": 20_000,
            "fetch.queue.backoff.ms": 10,
            "socket.nagle.disable": True,
            **more,
            **client_options(kafka),
            **kafka.consumer,
            "group.id": kafka.group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "partition.assignment.strategy": "cooperative-sticky",
            # Starts are assigned explicitly; an offset out of range must be an error.
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "error_cb": on_error,
        },
    )


def make_fill_consumer(kafka: KafkaSettings, on_error: Callable[[KafkaError], None]) -> Consumer:
    """Make a consumer for a fill: it reads much at a time, and does not join the group."""
    return make_consumer(
        kafka,
        on_error,
        **{"max.partition.fetch.bytes": 8 << 20, "queued.min.messages": 200_000},
    )


def make_producer(kafka: KafkaSettings, limits: SizeLimits, **more: Any) -> Producer:
    """Make an idempotent producer.

    Args:
        kafka: Settings of the brokers.
        limits: Size limits of the output topics.
        more: Further options, such as a transactional id or callbacks.
    """
    options = {"batch.size": _BATCH_BYTES, **client_options(kafka), **kafka.producer}
    # A batch above the max.message.bytes of a topic is refused as a whole.
    batch = whole_number(options["batch.size"])
    if batch is not None:
        options["batch.size"] = max(1, min(batch, limits.scores, limits.dead_letters))
    return _make(
        Producer,
        "kafka.producer",
        {
            # The default is 100 ms, and each transaction that follows closely on another waits so
            # long.
            "retry.backoff.ms": 2,
            "retry.backoff.max.ms": 100,
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
            "linger.ms": 0,
            # Small requests follow each other on the coordinator's connection: none may wait for
            # the acknowledgement of the one before.
            "socket.nagle.disable": True,
            "compression.type": "lz4",
            "message.max.bytes": max(1_000_000, limits.scores, limits.dead_letters),
            **options,
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "delivery.report.only.error": True,
            **more,
        },
    )


def make_transactional_producer(
    kafka: KafkaSettings, limits: SizeLimits, reports: Reports, **more: Any
) -> Producer:
    """Make a producer that reports failed scores and lost connections.

    Args:
        kafka: Settings of the brokers.
        limits: Size limits of the output topics.
        reports: Takes the reports.
        more: Further options: the transactional id.
    """
    level = whole_number({**kafka.options, **kafka.producer}.get("log_level"))
    return make_producer(
        kafka,
        limits,
        on_delivery=reports.on_score,
        logger=_ConnectionLog(reports.on_connection_lost),
        # Without them, lost connections are not logged.
        log_level=max(level or 0, _LOG_INFO),
        **{"log.connection.close": True},
        **more,
    )


class _ConnectionLog:
    """Log of a client, which reports lost connections; everything goes on to librdkafka's logger.

    A call that succeeds at the second attempt does not tell of the first, and the client's callback
    for errors is not called for a connection to a coordinator (measured: librdkafka 2.16).
    """

    def __init__(self, on_connection_lost: Callable[[], None]) -> None:
        self._on_connection_lost = on_connection_lost

    def log(self, level: int, form: str, facility: str, client: str, message: str) -> None:
        """Take a line as the client passes it to Python's loggers."""
        # A connection that was never made carried no requests.
        if facility == "FAIL" and not _NOT_CONNECTED.search(message):
            self._on_connection_lost()
        LOGGER.log(level, form, facility, client, message)


class TopicLimits:
    """The largest records that output topics and client accept, as of the last `refresh`."""

    def __init__(self, kafka: KafkaSettings, timeout_s: float) -> None:
        self._kafka = kafka
        self._timeout_s = timeout_s
        own = whole_number({**kafka.options, **kafka.producer}.get("message.max.bytes"))
        self._most = MOST_MESSAGE_BYTES if own is None else min(own, MOST_MESSAGE_BYTES)
        self._limits = SizeLimits(_DEFAULT_MAX_MESSAGE_BYTES, _DEFAULT_MAX_MESSAGE_BYTES)

    def __call__(self) -> SizeLimits:
        return self._limits

    def refresh(self) -> SizeLimits:
        """Ask the brokers; without permission, assume the brokers' default.

        Raises:
            KafkaException: The brokers do not answer, or have no such topic.
        """
        topics = (self._kafka.output_topic, self._kafka.dead_letter_topic)
        resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
        with make_admin(self._kafka) as admin:
            answers = admin.describe_configs(resources, request_timeout=self._timeout_s)
            scores, dead_letters = (_settings_in(answers[resource]) for resource in resources)
        self._limits = SizeLimits(
            min(max_message_bytes(scores), self._most),
            min(max_message_bytes(dead_letters), self._most),
            "compact" in scores.get("cleanup.policy", ""),
        )
        return self._limits


def max_message_bytes(settings: Mapping[str, str]) -> int:
    """The largest record that a topic with these settings accepts; the default if not given."""
    size = whole_number(settings.get("max.message.bytes"))
    return _DEFAULT_MAX_MESSAGE_BYTES if size is None or size < 0 else size


def whole_number(value: object) -> int | None:
    """Parse a whole number that a broker or a user has given; None for anything else."""
    try:
        return int(str(value))
    except ValueError:
        return None


def topic_settings(admin: AdminClient, name: str, timeout_s: float) -> dict[str, str]:
    """The settings of a topic that have a value; empty if this user may not read them.

    Raises:
        KafkaException: The brokers do not answer, or have no such topic.
    """
    resource = ConfigResource(ResourceType.TOPIC, name)
    return _settings_in(admin.describe_configs([resource], request_timeout=timeout_s)[resource])


def _settings_in(answer: Future[Any]) -> dict[str, str]:
    try:
        entries = answer.result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise
        return {}
    return {setting: entry.value for setting, entry in entries.items() if entry.value is not None}


def make_admin(kafka: KafkaSettings) -> AdminClient:
    """Make an admin client; close it, or use it as a context manager."""
    return _make(AdminClient, "kafka.options", client_options(kafka))


def _make(kind: Callable[..., Client], setting: str, options: dict[str, Any]) -> Client:
    try:
        return kind({"logger": LOGGER, **options})
    except (KafkaException, ValueError, TypeError) as error:
        raise ConfigurationError(
            f"{setting}: librdkafka refuses the options: {error}; see its CONFIGURATION.md"
        ) from None


class _ErrorLines(logging.Handler):
    """Handler that keeps the messages of errors."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(_LOG_FRAME.sub("", record.getMessage()))


@contextmanager
def captured_errors() -> Iterator[list[str]]:
    """Capture the errors that librdkafka logs within the block; they are written nowhere else.

    The errors of its calls say only that they timed out; its log has the reason.

    Yields:
        Messages so far; the list grows within the block.
    """
    handler = _ErrorLines()
    propagate, LOGGER.propagate = LOGGER.propagate, False
    LOGGER.addHandler(handler)
    try:
        yield handler.lines
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.propagate = propagate
