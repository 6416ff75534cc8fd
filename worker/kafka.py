"""Kafka clients, configured for what the loop relies on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from base.errors import ConfigurationError
from worker.delivery.publish import SizeLimits
from worker.kafka_log import LOGGER
from worker.settings import KafkaSettings, read_secret
from worker.settings.option_files import require_option_files

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
"""Error codes that say: the group went on without this member, or without this generation."""

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


def make_consumer(kafka: KafkaSettings, on_error: Callable[[KafkaError], None]) -> Consumer:
    """Make a consumer that leaves the commit and the choice of offsets to the worker.

    Args:
        kafka: Settings of the brokers and the group.
        on_error: Called while polling, with errors of the connections.
    """
    return _make(
        Consumer,
        "kafka.consumer",
        {
            "queued.max.messages.kbytes": 65536,
            "fetch.wait.max.ms": 100,
            **client_options(kafka),
            **kafka.consumer,
            "group.id": kafka.group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "partition.assignment.strategy": "cooperative-sticky",
            # Starts are assigned explicitly; an offset out of range must not pass in silence.
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "error_cb": on_error,
        },
    )


def make_producer(kafka: KafkaSettings, limits: SizeLimits, **more: Any) -> Producer:
    """An idempotent producer; ``more`` makes it transactional or gives it callbacks."""
    options = {"batch.size": _BATCH_BYTES, **client_options(kafka), **kafka.producer}
    # A batch above a topic's max.message.bytes is refused whole.
    batch = whole_number(options["batch.size"])
    if batch is not None:
        options["batch.size"] = max(1, min(batch, limits.scores, limits.dead_letters))
    return _make(
        Producer,
        "kafka.producer",
        {
            # 100 ms by default, and every transaction that follows closely on another waits it.
            "retry.backoff.ms": 2,
            "retry.backoff.max.ms": 100,
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
            "linger.ms": 0,
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


class TopicLimits:
    """The largest records that the output topics and the client take, as of the last `refresh`."""

    def __init__(self, kafka: KafkaSettings, timeout_s: float) -> None:
        self._kafka = kafka
        self._timeout_s = timeout_s
        own = whole_number({**kafka.options, **kafka.producer}.get("message.max.bytes"))
        self._most = MOST_MESSAGE_BYTES if own is None else min(own, MOST_MESSAGE_BYTES)
        self._limits = SizeLimits(_DEFAULT_MAX_MESSAGE_BYTES, _DEFAULT_MAX_MESSAGE_BYTES)

    def __call__(self) -> SizeLimits:
        return self._limits

    def refresh(self) -> SizeLimits:
        """Ask the brokers; without the permission the brokers' default stands.

        Raises KafkaException while they do not answer, or a topic is not there.
        """
        topics = (self._kafka.output_topic, self._kafka.dead_letter_topic)
        resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
        with make_admin(self._kafka) as admin:
            answers = admin.describe_configs(resources, request_timeout=self._timeout_s)
            scores, dead_letters = (_settings_in(answers[resource]) for resource in resources)
        self._limits = SizeLimits(
            min(_max_message_bytes(scores), self._most),
            min(_max_message_bytes(dead_letters), self._most),
            "compact" in scores.get("cleanup.policy", ""),
        )
        return self._limits


def _max_message_bytes(settings: Mapping[str, str]) -> int:
    size = whole_number(settings.get("max.message.bytes"))
    return _DEFAULT_MAX_MESSAGE_BYTES if size is None or size < 0 else size


def whole_number(value: object) -> int | None:
    """Read a whole number that a broker or a user has given; None where it is something else."""
    try:
        return int(str(value))
    except ValueError:
        return None


def topic_settings(admin: AdminClient, name: str, timeout_s: float) -> dict[str, str]:
    """A topic's settings that have a value; none where this user may not read them.

    Raises KafkaException where the brokers do not answer otherwise.
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
    """An admin client; close it, or use it as a context manager."""
    return _make(AdminClient, "kafka.options", client_options(kafka))


def _make(kind: Callable[..., Client], setting: str, options: dict[str, Any]) -> Client:
    try:
        return kind(options, logger=LOGGER)
    except (KafkaException, ValueError, TypeError) as error:
        raise ConfigurationError(
            f"{setting}: librdkafka refuses the options: {error}; see its CONFIGURATION.md"
        ) from None
